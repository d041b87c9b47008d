#include "table/store/tombstones.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "io/checksum.h"
#include "table/store/row_ranges.h"

namespace helip {
Tombstones::Tombstones(const Json& json, std::int64_t rows) {
  std::int64_t left = rows;  // before all is held that a few texts stand for
  for (const Json& batch : json.at("batches")) {
    const auto text = batch.get<std::string>();
    for_each_range(text, rows, [&](std::int64_t first, std::int64_t last) {
      left -= last - first + 1;
      if (left < 0) throw std::invalid_argument("a row is deleted twice");
    });
    batches_.push_back(rows_of_ranges(text, rows));
  }
  const std::vector<std::int64_t> all = this->rows();
  if (all.empty() || std::adjacent_find(all.begin(), all.end()) != all.end()) {
    throw std::invalid_argument("a row is deleted twice, or none is");
  }
  if (integer_of(json.at("count")) != static_cast<std::int64_t>(all.size()) ||
      json.at("digest").get<std::string>() != digests().back()) {
    throw std::invalid_argument("the deleted rows do not give their count and digest");
  }
}

Json Tombstones::to_json() const {
  std::int64_t count = 0;
  Json texts = Json::array();
  for (const auto& batch : batches_) {
    count += static_cast<std::int64_t>(batch.size());
    texts.push_back(ranges_of(batch));
  }
  return {{"count", count}, {"digest", digests().back()}, {"batches", texts}};
}

std::vector<std::int64_t> Tombstones::rows(std::size_t batches) const {
  std::vector<std::int64_t> all;
  for (std::size_t b = 0; b < batches; ++b) {
    all.insert(all.end(), batches_[b].begin(), batches_[b].end());
  }
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<std::string> Tombstones::digests() const {
  Digest digest;
  std::vector<std::string> all;
  for (const auto& batch : batches_) {
    digest.update_field(ranges_of(batch));
    all.push_back(digest.hex());
  }
  return all;
}

void Tombstones::add(std::vector<std::int64_t> rows) { batches_.push_back(std::move(rows)); }

}  // namespace helip
