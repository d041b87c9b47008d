#include "helip/embedding_store_writer.h"

#include <algorithm>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/floating_mode.h"
#include "base/refuse.h"
#include "base/rethrow.h"
#include "base/text.h"
#include "io/column_writer.h"
#include "io/mapped_files.h"
#include "table/store/key_set.h"
#include "table/store/row_encoding.h"
#include "table/store/store_layout.h"
#include "table/store/tombstones.h"

namespace helip {
namespace {

namespace fs = std::filesystem;
using json = Json;

constexpr std::int64_t kConvertRows = 4096;  // rows converted at a time

void check_shape(const MatrixView& view, const char* name, std::int64_t rows, std::int64_t dim) {
  if (view.cols == dim && view.rows == rows) return;
  refuse(name, " has shape [", view.rows, ", ", view.cols, "]; the store needs [", rows, ", ", dim,
         "], one row a key");
}

void check_digests(std::span<const std::uint64_t> digests, const char* name, std::int64_t rows,
                   bool wanted) {
  const auto given = static_cast<std::int64_t>(digests.size());
  if (given == (wanted ? rows : 0)) return;
  refuse(name, " has ", given, " numbers for ", rows, " rows; ",
         wanted ? "the store has digests, and needs one a row"
                : "the store was made without digests, so leave it out");
}

void check_key(const std::string& key, std::int64_t row) {
  constexpr std::size_t kKeyLimit = 1 << 16;
  if (!key.empty() && key.size() <= kKeyLimit) return;
  refuse("the key of row ", row, " has ", key.size(), " bytes; keys have 1 .. 65536");
}

}  // namespace

struct EmbeddingStoreWriter::Impl {
  StoreOptions options;
  ColumnWriter columns;
  json metadata = json::object();
  json replaced = json::array();  // as in the manifest; appending keeps it
  DataFingerprint data;
  KeySet keys;
  std::vector<std::string> recent_keys;  // since the last commit, to name the row of a duplicate
  std::int64_t recent_first = 0;
  Tombstones tombstones;           // committed
  std::set<std::int64_t> deleted;  // since then
  fs::path path;

  Impl(StoreOptions opts, ColumnWriter writer, fs::path where)
      : options(std::move(opts)), columns(std::move(writer)), path(std::move(where)) {}

  // Converts the rows a block at a time. `matrices`: image, text, and the others.
  void write_rows(const std::vector<std::string>& row_keys, const std::vector<MatrixView>& matrices,
                  std::span<const std::uint64_t> image_digests,
                  std::span<const std::uint64_t> caption_digests) {
    const auto n = static_cast<std::int64_t>(row_keys.size());
    const std::int64_t block = std::min(n, kConvertRows);
    std::int64_t widest = 0;
    std::vector<std::vector<char>> encoded;
    for (const MatrixView& matrix : matrices) {
      widest = std::max(widest, matrix.cols);
      encoded.emplace_back(static_cast<std::size_t>(block * matrix.cols * size_of(options.dtype)));
    }
    std::vector<float> scratch(static_cast<std::size_t>(block * widest));
    std::vector<std::vector<float>> scale(matrices.size(),
                                          std::vector<float>(static_cast<std::size_t>(block)));
    const bool is_scaled = options.dtype == DType::int8;
    for (std::int64_t first = 0; first < n; first += block) {
      const std::int64_t rows = std::min(block, n - first);
      for (std::size_t i = 0; i < matrices.size(); ++i) {
        encode_rows(matrices[i], first, rows, options.dtype, scratch.data(), encoded[i].data(),
                    scale[i].data());
      }
      // As store_columns() has them.
      std::vector<const void*> data{encoded[0].data(), encoded[1].data()};
      if (is_scaled) data.insert(data.end(), {scale[0].data(), scale[1].data()});
      if (options.digests) {
        data.insert(data.end(), {image_digests.data() + first, caption_digests.data() + first});
      }
      for (std::size_t i = 2; i < matrices.size(); ++i) {
        data.push_back(encoded[i].data());
        if (is_scaled) data.push_back(scale[i].data());
      }
      columns.append(rows, data, row_keys.data() + first);
    }
  }

  // The row that holds `key`, or -1: a hash alone could be a coincidence.
  std::int64_t find(const std::string& key) const {
    for (std::size_t i = 0; i < recent_keys.size(); ++i) {
      if (recent_keys[i] == key) return recent_first + static_cast<std::int64_t>(i);
    }
    if (recent_first == 0) return -1;
    const EmbeddingStore store = EmbeddingStore::open(path);
    for (std::int64_t i = 0; i < store.size(); ++i) {
      if (store.key(i) == key) return i;
    }
    return -1;
  }

  void check_new(const std::vector<std::string>& batch, std::int64_t first) const {
    std::unordered_set<std::string_view> in_batch;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const std::int64_t row = first + static_cast<std::int64_t>(i);
      check_key(batch[i], row);
      std::int64_t earlier = -1;
      if (!in_batch.insert(batch[i]).second) {
        const auto at = std::find(batch.begin(), batch.end(), batch[i]) - batch.begin();
        earlier = first + static_cast<std::int64_t>(at);
      } else if (keys.contains(batch[i])) {
        earlier = find(batch[i]);
      }
      if (earlier < 0) continue;
      refuse("key \"", excerpt(batch[i]), "\" of row ", row, " is that of row ", earlier,
             " already; keys must be unique");
    }
  }

  // Rows of these keys.
  std::vector<std::int64_t> rows_of(const std::vector<std::string>& wanted) const {
    std::unordered_map<std::string_view, std::int64_t> found;
    for (const std::string& key : wanted) found.emplace(key, -1);
    const auto look = [&found](std::string_view key, std::int64_t row) {
      const auto place = found.find(key);
      if (place != found.end()) place->second = row;
    };
    if (recent_first > 0) {
      const EmbeddingStore store = EmbeddingStore::open(path);
      for (std::int64_t i = 0; i < store.size(); ++i) look(store.key(i), i);
    }
    for (std::size_t i = 0; i < recent_keys.size(); ++i) {
      look(recent_keys[i], recent_first + static_cast<std::int64_t>(i));
    }
    std::vector<std::int64_t> rows;
    for (const std::string& key : wanted) {
      rows.push_back(found.at(key));
      if (rows.back() >= 0) continue;
      refuse("key \"", excerpt(key), "\" is that of no row, so nothing was deleted");
    }
    return rows;
  }
};

EmbeddingStoreWriter::EmbeddingStoreWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EmbeddingStoreWriter::EmbeddingStoreWriter(EmbeddingStoreWriter&&) noexcept = default;
EmbeddingStoreWriter& EmbeddingStoreWriter::operator=(EmbeddingStoreWriter&&) noexcept = default;
EmbeddingStoreWriter::~EmbeddingStoreWriter() = default;

EmbeddingStoreWriter EmbeddingStoreWriter::create(const fs::path& path,
                                                  const StoreOptions& options) try {
  check_store_options(options);
  Manifest manifest;
  manifest.format = kStoreFormat;
  manifest.shard_rows = options.shard_rows;
  manifest.columns = store_columns(options);
  return EmbeddingStoreWriter(
      std::make_unique<Impl>(options, ColumnWriter(path, std::move(manifest), true), path));
} catch (...) {
  rethrow_as_error();
}

EmbeddingStoreWriter EmbeddingStoreWriter::append_to(const fs::path& path) try {
  ColumnWriter columns(path, kStoreFormat, true);
  const EmbeddingStore store = EmbeddingStore::open(path);
  auto impl =
      std::make_unique<Impl>(store_options_of(columns.manifest(), path), std::move(columns), path);
  impl->metadata = parse_json_object(store.metadata_json(), "the store's metadata");
  impl->recent_first = store.size();
  impl->tombstones = tombstones_of(impl->columns.manifest());
  impl->replaced = impl->columns.manifest().attributes.value(kReplacedAttribute, json::array());
  const bool digests = impl->options.digests;
  for (std::int64_t i = 0; i < store.size(); ++i) {
    const std::string_view key = store.key(i);
    impl->data.add(key, digests ? store.image_digests()[i] : 0,
                   digests ? store.caption_digests()[i] : 0);
    impl->keys.insert(key);
  }
  return EmbeddingStoreWriter(std::move(impl));
} catch (...) {
  rethrow_as_error();
}

EmbeddingStoreWriter::Impl& EmbeddingStoreWriter::usable() const {
  if (!impl_) refuse("this writer of a store was moved from; use the one that it was moved to");
  impl_->columns.check_usable();
  return *impl_;
}

void EmbeddingStoreWriter::append(const std::vector<std::string>& keys, const MatrixView& image,
                                  const MatrixView& text,
                                  std::span<const std::uint64_t> image_digests,
                                  std::span<const std::uint64_t> caption_digests,
                                  const std::vector<MatrixView>& matrices) try {
  const DefaultFloatingMode mode;
  Impl& impl = usable();
  const StoreOptions& options = impl.options;
  const auto n = static_cast<std::int64_t>(keys.size());
  if (matrices.size() != options.matrices.size()) {
    refuse("there are rows of ", matrices.size(), " matrices beside image and text; the store has ",
           options.matrices.size(), ", and needs those of each");
  }
  std::vector<MatrixView> all{image, text};
  all.insert(all.end(), matrices.begin(), matrices.end());
  std::vector<StoreMatrix> wanted{{kImageColumn, options.image_dim},
                                  {kTextColumn, options.text_dim}};
  wanted.insert(wanted.end(), options.matrices.begin(), options.matrices.end());
  for (std::size_t i = 0; i < all.size(); ++i) {
    const char* name = wanted[i].name.c_str();
    check_shape(all[i], name, n, wanted[i].dim);
    all[i].check(name);
    check_storable(all[i], name, size(), options.dtype);
  }
  check_digests(image_digests, kImageDigestColumn, n, options.digests);
  check_digests(caption_digests, kCaptionDigestColumn, n, options.digests);
  impl.check_new(keys, size());

  try {
    impl.write_rows(keys, all, image_digests, caption_digests);
    for (const MatrixView& matrix : all) require_whole(matrix.data);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      impl.data.add(keys[i], options.digests ? image_digests[i] : 0,
                    options.digests ? caption_digests[i] : 0);
      impl.keys.insert(keys[i]);
      impl.recent_keys.push_back(keys[i]);
    }
  } catch (...) {
    impl.columns.give_up();
    throw;
  }
} catch (...) {
  rethrow_as_error();
}

std::int64_t EmbeddingStoreWriter::delete_rows(const std::vector<std::int64_t>& rows) try {
  Impl& impl = usable();
  for (const std::int64_t row : rows) {
    if (row >= 0 && row < size()) continue;
    refuse("row ", row, " cannot be deleted: the store has rows 0 .. ", size() - 1);
  }
  const std::vector<std::int64_t> before = impl.tombstones.rows();
  std::set<std::int64_t> marked = impl.deleted;
  for (const std::int64_t row : rows) {
    if (!std::binary_search(before.begin(), before.end(), row)) marked.insert(row);
  }
  const std::size_t added = marked.size() - impl.deleted.size();
  impl.deleted = std::move(marked);
  return static_cast<std::int64_t>(added);
} catch (...) {
  rethrow_as_error();
}

std::int64_t EmbeddingStoreWriter::delete_keys(const std::vector<std::string>& keys) try {
  return delete_rows(usable().rows_of(keys));
} catch (...) {
  rethrow_as_error();
}

EmbeddingStore EmbeddingStoreWriter::commit(const std::string& metadata_json) {
  return publish(metadata_json, false);
}

EmbeddingStore EmbeddingStoreWriter::finish(const std::string& metadata_json) {
  return publish(metadata_json, true);
}

EmbeddingStore EmbeddingStoreWriter::publish(const std::string& metadata_json, bool last) try {
  Impl& impl = usable();
  json metadata = metadata_json.empty() ? impl.metadata
                                        : parse_json_object(metadata_json, "the store's metadata");
  Tombstones tombstones = impl.tombstones;
  if (!impl.deleted.empty()) tombstones.add({impl.deleted.begin(), impl.deleted.end()});
  const auto describe = [&](Manifest& manifest) {
    describe_store(manifest, impl.data, metadata, tombstones, impl.replaced);
  };
  if (last) {
    impl.columns.close(describe);
  } else {
    impl.columns.commit(describe);
  }
  impl.tombstones = std::move(tombstones);
  impl.deleted.clear();
  impl.metadata = std::move(metadata);
  impl.recent_first = size();
  impl.recent_keys.clear();
  return EmbeddingStore::open(impl.path);
} catch (...) {
  rethrow_as_error();
}

std::int64_t EmbeddingStoreWriter::size() const noexcept {
  return impl_ ? impl_->columns.rows() : 0;
}

const StoreOptions& EmbeddingStoreWriter::options() const noexcept {
  static const StoreOptions kNone;
  return impl_ ? impl_->options : kNone;
}

}  // namespace helip
