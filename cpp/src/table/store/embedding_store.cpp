#include "helip/embedding_store.h"

#include <algorithm>
#include <utility>

#include "base/empty_state.h"
#include "base/refuse.h"
#include "base/rethrow.h"
#include "base/text.h"
#include "helip/data_fingerprint.h"
#include "io/byte_progress.h"
#include "io/column_reader.h"
#include "io/file.h"
#include "table/store/fingerprint.h"
#include "table/store/row_ranges.h"
#include "table/store/store_layout.h"
#include "table/store/tombstones.h"

namespace helip {

namespace fs = std::filesystem;

struct EmbeddingStore::State {
  std::shared_ptr<const ColumnReader> reader;  // none of a store of no rows that lies nowhere
  fs::path path;
  std::int64_t rows = 0;
  std::int64_t generation = 0;
  MatrixView image;
  MatrixView text;
  std::vector<std::pair<std::string, MatrixView>> matrices;
  Tombstones tombstones;
  std::vector<std::int64_t> deleted;
  std::vector<std::uint8_t> marks;  // [rows], empty where none is deleted
  std::string fingerprint;
  std::string keys_fingerprint;
  std::string data_fingerprint;
  const std::uint64_t* image_digests = nullptr;    // [rows]
  const std::uint64_t* caption_digests = nullptr;  // [rows]
  std::vector<Replacement> replaced;
  std::string metadata = "{}";
};

EmbeddingStore::EmbeddingStore() noexcept : state_(empty_state<State>()) {}
EmbeddingStore::EmbeddingStore(std::shared_ptr<const State> state) : state_(std::move(state)) {}
EmbeddingStore::EmbeddingStore(const EmbeddingStore&) noexcept = default;
EmbeddingStore::EmbeddingStore(EmbeddingStore&& other) noexcept
    : state_(std::exchange(other.state_, empty_state<State>())) {}
EmbeddingStore& EmbeddingStore::operator=(const EmbeddingStore&) noexcept = default;
EmbeddingStore& EmbeddingStore::operator=(EmbeddingStore&& other) noexcept {
  state_ = std::exchange(other.state_, empty_state<State>());
  return *this;
}
EmbeddingStore::~EmbeddingStore() = default;

EmbeddingStore EmbeddingStore::open(const fs::path& path) try {
  auto state = std::make_shared<State>();
  state->reader = open_columns(path, kStoreFormat);
  const ColumnReader& reader = *state->reader;
  const Manifest& manifest = reader.manifest();
  const StoreOptions options = store_options_of(manifest, path);
  state->path = reader.directory();
  state->rows = reader.rows();
  state->generation = manifest.generation;
  state->image = reader.column(kImageColumn);
  state->text = reader.column(kTextColumn);
  if (options.dtype == DType::int8) {
    state->image.scale = static_cast<const float*>(reader.column(kImageScaleColumn).data);
    state->text.scale = static_cast<const float*>(reader.column(kTextScaleColumn).data);
  }
  for (const StoreMatrix& matrix : options.matrices) {
    MatrixView view = reader.column(column_of(matrix));
    if (options.dtype == DType::int8) {
      view.scale = static_cast<const float*>(reader.column(scale_column_of(matrix)).data);
    }
    state->matrices.emplace_back(matrix.name, view);
  }
  if (options.digests) {
    const auto digests = [&reader](const char* name) {
      return static_cast<const std::uint64_t*>(reader.column(name).data);
    };
    state->image_digests = digests(kImageDigestColumn);
    state->caption_digests = digests(kCaptionDigestColumn);
  }
  try {
    state->fingerprint = manifest.attributes.at("fingerprint").get<std::string>();
    state->keys_fingerprint = manifest.attributes.at("keys_fingerprint").get<std::string>();
    state->data_fingerprint = manifest.attributes.at("data_fingerprint").get<std::string>();
    state->metadata = manifest.attributes.at("metadata").dump();
    state->tombstones = tombstones_of(manifest);
    state->replaced = replacements_of(manifest);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    throw_damaged(path, error.what());
  }
  state->deleted = state->tombstones.rows();
  if (!state->deleted.empty()) {
    state->marks.resize(static_cast<std::size_t>(state->rows));
    for (const std::int64_t row : state->deleted) state->marks[static_cast<std::size_t>(row)] = 1;
    state->image.deleted = state->text.deleted = state->marks.data();
    for (auto& [name, view] : state->matrices) view.deleted = state->marks.data();
  }
  return EmbeddingStore(std::move(state));
} catch (...) {
  rethrow_as_error();
}

const fs::path& EmbeddingStore::path() const noexcept { return state_->path; }
std::int64_t EmbeddingStore::size() const noexcept { return state_->rows; }
std::int64_t EmbeddingStore::generation() const noexcept { return state_->generation; }
MatrixView EmbeddingStore::image() const noexcept { return state_->image; }
MatrixView EmbeddingStore::text() const noexcept { return state_->text; }
std::vector<std::string> EmbeddingStore::matrix_names() const {
  std::vector<std::string> names{kImageColumn, kTextColumn};
  for (const auto& [name, view] : state_->matrices) names.push_back(name);
  return names;
}
MatrixView EmbeddingStore::matrix(const std::string& name) const {
  if (name == kImageColumn) return image();
  if (name == kTextColumn) return text();
  for (const auto& [own, view] : state_->matrices) {
    if (own == name) return view;
  }
  std::string known;
  for (const std::string& own : matrix_names()) known += (known.empty() ? "" : ", ") + own;
  refuse("the store has no matrix '", excerpt(name), "'; it has ", known);
}
std::string_view EmbeddingStore::key(std::int64_t row) const {
  if (!state_->reader) refuse("row ", row, " is none of a store of no rows");
  return state_->reader->key(row);
}
const std::vector<std::int64_t>& EmbeddingStore::deleted() const noexcept {
  return state_->deleted;
}
const std::string& EmbeddingStore::fingerprint() const noexcept { return state_->fingerprint; }
const std::string& EmbeddingStore::keys_fingerprint() const noexcept {
  return state_->keys_fingerprint;
}
const std::string& EmbeddingStore::data_fingerprint() const noexcept {
  return state_->data_fingerprint;
}
const std::uint64_t* EmbeddingStore::image_digests() const noexcept {
  return state_->image_digests;
}
const std::uint64_t* EmbeddingStore::caption_digests() const noexcept {
  return state_->caption_digests;
}
const std::string& EmbeddingStore::metadata_json() const noexcept { return state_->metadata; }

std::optional<EarlierState> EmbeddingStore::earlier_state(std::int64_t rows,
                                                          const std::string& fingerprint) const
    try {
  if (rows == size() && fingerprint == state_->fingerprint) return EarlierState{deleted(), {}};
  if (rows < 0 || rows > size() || !state_->reader) return std::nullopt;
  const std::vector<Replacement>& replaced = state_->replaced;
  for (auto from = replaced.begin(); from != replaced.end(); ++from) {
    if (from->fingerprint != fingerprint || from->rows != rows) continue;
    EarlierState state{state_->tombstones.rows(from->deleted_batches), {}};
    std::vector<bool> is_replaced(static_cast<std::size_t>(rows));
    for (auto since = from; since != replaced.end(); ++since) {
      for_each_range(since->replaced, size(), [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t row = first; row <= std::min(last, rows - 1); ++row) {
          is_replaced[static_cast<std::size_t>(row)] = true;
        }
      });
    }
    for (std::int64_t row = 0; row < rows; ++row) {
      if (is_replaced[static_cast<std::size_t>(row)]) state.replaced.push_back(row);
    }
    return state;
  }
  const std::string content = content_fingerprint(*state_->reader, rows);
  if (fingerprint == content) return EarlierState{};
  const std::vector<std::string> digests = state_->tombstones.digests();
  for (std::size_t batch = 0; batch < digests.size(); ++batch) {
    if (fingerprint != fingerprint_without(content, digests[batch])) continue;
    std::vector<std::int64_t> deleted = state_->tombstones.rows(batch + 1);
    if (deleted.back() < rows) return EarlierState{std::move(deleted), {}};
  }
  return std::nullopt;
} catch (...) {
  rethrow_as_error();
}

void EmbeddingStore::verify(const ProgressCallback& progress) const try {
  if (!state_->reader) return;
  ByteProgress bytes("verify", state_->reader->bytes(), progress);
  state_->reader->verify({}, [&](std::int64_t read) { bytes.advance(read); });
  DataFingerprint digest;
  const bool digests = state_->image_digests != nullptr;
  for (std::int64_t i = 0; i < size(); ++i) {
    digest.add(key(i), digests ? state_->image_digests[i] : 0,
               digests ? state_->caption_digests[i] : 0);
  }
  if (digest.keys() != state_->keys_fingerprint || digest.text() != state_->data_fingerprint) {
    throw_damaged(path(), "the rows do not give its keys_fingerprint and data_fingerprint");
  }
} catch (...) {
  rethrow_as_error();
}

void EmbeddingStore::require_whole() const try {
  if (state_->reader) state_->reader->require_whole();
} catch (...) {
  rethrow_as_error();
}

std::string keys_fingerprint(const std::vector<std::string>& keys) try {
  DataFingerprint digest;
  for (const std::string& key : keys) digest.add(key);
  return digest.keys();
} catch (...) {
  rethrow_as_error();
}

}  // namespace helip
