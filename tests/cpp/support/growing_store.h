// A store that grows, shrinks and gets other values, and what holds of a table that follows it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <catch2/catch_test_macros.hpp>

#include "helip/embedding_store_writer.h"
#include "helip/store_assembly.h"
#include "helip/update.h"
#include "io/json.h"
#include "support/mine_reference.h"
#include "support/temporary_folder.h"

namespace helip::testing {

inline constexpr std::int64_t kImage = 24;
inline constexpr std::int64_t kText = 16;

inline MatrixView part_of(const MatrixView& view, std::int64_t first, std::int64_t last) {
  MatrixView part = view;
  part.data = view.row(first);
  part.rows = last - first;
  return part;
}

// A store that grows and shrinks, and the table that follows it.
class Growing {
 public:
  Growing(const std::vector<double>& image, const std::vector<double>& text,
          DType dtype = DType::float32)
      : data_{
            Matrix(image, static_cast<std::int64_t>(image.size()) / kImage, kImage, DType::float32),
            Matrix(text, static_cast<std::int64_t>(text.size()) / kText, kText, DType::float32)},
        dtype_(dtype) {}

  std::filesystem::path path() const { return folder_ / "s"; }
  std::filesystem::path file(const std::string& name) const { return folder_ / name; }

  // Rows up to `rows` are appended, those of `deleted` deleted: one commit.
  EmbeddingStore grow(std::int64_t rows, const std::vector<std::int64_t>& deleted = {}) {
    auto writer = rows_ == 0 ? EmbeddingStoreWriter::create(path(), {kImage, kText, dtype_, 4096})
                             : EmbeddingStoreWriter::append_to(path());
    std::vector<std::string> keys;
    for (std::int64_t row = rows_; row < rows; ++row) keys.push_back("k" + std::to_string(row));
    if (!keys.empty()) {
      writer.append(keys, part_of(data_.image.view(), rows_, rows),
                    part_of(data_.text.view(), rows_, rows));
    }
    rows_ = rows;
    writer.delete_rows(deleted);
    return writer.commit();
  }

  // Gives rows, ascending, the values of others, and keeps their keys: one commit.
  EmbeddingStore replace(const std::vector<std::int64_t>& rows, const Data& values) {
    const std::filesystem::path aside = folder_ / ("fresh-" + std::to_string(++replacements_));
    const EmbeddingStore fresh = [&] {
      auto writer = EmbeddingStoreWriter::create(aside, {kImage, kText, dtype_, 4096});
      std::vector<std::string> keys;
      for (const std::int64_t row : rows) keys.push_back("k" + std::to_string(row));
      const auto count = static_cast<std::int64_t>(rows.size());
      writer.append(keys, part_of(values.image.view(), 0, count),
                    part_of(values.text.view(), 0, count));
      return writer.commit();
    }();
    std::vector<StoreRun> runs;
    std::int64_t next = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto place = static_cast<std::int64_t>(i);
      runs.push_back({0, next, rows[i]});
      runs.push_back({1, place, place + 1});
      next = rows[i] + 1;
    }
    runs.push_back({0, next, rows_});
    return assemble_store(path(), {EmbeddingStore::open(path()), fresh}, runs, 4096);
  }

 private:
  const TemporaryFolder folder_;
  Data data_;
  DType dtype_;
  std::int64_t rows_ = 0;
  int replacements_ = 0;
};

inline Json did(const HardPairs& pairs) {
  return Json::parse(pairs.origin().report_json).at("update");
}

inline void check_fresh(const HardPairs& updated, const EmbeddingStore& store,
                        const MineOptions& options) {
  const HardPairs fresh = mine(store, options);
  REQUIRE(updated.size() == store.size());
  CHECK(table_of(updated) == table_of(fresh));
  CHECK(updated.origin().fingerprint == store.fingerprint());
  CHECK(updated.origin().data_fingerprint == store.data_fingerprint());
  CHECK(Json::parse(updated.origin().options_json) == Json::parse(fresh.origin().options_json));
}

inline std::vector<double> image_values(std::int64_t rows, unsigned seed = 1) {
  return clustered_values(rows, kImage, 20, 0.7, seed);
}
inline std::vector<double> text_values(std::int64_t rows, unsigned seed = 1) {
  return clustered_values(rows, kText, 20, 0.7, seed + 1000);
}

}  // namespace helip::testing
