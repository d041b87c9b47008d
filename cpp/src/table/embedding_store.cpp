#include "helip/embedding_store.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/half.h"
#include "helip/error.h"
#include "io/checksum.h"
#include "io/column_reader.h"
#include "io/column_writer.h"
#include "table/fingerprint.h"
#include "table/key_set.h"
#include "table/tombstones.h"

namespace helip {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kFormat = "helip.embedding_store";
constexpr const char* kImage = "image";
constexpr const char* kText = "text";
constexpr const char* kImageScale = "image_scale";
constexpr const char* kTextScale = "text_scale";
constexpr const char* kDeleted = "deleted";  // attribute
constexpr std::int64_t kConvertRows = 4096;  // rows converted at a time

std::vector<ColumnSpec> columns_of(const StoreOptions& options) {
  std::vector<ColumnSpec> columns{{kImage, options.dtype, options.image_dim},
                                  {kText, options.dtype, options.text_dim}};
  if (options.dtype == DType::int8) {
    columns.push_back({kImageScale, DType::float32});
    columns.push_back({kTextScale, DType::float32});
  }
  return columns;
}

StoreOptions options_of(const Manifest& manifest, const fs::path& path) {
  StoreOptions options;
  options.shard_rows = manifest.shard_rows;
  if (manifest.columns.size() >= 2) {
    options.dtype = manifest.columns[0].dtype;
    options.image_dim = manifest.columns[0].cols;
    options.text_dim = manifest.columns[1].cols;
  }
  if (manifest.columns != columns_of(options)) {
    throw Error(ErrorCode::corrupt,
                "\"" + path.string() + "\" is damaged: its columns are not those of a store");
  }
  return options;
}

void check(const StoreOptions& options) {
  const auto bad = [](const std::string& what) { throw Error(ErrorCode::invalid_argument, what); };
  constexpr std::int64_t kDimLimit = 1 << 20;
  for (const auto& [name, dim] :
       {std::pair{"image_dim", options.image_dim}, std::pair{"text_dim", options.text_dim}}) {
    if (dim < 1 || dim > kDimLimit) {
      bad(std::string(name) + " is " + std::to_string(dim) + "; it must lie in 1 .. " +
          std::to_string(kDimLimit));
    }
  }
  if (options.shard_rows < kColumnAlignment || options.shard_rows % kColumnAlignment != 0) {
    bad("shard_rows is " + std::to_string(options.shard_rows) + "; use a positive multiple of " +
        std::to_string(kColumnAlignment));
  }
  if (options.dtype != DType::float32 && options.dtype != DType::float16 &&
      options.dtype != DType::bfloat16 && options.dtype != DType::int8) {
    bad(std::string("a store cannot hold ") + name_of(options.dtype) +
        "; use float32, float16, bfloat16 or int8");
  }
}

// Converts dense float32 rows to the store's dtype. `scale` is filled for int8 alone.
void encode_rows(const float* values, std::int64_t rows, std::int64_t cols, DType dtype, char* out,
                 float* scale) {
  const std::int64_t n = rows * cols;
  if (dtype == DType::float32) {
    std::memcpy(out, values, static_cast<std::size_t>(n) * sizeof(float));
  } else if (dtype == DType::int8) {
    for (std::int64_t i = 0; i < rows; ++i) {
      const float* row = values + i * cols;
      float largest = 0;
      for (std::int64_t j = 0; j < cols; ++j) largest = std::max(largest, std::fabs(row[j]));
      scale[i] = largest / 127.0F;
      auto* codes = reinterpret_cast<std::int8_t*>(out) + i * cols;
      for (std::int64_t j = 0; j < cols; ++j) {
        // Dividing by the largest first keeps subnormal rows exact enough.
        const float unit = largest > 0 ? row[j] / largest : 0.0F;
        codes[j] = static_cast<std::int8_t>(std::lrintf(unit * 127.0F));
      }
    }
  } else {
    auto* halves = reinterpret_cast<std::uint16_t*>(out);
    const bool brain = dtype == DType::bfloat16;
    for (std::int64_t j = 0; j < n; ++j) {
      halves[j] = brain ? bfloat16_from_float(values[j]) : float16_from_float(values[j]);
    }
  }
}

// The largest magnitude that a dtype can hold; beyond it a value would become infinite.
float limit_of(DType dtype) {
  if (dtype == DType::float16) return 65504.0F;
  if (dtype == DType::bfloat16) return 3.3895314e38F;
  return 3.4028235e38F;
}

std::string short_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

void check_finite(const MatrixView& view, const char* name, std::int64_t first, DType dtype) {
  std::vector<double> row(static_cast<std::size_t>(view.cols));
  const double limit = limit_of(dtype);
  for (std::int64_t i = 0; i < view.rows; ++i) {
    read_row(view, i, row.data());
    for (std::int64_t j = 0; j < view.cols; ++j) {
      const double value = row[static_cast<std::size_t>(j)];
      if (std::fabs(value) <= limit) continue;
      throw Error(ErrorCode::invalid_argument,
                  std::string(name) + " row " + std::to_string(first + i) + " (row " +
                      std::to_string(i) + " of this call) has " + short_text(value) +
                      " in column " + std::to_string(j) + "; a store of " + name_of(dtype) +
                      " holds finite values up to " + short_text(limit) + "; check the encoder");
    }
  }
}

void check_shape(const MatrixView& view, const char* name, std::int64_t rows, std::int64_t dim) {
  if (view.cols == dim && view.rows == rows) return;
  throw Error(ErrorCode::invalid_argument,
              std::string(name) + " has shape [" + std::to_string(view.rows) + ", " +
                  std::to_string(view.cols) + "]; the store needs [" + std::to_string(rows) + ", " +
                  std::to_string(dim) + "], one row a key");
}

void check_key(const std::string& key, std::int64_t row) {
  constexpr std::size_t kKeyLimit = 1 << 16;
  if (!key.empty() && key.size() <= kKeyLimit) return;
  throw Error(ErrorCode::invalid_argument, "the key of row " + std::to_string(row) + " has " +
                                               std::to_string(key.size()) +
                                               " bytes; keys have 1 .. 65536");
}

}  // namespace

struct EmbeddingStore::State {
  std::shared_ptr<const ColumnReader> reader;
  MatrixView image;
  MatrixView text;
  Tombstones tombstones;
  std::vector<std::int64_t> deleted;
  std::vector<std::uint8_t> marks;  // [rows], empty where none is deleted
  std::string fingerprint;
  std::string keys_fingerprint;
  std::string metadata;
};

EmbeddingStore::EmbeddingStore(std::shared_ptr<const State> state) : state_(std::move(state)) {}

EmbeddingStore EmbeddingStore::open(const fs::path& path) {
  auto state = std::make_shared<State>();
  state->reader = open_columns(path, kFormat);
  const Manifest& manifest = state->reader->manifest();
  const StoreOptions options = options_of(manifest, path);
  state->image = state->reader->column(kImage);
  state->text = state->reader->column(kText);
  if (options.dtype == DType::int8) {
    state->image.scale = static_cast<const float*>(state->reader->column(kImageScale).data);
    state->text.scale = static_cast<const float*>(state->reader->column(kTextScale).data);
  }
  try {
    state->fingerprint = manifest.attributes.at("fingerprint").get<std::string>();
    state->keys_fingerprint = manifest.attributes.at("keys_fingerprint").get<std::string>();
    state->metadata = manifest.attributes.at("metadata").dump();
    if (!manifest.features.empty()) {
      state->tombstones = Tombstones(manifest.attributes.at(kDeleted), state->reader->rows());
    }
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    throw Error(ErrorCode::corrupt, "\"" + path.string() + "\" is damaged: " + error.what());
  }
  state->deleted = state->tombstones.rows();
  if (!state->deleted.empty()) {
    state->marks.resize(static_cast<std::size_t>(state->reader->rows()));
    for (const std::int64_t row : state->deleted) state->marks[static_cast<std::size_t>(row)] = 1;
    state->image.deleted = state->text.deleted = state->marks.data();
  }
  return EmbeddingStore(std::move(state));
}

const fs::path& EmbeddingStore::path() const noexcept { return state_->reader->directory(); }
std::int64_t EmbeddingStore::size() const noexcept { return state_->reader->rows(); }
std::int64_t EmbeddingStore::generation() const noexcept {
  return state_->reader->manifest().generation;
}
MatrixView EmbeddingStore::image() const noexcept { return state_->image; }
MatrixView EmbeddingStore::text() const noexcept { return state_->text; }
std::string_view EmbeddingStore::key(std::int64_t row) const { return state_->reader->key(row); }
const std::vector<std::int64_t>& EmbeddingStore::deleted() const noexcept {
  return state_->deleted;
}
const std::string& EmbeddingStore::fingerprint() const noexcept { return state_->fingerprint; }
const std::string& EmbeddingStore::keys_fingerprint() const noexcept {
  return state_->keys_fingerprint;
}
const std::string& EmbeddingStore::metadata_json() const noexcept { return state_->metadata; }

std::optional<std::vector<std::int64_t>> EmbeddingStore::deleted_when(
    std::int64_t rows, const std::string& fingerprint) const {
  if (rows == size() && fingerprint == state_->fingerprint) return state_->deleted;
  if (rows < 0 || rows > size()) return std::nullopt;
  const std::string content = content_fingerprint(*state_->reader, rows);
  if (fingerprint == content) return std::vector<std::int64_t>{};
  const std::vector<std::string> digests = state_->tombstones.digests();
  for (std::size_t batch = 0; batch < digests.size(); ++batch) {
    if (fingerprint != fingerprint_without(content, digests[batch])) continue;
    std::vector<std::int64_t> deleted = state_->tombstones.rows(batch + 1);
    if (deleted.back() < rows) return deleted;
  }
  return std::nullopt;
}

void EmbeddingStore::verify(const ProgressCallback& progress) const {
  Progress state{"verify", 0, state_->reader->bytes()};
  state_->reader->verify({}, [&](std::int64_t bytes) {
    state.done += bytes;
    if (progress && !progress(state)) {
      throw Error(ErrorCode::cancelled,
                  "verification was stopped after " + std::to_string(state.done) + " bytes");
    }
  });
  Digest digest;
  for (std::int64_t i = 0; i < size(); ++i) digest.update_field(key(i));
  if (digest.hex() != state_->keys_fingerprint) {
    throw Error(ErrorCode::corrupt, "\"" + path().string() +
                                        "\" is damaged: the keys do not give its keys_fingerprint");
  }
}

struct EmbeddingStoreWriter::Impl {
  StoreOptions options;
  ColumnWriter columns;
  json metadata = json::object();
  Digest keys_digest;
  KeySet keys;
  std::vector<std::string> recent_keys;  // since the last commit, to name the row of a duplicate
  std::int64_t recent_first = 0;
  Tombstones tombstones;           // committed
  std::set<std::int64_t> deleted;  // since then
  fs::path path;

  Impl(StoreOptions opts, ColumnWriter writer, fs::path where)
      : options(opts), columns(std::move(writer)), path(std::move(where)) {}

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
      throw Error(ErrorCode::invalid_argument,
                  "key \"" + batch[i] + "\" of row " + std::to_string(row) + " is that of row " +
                      std::to_string(earlier) + " already; keys must be unique");
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
      throw Error(ErrorCode::invalid_argument,
                  "key \"" + key + "\" is that of no row, so nothing was deleted");
    }
    return rows;
  }
};

EmbeddingStoreWriter::EmbeddingStoreWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EmbeddingStoreWriter::EmbeddingStoreWriter(EmbeddingStoreWriter&&) noexcept = default;
EmbeddingStoreWriter& EmbeddingStoreWriter::operator=(EmbeddingStoreWriter&&) noexcept = default;
EmbeddingStoreWriter::~EmbeddingStoreWriter() = default;

EmbeddingStoreWriter EmbeddingStoreWriter::create(const fs::path& path,
                                                  const StoreOptions& options) {
  check(options);
  Manifest manifest;
  manifest.format = kFormat;
  manifest.shard_rows = options.shard_rows;
  manifest.columns = columns_of(options);
  return EmbeddingStoreWriter(
      std::make_unique<Impl>(options, ColumnWriter(path, std::move(manifest), true), path));
}

EmbeddingStoreWriter EmbeddingStoreWriter::append_to(const fs::path& path) {
  ColumnWriter columns(path, kFormat, true);
  const EmbeddingStore store = EmbeddingStore::open(path);
  auto impl =
      std::make_unique<Impl>(options_of(columns.manifest(), path), std::move(columns), path);
  impl->metadata = parse_json_object(store.metadata_json(), "the store's metadata");
  impl->recent_first = store.size();
  impl->tombstones = store.state_->tombstones;
  for (std::int64_t i = 0; i < store.size(); ++i) {
    const std::string_view key = store.key(i);
    impl->keys_digest.update_field(key);
    impl->keys.insert(key);
  }
  return EmbeddingStoreWriter(std::move(impl));
}

void EmbeddingStoreWriter::append(const std::vector<std::string>& keys, const MatrixView& image,
                                  const MatrixView& text) {
  Impl& impl = *impl_;
  const StoreOptions& options = impl.options;
  const auto n = static_cast<std::int64_t>(keys.size());
  check_shape(image, kImage, n, options.image_dim);
  check_shape(text, kText, n, options.text_dim);
  check_finite(image, kImage, size(), options.dtype);
  check_finite(text, kText, size(), options.dtype);
  impl.check_new(keys, size());

  const std::int64_t block = std::min(n, kConvertRows);
  const std::int64_t width = size_of(options.dtype);
  std::vector<float> values(
      static_cast<std::size_t>(block * std::max(options.image_dim, options.text_dim)));
  std::vector<char> image_rows(static_cast<std::size_t>(block * options.image_dim * width));
  std::vector<char> text_rows(static_cast<std::size_t>(block * options.text_dim * width));
  std::vector<float> image_scale(static_cast<std::size_t>(block));
  std::vector<float> text_scale(static_cast<std::size_t>(block));
  for (std::int64_t first = 0; first < n; first += block) {
    const std::int64_t rows = std::min(block, n - first);
    const auto encode = [&](const MatrixView& view, std::vector<char>& out, float* scale) {
      for (std::int64_t i = 0; i < rows; ++i) {
        read_row(view, first + i, values.data() + i * view.cols);
      }
      encode_rows(values.data(), rows, view.cols, options.dtype, out.data(), scale);
    };
    encode(image, image_rows, image_scale.data());
    encode(text, text_rows, text_scale.data());
    std::vector<const void*> data{image_rows.data(), text_rows.data()};
    if (options.dtype == DType::int8) {
      data.push_back(image_scale.data());
      data.push_back(text_scale.data());
    }
    impl.columns.append(rows, data, keys.data() + first);
  }
  for (const std::string& key : keys) {
    impl.keys_digest.update_field(key);
    impl.keys.insert(key);
    impl.recent_keys.push_back(key);
  }
}

std::int64_t EmbeddingStoreWriter::delete_rows(const std::vector<std::int64_t>& rows) {
  Impl& impl = *impl_;
  for (const std::int64_t row : rows) {
    if (row >= 0 && row < size()) continue;
    throw Error(ErrorCode::invalid_argument, "row " + std::to_string(row) +
                                                 " cannot be deleted: the store has rows 0 .. " +
                                                 std::to_string(size() - 1));
  }
  const std::vector<std::int64_t> before = impl.tombstones.rows();
  const std::size_t marked = impl.deleted.size();
  for (const std::int64_t row : rows) {
    if (!std::binary_search(before.begin(), before.end(), row)) impl.deleted.insert(row);
  }
  return static_cast<std::int64_t>(impl.deleted.size() - marked);
}

std::int64_t EmbeddingStoreWriter::delete_keys(const std::vector<std::string>& keys) {
  return delete_rows(impl_->rows_of(keys));
}

EmbeddingStore EmbeddingStoreWriter::commit(const std::string& metadata_json) {
  Impl& impl = *impl_;
  json metadata = metadata_json.empty() ? impl.metadata
                                        : parse_json_object(metadata_json, "the store's metadata");
  Tombstones tombstones = impl.tombstones;
  if (!impl.deleted.empty()) tombstones.add({impl.deleted.begin(), impl.deleted.end()});
  impl.columns.commit([&](Manifest& manifest) {
    const std::string keys_fingerprint = impl.keys_digest.hex();
    std::string fingerprint = content_fingerprint(manifest, keys_fingerprint);
    manifest.features.clear();
    manifest.attributes = {{"keys_fingerprint", keys_fingerprint}, {"metadata", metadata}};
    if (!tombstones.empty()) {
      fingerprint = fingerprint_without(fingerprint, tombstones.digests().back());
      manifest.features = {kDeletedRows};
      manifest.attributes[kDeleted] = tombstones.to_json();
    }
    manifest.attributes["fingerprint"] = fingerprint;
  });
  impl.tombstones = std::move(tombstones);
  impl.deleted.clear();
  impl.metadata = std::move(metadata);
  impl.recent_first = size();
  impl.recent_keys.clear();
  return EmbeddingStore::open(impl.path);
}

std::int64_t EmbeddingStoreWriter::size() const noexcept { return impl_->columns.rows(); }
const StoreOptions& EmbeddingStoreWriter::options() const noexcept { return impl_->options; }

std::string keys_fingerprint(const std::vector<std::string>& keys) {
  Digest digest;
  for (const std::string& key : keys) digest.update_field(key);
  return digest.hex();
}

}  // namespace helip
