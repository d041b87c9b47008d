// The columns of hard pairs: on disk, and the rules of a row.
#pragma once

#include <cstdint>
#include <string>

#include "helip/hard_pairs.h"
#include "io/column_reader.h"
#include "io/json.h"
#include "io/manifest.h"

namespace helip {

inline constexpr const char* kIdsColumn = "ids";
inline constexpr const char* kScoresColumn = "scores";
inline constexpr const char* kCountsColumn = "counts";

// Of ids that are rows of a data set of this size.
DType id_dtype(std::int64_t rows);
std::int64_t id_at(const MatrixView& ids, std::int64_t i, std::int64_t r);
float score_at(const MatrixView& scores, std::int64_t i, std::int64_t r);
std::int32_t count_at(const MatrixView& counts, std::int64_t i);

// An empty manifest for pairs whose ids number so many rows.
Manifest pair_manifest(const char* format, std::int64_t rows, std::int64_t k);

// Throws invalid_argument where options or report are no JSON objects.
[[nodiscard]] Json attributes_of(const HardPairs::Origin& origin);
// Throws Json::exception where an attribute is absent.
HardPairs::Origin origin_of(const Json& attributes);

// What ids must be: 0 .. rows - 1, and none its own target unless they number other rows.
struct IdRules {
  std::int64_t rows = 0;
  bool of_queries = false;
};

// The first rule that one of the rows [begin, end) breaks, or an empty string. Row i is target
// first + i.
std::string fault_of_rows(const MatrixView& ids, const MatrixView& scores, const MatrixView& counts,
                          std::int64_t begin, std::int64_t end, std::int64_t first,
                          const IdRules& rules);
// The same of ids and counts alone: what whoever uses an id as a row number relies on.
std::string fault_of_ids(const MatrixView& ids, const MatrixView& counts, std::int64_t begin,
                         std::int64_t end, std::int64_t first, const IdRules& rules);

}  // namespace helip
