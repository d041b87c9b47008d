// Indexes of pairs: helip/pair_index.h in C.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/refuse.h"
#include "c/c_control.h"
#include "c/c_handles.h"
#include "c/c_matrix.h"
#include "c/c_status.h"
#include "c/c_structs.h"

namespace helip::c {
namespace {

constexpr std::size_t kLeastIndexOptions =
    offsetof(helip_index_options, seed) + sizeof(std::uint64_t);
constexpr std::size_t kLeastIndexInfo = offsetof(helip_index_info, bytes) + sizeof(std::int64_t);

helip_index_options default_index_options() {
  const PairIndexOptions ours;
  return {sizeof(helip_index_options),
          ours.image_max,
          ours.text_max,
          ours.degree,
          ours.breadth,
          ours.seed};
}

PairIndexOptions index_options_of(const helip_index_options* options) {
  const helip_index_options given =
      read_struct(options, default_index_options(), kLeastIndexOptions, "options");
  return {given.image_max, given.text_max, given.degree, given.breadth, given.seed};
}

const PairIndex& object_of(const helip_index* index) { return required(index, "index").object; }

std::vector<std::int64_t> ids_of(const std::int64_t* ids, const MatrixView& image) {
  if (ids == nullptr) return {};
  return {ids, ids + image.rows};
}

std::vector<std::int64_t> listed(const std::int64_t* ids, std::int64_t count) {
  if (count < 0) refuse("count is ", count, ", but must be 0 or more");
  if (count == 0) return {};
  return {&required(ids, "ids"), ids + count};
}

PairFilter filter_of(helip_id_filter allows, void* user) {
  if (allows == nullptr) return {};
  return [=](std::int64_t id) { return allows(user, id) != 0; };
}

template <typename Value>
void copy_to(Value* out, const std::vector<Value>& values) {
  if (out != nullptr) std::copy(values.begin(), values.end(), out);
}

void copy_matches(const PairMatches& found, std::int64_t* ids, float* scores,
                  std::int32_t* counts) {
  copy_to(ids, found.ids);
  copy_to(scores, found.scores);
  copy_to(counts, found.counts);
}

}  // namespace
}  // namespace helip::c

using namespace helip::c;

helip_status helip_index_options_init(helip_index_options* options, size_t struct_size) {
  return init_options(default_index_options, options, struct_size, kLeastIndexOptions);
}

helip_status helip_index_build(const helip_matrix* image, const helip_matrix* text,
                               const helip_index_options* options, const int64_t* ids,
                               int32_t threads, const helip_control* control, helip_index** out) {
  return create(out, [&] {
    const helip::MatrixView images = view_of(image, "image");
    return helip::PairIndex::build(images, view_of(text, "text"), index_options_of(options),
                                   ids_of(ids, images), threads, progress_of(control));
  });
}

helip_status helip_index_build_store(const helip_store* store, const helip_index_options* options,
                                     int32_t threads, const helip_control* control,
                                     helip_index** out) {
  return create(out, [&] {
    return helip::PairIndex::build(required(store, "store").object, index_options_of(options),
                                   threads, progress_of(control));
  });
}

helip_status helip_index_open(const char* path, const helip_control* control, helip_index** out) {
  return create(
      out, [&] { return helip::PairIndex::open(&required(path, "path"), progress_of(control)); });
}

void helip_index_free(helip_index* index) { delete index; }

helip_status helip_index_save(const helip_index* index, const char* path,
                              const helip_control* control) {
  return run([&] { object_of(index).save(&required(path, "path"), progress_of(control)); });
}

helip_status helip_index_add(helip_index* index, const helip_matrix* image,
                             const helip_matrix* text, const int64_t* ids, int32_t threads,
                             const helip_control* control) {
  return run([&] {
    helip::PairIndex& ours = required(index, "index").object;
    const helip::MatrixView images = view_of(image, "image");
    ours.add(images, view_of(text, "text"), ids_of(ids, images), threads, progress_of(control));
  });
}

helip_status helip_index_replace(helip_index* index, const helip_matrix* image,
                                 const helip_matrix* text, const int64_t* ids, int32_t threads,
                                 const helip_control* control) {
  return run([&] {
    helip::PairIndex& ours = required(index, "index").object;
    const helip::MatrixView images = view_of(image, "image");
    ours.replace(images, view_of(text, "text"), ids_of(&required(ids, "ids"), images), threads,
                 progress_of(control));
  });
}

helip_status helip_index_remove(helip_index* index, const int64_t* ids, int64_t count) {
  return run([&] {
    helip::PairIndex& ours = required(index, "index").object;
    ours.remove(listed(ids, count));
  });
}

helip_status helip_index_query(const helip_index* index, const helip_matrix* image,
                               const helip_matrix* text, int64_t k, int64_t breadth,
                               int32_t threads, const helip_control* control,
                               helip_id_filter allows, void* user, int64_t* ids, float* scores,
                               int32_t* counts) {
  return run([&] {
    copy_matches(object_of(index).query(view_of(image, "image"), view_of(text, "text"), k, breadth,
                                        threads, progress_of(control), filter_of(allows, user)),
                 ids, scores, counts);
  });
}

helip_status helip_index_near(const helip_index* index, const int64_t* of, int64_t count, int64_t k,
                              int64_t breadth, int32_t threads, const helip_control* control,
                              helip_id_filter allows, void* user, int64_t* ids, float* scores,
                              int32_t* counts) {
  return run([&] {
    copy_matches(object_of(index).near(listed(of, count), k, breadth, threads, progress_of(control),
                                       filter_of(allows, user)),
                 ids, scores, counts);
  });
}

helip_status helip_index_get_info(const helip_index* index, helip_index_info* info) {
  return run([&] {
    const helip::PairIndex& ours = object_of(index);
    const helip_index_info values{sizeof(helip_index_info), ours.size(), ours.image_dimensions(),
                                  ours.text_dimensions(), ours.bytes()};
    write_struct(values, info, required(info, "info").struct_size, kLeastIndexInfo, "info");
  });
}
