#include "table/tombstones.h"

#include <algorithm>
#include <charconv>
#include <stdexcept>
#include <utility>

#include "io/checksum.h"

namespace helip {
namespace {

std::string text_of(const std::vector<std::int64_t>& rows) {
  std::string text;
  for (std::size_t i = 0; i < rows.size();) {
    std::size_t last = i;
    while (last + 1 < rows.size() && rows[last + 1] == rows[last] + 1) ++last;
    if (!text.empty()) text += ',';
    text += std::to_string(rows[i]);
    if (last > i) text += '-' + std::to_string(rows[last]);
    i = last + 1;
  }
  return text;
}

// Ascending rows below `limit`, at least one.
std::vector<std::int64_t> rows_of(const std::string& text, std::int64_t limit) {
  std::vector<std::int64_t> rows;
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto number = [&] {
    std::int64_t value = -1;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc() || value < 0 || value >= limit) {
      throw std::invalid_argument("a deleted row is no row of the store");
    }
    at = next;
    return value;
  };
  for (;;) {
    const std::int64_t first = number();
    std::int64_t last = first;
    if (at != end && *at == '-') {
      ++at;
      last = number();
    }
    if (last < first || (!rows.empty() && first <= rows.back())) {
      throw std::invalid_argument("the deleted rows of a batch are not in order");
    }
    for (std::int64_t row = first; row <= last; ++row) rows.push_back(row);
    if (at == end) return rows;
    if (*at++ != ',') throw std::invalid_argument("the deleted rows of a batch are garbled");
  }
}

}  // namespace

Tombstones::Tombstones(const nlohmann::json& json, std::int64_t rows) {
  for (const nlohmann::json& batch : json.at("batches")) {
    batches_.push_back(rows_of(batch.get<std::string>(), rows));
  }
  const std::vector<std::int64_t> all = this->rows();
  if (all.empty() || std::adjacent_find(all.begin(), all.end()) != all.end()) {
    throw std::invalid_argument("a row is deleted twice, or none is");
  }
  if (json.at("count").get<std::int64_t>() != static_cast<std::int64_t>(all.size()) ||
      json.at("digest").get<std::string>() != digests().back()) {
    throw std::invalid_argument("the deleted rows do not give their count and digest");
  }
}

nlohmann::json Tombstones::to_json() const {
  std::int64_t count = 0;
  nlohmann::json texts = nlohmann::json::array();
  for (const auto& batch : batches_) {
    count += static_cast<std::int64_t>(batch.size());
    texts.push_back(text_of(batch));
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
    digest.update_field(text_of(batch));
    all.push_back(digest.hex());
  }
  return all;
}

void Tombstones::add(std::vector<std::int64_t> rows) { batches_.push_back(std::move(rows)); }

}  // namespace helip
