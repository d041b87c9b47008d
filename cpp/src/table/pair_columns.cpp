#include "table/pair_columns.h"

#include <cmath>
#include <limits>

namespace helip {
namespace {

using nlohmann::json;

constexpr std::int64_t kShardRows = 262144;

}  // namespace

DType id_dtype(std::int64_t rows) {
  return rows <= std::numeric_limits<std::int32_t>::max() ? DType::int32 : DType::int64;
}

std::int64_t id_at(const MatrixView& ids, std::int64_t i, std::int64_t r) {
  return ids.dtype == DType::int64 ? static_cast<const std::int64_t*>(ids.row(i))[r]
                                   : static_cast<const std::int32_t*>(ids.row(i))[r];
}

float score_at(const MatrixView& scores, std::int64_t i, std::int64_t r) {
  return static_cast<const float*>(scores.row(i))[r];
}

std::int32_t count_at(const MatrixView& counts, std::int64_t i) {
  return *static_cast<const std::int32_t*>(counts.row(i));
}

Manifest pair_manifest(const char* format, std::int64_t rows, std::int64_t k) {
  Manifest manifest;
  manifest.format = format;
  manifest.shard_rows = kShardRows;
  manifest.columns = {{kIdsColumn, id_dtype(rows), k},
                      {kScoresColumn, DType::float32, k},
                      {kCountsColumn, DType::int32}};
  return manifest;
}

json attributes_of(const HardPairs::Origin& origin) {
  return {{"fingerprint", origin.fingerprint},
          {"keys_fingerprint", origin.keys_fingerprint},
          {"options", parse_json_object(origin.options_json, "the mining options")},
          {"report", parse_json_object(origin.report_json, "the mining report")}};
}

HardPairs::Origin origin_of(const json& attributes) {
  return {attributes.at("fingerprint").get<std::string>(),
          attributes.at("keys_fingerprint").get<std::string>(), attributes.at("options").dump(),
          attributes.at("report").dump()};
}

std::string fault_of(const MatrixView& ids, const MatrixView& scores, const MatrixView& counts,
                     std::int64_t i, std::int64_t first, std::int64_t rows) {
  const std::int64_t target = first + i;
  const std::int32_t count = count_at(counts, i);
  const auto place = [target](std::int64_t r) {
    return "target " + std::to_string(target) + ", rank " + std::to_string(r);
  };
  if (count < 0 || count > ids.cols) {
    return "target " + std::to_string(target) + " has the count " + std::to_string(count) +
           ", outside 0 .. " + std::to_string(ids.cols);
  }
  for (std::int64_t r = 0; r < ids.cols; ++r) {
    const std::int64_t id = id_at(ids, i, r);
    const float score = score_at(scores, i, r);
    if (r >= count) {
      if (id != -1 || score != 0.0F) {
        return place(r) + " lies beyond the count and must be -1 and 0";
      }
      continue;
    }
    if (id < 0 || id >= rows) {
      return place(r) + " has the id " + std::to_string(id) + ", outside 0 .. " +
             std::to_string(rows - 1);
    }
    if (id == target) return place(r) + " names the target itself";
    if (!std::isfinite(score)) return place(r) + " has a score that is not finite";
  }
  return {};
}

}  // namespace helip
