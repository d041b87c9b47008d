// Stores: helip/embedding_store.h and helip/embedding_store_writer.h in C.
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "c/c_control.h"
#include "c/c_handles.h"
#include "c/c_matrix.h"
#include "c/c_status.h"
#include "c/c_structs.h"

namespace helip::c {
namespace {

constexpr std::size_t kLeastStoreInfo = offsetof(helip_store_info, reserved) + sizeof(std::int32_t);
constexpr std::size_t kLeastStoreOptions =
    offsetof(helip_store_options, digests) + sizeof(std::int32_t);

helip_store_options default_store_options() {
  const StoreOptions ours;
  return {sizeof(helip_store_options), ours.image_dim, ours.text_dim, ours.shard_rows,
          number_of(ours.dtype),       ours.digests};
}

const EmbeddingStore& object_of(const helip_store* store) {
  return required(store, "store").object;
}
EmbeddingStoreWriter& object_of(helip_store_writer* writer) {
  return required(writer, "writer").object;
}

std::vector<std::string> keys_of(const char* const* keys, const std::size_t* lengths,
                                 std::int64_t count) {
  std::vector<std::string> found;
  if (count > 0) required(keys, "keys");
  for (std::int64_t i = 0; i < count; ++i) {
    if (keys[i] == nullptr) refuse("the key of row ", i, " is NULL; give each row a key");
    found.push_back(lengths == nullptr ? std::string(keys[i]) : std::string(keys[i], lengths[i]));
  }
  return found;
}

std::span<const std::uint64_t> digests_of(const std::uint64_t* digests, std::int64_t count) {
  if (digests == nullptr) return {};
  return {digests, static_cast<std::size_t>(count)};
}

}  // namespace
}  // namespace helip::c

using namespace helip::c;

helip_status helip_store_open(const char* path, helip_store** out) {
  return create(out, [&] { return helip::EmbeddingStore::open(&required(path, "path")); });
}

void helip_store_free(helip_store* store) { delete store; }

helip_status helip_store_get_info(const helip_store* store, helip_store_info* info) {
  return run([&] {
    const helip::EmbeddingStore& ours = object_of(store);
    const helip_store_info values{sizeof(helip_store_info),
                                  ours.size(),
                                  ours.image().cols,
                                  ours.text().cols,
                                  ours.generation(),
                                  static_cast<std::int64_t>(ours.deleted().size()),
                                  number_of(ours.image().dtype),
                                  0};
    write_struct(values, info, required(info, "info").struct_size, kLeastStoreInfo, "info");
  });
}

helip_status helip_store_image(const helip_store* store, helip_matrix* out) {
  return run([&] { required(out, "out") = matrix_of(object_of(store).image()); });
}

helip_status helip_store_text(const helip_store* store, helip_matrix* out) {
  return run([&] { required(out, "out") = matrix_of(object_of(store).text()); });
}

helip_status helip_store_key(const helip_store* store, int64_t row, const char** key,
                             size_t* length) {
  return run([&] {
    const std::string_view found = object_of(store).key(row);
    required(length, "length");
    required(key, "key") = found.data();
    *length = found.size();
  });
}

helip_status helip_store_deleted(const helip_store* store, const int64_t** rows, int64_t* count) {
  return run([&] {
    const std::vector<std::int64_t>& found = object_of(store).deleted();
    required(count, "count");
    required(rows, "rows") = found.data();
    *count = static_cast<std::int64_t>(found.size());
  });
}

helip_status helip_store_fingerprint(const helip_store* store, const char** out) {
  return run([&] { required(out, "out") = object_of(store).fingerprint().c_str(); });
}

helip_status helip_store_metadata(const helip_store* store, const char** json) {
  return run([&] { required(json, "json") = object_of(store).metadata_json().c_str(); });
}

helip_status helip_store_verify(const helip_store* store, const helip_control* control) {
  return run([&] { object_of(store).verify(progress_of(control)); });
}

helip_status helip_store_options_init(helip_store_options* options, size_t struct_size) {
  return init_options(default_store_options, options, struct_size, kLeastStoreOptions);
}

helip_status helip_store_writer_create(const char* path, const helip_store_options* options,
                                       helip_store_writer** out) {
  return create(out, [&] {
    const helip_store_options given = read_struct(
        &required(options, "options"), default_store_options(), kLeastStoreOptions, "options");
    helip::StoreOptions ours;
    ours.image_dim = given.image_dim;
    ours.text_dim = given.text_dim;
    ours.shard_rows = given.shard_rows;
    ours.dtype = dtype_of(given.dtype, "dtype");
    ours.digests = given.digests != 0;
    return helip::EmbeddingStoreWriter::create(&required(path, "path"), ours);
  });
}

helip_status helip_store_writer_append_to(const char* path, helip_store_writer** out) {
  return create(out,
                [&] { return helip::EmbeddingStoreWriter::append_to(&required(path, "path")); });
}

void helip_store_writer_free(helip_store_writer* writer) { delete writer; }

helip_status helip_store_writer_append(helip_store_writer* writer, const char* const* keys,
                                       const size_t* key_lengths, const helip_matrix* image,
                                       const helip_matrix* text, const uint64_t* image_digests,
                                       const uint64_t* caption_digests) {
  return run([&] {
    helip::EmbeddingStoreWriter& ours = object_of(writer);
    const helip::MatrixView images = view_of(image, "image");
    const helip::MatrixView texts = view_of(text, "text");
    ours.append(keys_of(keys, key_lengths, images.rows), images, texts,
                digests_of(image_digests, images.rows), digests_of(caption_digests, images.rows));
  });
}

helip_status helip_store_writer_delete_rows(helip_store_writer* writer, const int64_t* rows,
                                            int64_t count, int64_t* deleted) {
  return run([&] {
    helip::EmbeddingStoreWriter& ours = object_of(writer);
    if (count < 0) helip::refuse("count is ", count, ", but must be at least 0");
    if (count > 0) required(rows, "rows");
    const std::int64_t marked =
        ours.delete_rows(std::vector<std::int64_t>(rows, count == 0 ? rows : rows + count));
    if (deleted != nullptr) *deleted = marked;
  });
}

helip_status helip_store_writer_commit(helip_store_writer* writer, const char* metadata_json,
                                       helip_store** out) {
  return run([&] {
    helip::EmbeddingStoreWriter& ours = object_of(writer);
    const std::string metadata = metadata_json == nullptr ? "" : metadata_json;
    // Made first: what is published must not be lost to an allocation that fails.
    auto handle = std::make_unique<helip_store>();
    handle->object = ours.commit(metadata);
    if (out != nullptr) *out = handle.release();
  });
}
