#include "helip/store_assembly.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/refuse.h"
#include "base/rethrow.h"
#include "base/text.h"
#include "io/byte_progress.h"
#include "io/column_reader.h"
#include "io/column_writer.h"
#include "table/store/key_set.h"
#include "table/store/row_ranges.h"
#include "table/store/store_layout.h"

namespace helip {
namespace {

namespace fs = std::filesystem;
using json = Json;

constexpr std::int64_t kBlockRows = 4096;

StoreOptions options_of(const EmbeddingStore& store, std::int64_t shard_rows) {
  StoreOptions options{store.image().cols, store.text().cols, store.image().dtype, shard_rows,
                       store.image_digests() != nullptr};
  const std::vector<std::string> names = store.matrix_names();
  for (std::size_t i = 2; i < names.size(); ++i) {
    options.matrices.push_back({names[i], store.matrix(names[i]).cols});
  }
  return options;
}

void check_sources(const std::vector<EmbeddingStore>& sources) {
  if (sources.empty()) refuse("a store cannot be put together of no others");
  const auto columns = store_columns(options_of(sources[0], 0));
  for (const EmbeddingStore& source : sources) {
    if (store_columns(options_of(source, 0)) == columns) continue;
    fail(ErrorCode::mismatch, quoted(source.path()), " and ", quoted(sources[0].path()),
         " differ in matrices, width, dtype or digests of their rows, so they cannot be one store");
  }
}

std::int64_t rows_of(const std::vector<StoreRun>& runs,
                     const std::vector<EmbeddingStore>& sources) {
  std::int64_t rows = 0;
  for (const StoreRun& run : runs) {
    if (run.source >= sources.size()) refuse("there is no source ", run.source);
    const std::int64_t size = sources[run.source].size();
    if (run.first < 0 || run.first > run.last || run.last > size) {
      refuse("rows ", run.first, " .. ", run.last, " lie outside of the ", size, " rows of ",
             quoted(sources[run.source].path()));
    }
    rows += run.last - run.first;
  }
  return rows;
}

// What becomes of the rows of the store that is replaced.
class Comparison {
 public:
  // `old`: the store at the path, if any.
  explicit Comparison(const std::optional<EmbeddingStore>& old) : old_(old) {}

  void add(const EmbeddingStore& source, std::int64_t row, std::int64_t place) {
    if (!old_) {
      deleted_ = deleted_ || is_deleted(source, row);
    } else if (place >= old_->size()) {
      deleted_ = deleted_ || is_deleted(source, row);
    } else if (is_old(source) && row == place) {
      // as it was
    } else {
      deleted_ = deleted_ || is_deleted(source, row);
      moved_ = moved_ || source.key(row) != old_->key(place);
      if (!moved_) replaced_.push_back(place);
    }
  }

  bool is_old(const EmbeddingStore& source) const {
    return old_ && source.fingerprint() == old_->fingerprint();
  }
  // Whether every old row has its number yet, once all rows of the new store, `rows`, were added.
  bool in_place(std::int64_t rows) const { return old_ && !moved_ && rows >= old_->size(); }
  const std::vector<std::int64_t>& replaced() const noexcept { return replaced_; }
  void check_deleted(std::int64_t rows) const {
    const bool lost = old_ && !in_place(rows) && !old_->deleted().empty();
    if (!deleted_ && !lost) return;
    refuse("rows were deleted from a store, and would come back where rows get other numbers; ",
           "embed the data without them into a new store");
  }

 private:
  static bool is_deleted(const EmbeddingStore& source, std::int64_t row) {
    return std::binary_search(source.deleted().begin(), source.deleted().end(), row);
  }

  const std::optional<EmbeddingStore>& old_;
  bool moved_ = false;
  bool deleted_ = false;
  std::vector<std::int64_t> replaced_;
};

class Assembly {
 public:
  Assembly(const fs::path& path, const std::vector<EmbeddingStore>& sources,
           const StoreOptions& options, std::optional<EmbeddingStore> old)
      : sources_(sources),
        options_(options),
        old_(std::move(old)),
        comparison_(old_),
        writer_(ColumnWriter::replacing(path, empty_manifest(options), true)) {
    for (const EmbeddingStore& source : sources) {
      readers_.push_back(open_columns(source.path(), kStoreFormat));
    }
  }

  void add(const StoreRun& run, ByteProgress& progress) {
    for (std::int64_t row = run.first; row < run.last;) {
      const std::int64_t rows = keep_shard(run, row)
                                    ? options_.shard_rows
                                    : copy(run.source, row, std::min(kBlockRows, run.last - row));
      note(run.source, row, rows);
      row += rows;
      progress.advance(rows);
    }
  }

  void finish(const json& metadata) {
    for (const auto& reader : readers_) reader->require_whole();
    const std::int64_t rows = writer_.rows();
    comparison_.check_deleted(rows);
    Tombstones tombstones;
    json replaced = json::array();
    if (comparison_.in_place(rows)) {
      const Manifest before = read_manifest(old_->path(), kStoreFormat);
      tombstones = tombstones_of(before);
      replaced = before.attributes.value(kReplacedAttribute, json::array());
      if (!comparison_.replaced().empty()) {
        replaced.push_back(to_json({old_->fingerprint(), old_->size(), tombstones.batches(),
                                    ranges_of(comparison_.replaced())}));
      }
    }
    writer_.close([&](Manifest& manifest) {
      describe_store(manifest, data_, metadata, tombstones, replaced);
    });
  }

 private:
  static Manifest empty_manifest(const StoreOptions& options) {
    Manifest manifest;
    manifest.format = kStoreFormat;
    manifest.shard_rows = options.shard_rows;
    manifest.columns = store_columns(options);
    return manifest;
  }

  // Takes over a full shard of the old store that begins at `row` and stays where it is.
  bool keep_shard(const StoreRun& run, std::int64_t row) {
    const EmbeddingStore& source = sources_[run.source];
    if (!comparison_.is_old(source) || source.path() != old_->path()) return false;
    const Manifest& manifest = readers_[run.source]->manifest();
    const std::int64_t size = options_.shard_rows;
    if (manifest.shard_rows != size || row != writer_.rows() || row % size != 0) return false;
    if (row + size > run.last) return false;
    writer_.keep(manifest.shards[static_cast<std::size_t>(row / size)]);
    return true;
  }

  std::int64_t copy(std::size_t source, std::int64_t first, std::int64_t rows) {
    std::vector<std::string> keys;
    for (std::int64_t i = 0; i < rows; ++i) keys.emplace_back(sources_[source].key(first + i));
    std::vector<const void*> data;
    for (const ColumnSpec& column : writer_.manifest().columns) {
      data.push_back(readers_[source]->column(column.name).row(first));
    }
    writer_.append(rows, data, keys.data());
    return rows;
  }

  void note(std::size_t source, std::int64_t first, std::int64_t rows) {
    const EmbeddingStore& store = sources_[source];
    for (std::int64_t row = first; row < first + rows; ++row) {
      const std::string_view key = store.key(row);
      if (keys_.contains(key)) check_new(key);
      keys_.insert(key);
      data_.add(key, options_.digests ? store.image_digests()[row] : 0,
                options_.digests ? store.caption_digests()[row] : 0);
      comparison_.add(store, row, places_);
      ++places_;
      noted_.push_back({source, row, row + 1});
      if (noted_.size() > 1) join_last_runs();
    }
  }

  void join_last_runs() {
    StoreRun& last = noted_.back();
    StoreRun& before = noted_[noted_.size() - 2];
    if (before.source != last.source || before.last != last.first) return;
    before.last = last.last;
    noted_.pop_back();
  }

  // A hash alone could be a coincidence.
  void check_new(std::string_view key) const {
    std::int64_t place = 0;
    for (const StoreRun& run : noted_) {
      for (std::int64_t row = run.first; row < run.last; ++row, ++place) {
        if (sources_[run.source].key(row) != key) continue;
        refuse("key \"", excerpt(key), "\" of row ", places_, " is that of row ", place,
               " already; keys must be unique");
      }
    }
  }

  const std::vector<EmbeddingStore>& sources_;
  const StoreOptions options_;
  const std::optional<EmbeddingStore> old_;
  Comparison comparison_;
  ColumnWriter writer_;
  std::vector<std::shared_ptr<const ColumnReader>> readers_;
  DataFingerprint data_;
  KeySet keys_;
  std::int64_t places_ = 0;      // rows noted
  std::vector<StoreRun> noted_;  // of them
};

}  // namespace

EmbeddingStore assemble_store(const fs::path& path, const std::vector<EmbeddingStore>& sources,
                              const std::vector<StoreRun>& runs, std::int64_t shard_rows,
                              const std::string& metadata_json,
                              const ProgressCallback& progress) try {
  check_sources(sources);
  const StoreOptions options = options_of(sources[0], shard_rows);
  check_store_options(options);
  const json metadata = parse_json_object(metadata_json, "the store's metadata");
  std::optional<EmbeddingStore> old;
  if (has_manifest(path)) old = EmbeddingStore::open(path);
  ByteProgress rows("assemble", rows_of(runs, sources), progress);
  Assembly assembly(path, sources, options, std::move(old));
  for (const StoreRun& run : runs) assembly.add(run, rows);
  assembly.finish(metadata);
  return EmbeddingStore::open(path);
} catch (...) {
  rethrow_as_error();
}

}  // namespace helip
