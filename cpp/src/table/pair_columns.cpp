#include "table/pair_columns.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

namespace helip {
namespace {

using json = Json;

constexpr std::int64_t kShardRows = 262144;

// What is wrong with row i, in the order of its ranks. Without scores: of ids and counts.
std::string fault_of(const MatrixView& ids, const MatrixView* scores, const MatrixView& counts,
                     std::int64_t i, std::int64_t target, const IdRules& rules) {
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
    const float score = scores == nullptr ? 0.0F : score_at(*scores, i, r);
    if (r >= count) {
      if (id != -1 || score != 0.0F) {
        return place(r) + " lies beyond the count and must be -1 and 0";
      }
      continue;
    }
    if (id < 0 || id >= rules.rows) {
      return place(r) + " has the id " + std::to_string(id) + ", outside 0 .. " +
             std::to_string(rules.rows - 1);
    }
    if (!rules.of_queries && id == target) return place(r) + " names the target itself";
    if (!std::isfinite(score)) return place(r) + " has a score that is not finite";
  }
  return {};
}

// Whether the places of a row are as they must be; 0 <= count <= k. Without a branch, so that the
// compiler takes many at once.
template <typename Id>
bool ids_hold(const Id* ids, std::int64_t count, std::int64_t k, Id target, Id rows) noexcept {
  using Unsigned = std::make_unsigned_t<Id>;
  unsigned faults = 0;
  for (std::int64_t r = 0; r < count; ++r) {
    faults |= static_cast<unsigned>(static_cast<Unsigned>(ids[r]) >= static_cast<Unsigned>(rows)) |
              static_cast<unsigned>(ids[r] == target);
  }
  for (std::int64_t r = count; r < k; ++r) faults |= static_cast<unsigned>(ids[r] != -1);
  return faults == 0;
}

bool scores_hold(const float* scores, std::int64_t count, std::int64_t k) noexcept {
  constexpr std::uint32_t kExponent = 0x7f800000U;
  unsigned faults = 0;
  for (std::int64_t r = 0; r < count; ++r) {
    const auto bits = std::bit_cast<std::uint32_t>(scores[r]);
    faults |= static_cast<unsigned>((bits & kExponent) == kExponent);
  }
  for (std::int64_t r = count; r < k; ++r) faults |= static_cast<unsigned>(scores[r] != 0.0F);
  return faults == 0;
}

std::string first_fault(const MatrixView& ids, const MatrixView* scores, const MatrixView& counts,
                        std::int64_t begin, std::int64_t end, std::int64_t first,
                        const IdRules& rules) {
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t target = first + i;
    const std::int64_t own = rules.of_queries ? -1 : target;  // that no id may be
    const std::int64_t count = count_at(counts, i);
    bool holds = count >= 0 && count <= ids.cols;
    if (holds && ids.dtype == DType::int64) {
      holds =
          ids_hold(static_cast<const std::int64_t*>(ids.row(i)), count, ids.cols, own, rules.rows);
    } else if (holds) {
      // Rows beyond int32 are no ids of it, and no target of that number is named.
      constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
      holds = ids_hold(static_cast<const std::int32_t*>(ids.row(i)), count, ids.cols,
                       static_cast<std::int32_t>(own <= kMost ? own : -1),
                       static_cast<std::int32_t>(std::min(rules.rows, kMost)));
    }
    if (holds && scores != nullptr) {
      holds = scores_hold(static_cast<const float*>(scores->row(i)), count, ids.cols);
    }
    if (holds) continue;
    const std::string fault = fault_of(ids, scores, counts, i, target, rules);
    if (!fault.empty()) return fault;
  }
  return {};
}

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
          {"data_fingerprint", origin.data_fingerprint},
          {"options", parse_json_object(origin.options_json, "the mining options")},
          {"report", parse_json_object(origin.report_json, "the mining report")}};
}

HardPairs::Origin origin_of(const json& attributes) {
  return {attributes.at("fingerprint").get<std::string>(),
          attributes.at("data_fingerprint").get<std::string>(), attributes.at("options").dump(),
          attributes.at("report").dump()};
}

std::string fault_of_rows(const MatrixView& ids, const MatrixView& scores, const MatrixView& counts,
                          std::int64_t begin, std::int64_t end, std::int64_t first,
                          const IdRules& rules) {
  return first_fault(ids, &scores, counts, begin, end, first, rules);
}

std::string fault_of_ids(const MatrixView& ids, const MatrixView& counts, std::int64_t begin,
                         std::int64_t end, std::int64_t first, const IdRules& rules) {
  return first_fault(ids, nullptr, counts, begin, end, first, rules);
}

}  // namespace helip
