// The best pairs of a few rows among many that no codes were made of.
//
// Rows are multiplied in float32, block by block. With e the bound on the error of a cosine
// (product_error() and the rounding of unit vectors) the computed cosines ŝ give
//     score <= upper = max(0, ŝᴵ + eᴵ) · max(0, ŝᵀ + eᵀ) <= score + 2eᴵ + 2eᵀ + 4eᴵeᵀ,
// since cosines are at most 1. So upper less that width is a lower bound; once k candidates that no
// filter keeps out have lower bounds of at least f, those with upper < f are out. What is left, a
// little more than k, is scored in float64.
//
// A block of rows is multiplied in one modality first. Since the other cosine is at most 1,
//     score <= max(0, ŝ + e)       (|ŝ| + e for signed products)
// of that one alone; where few pairs of the block reach f by this, only their other cosines are
// computed, one by one. Which modality goes first is the one that promises less work.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/team.h"
#include "helip/hard_pairs.h"
#include "mine/corpus/corpus.h"
#include "mine/kernel/kernel.h"
#include "mine/stream/row_memory.h"

namespace helip::mining {

struct StreamDimensions {
  std::int64_t image, text;
};

// A pair by the definition, if the rules let it into a pool of `target`.
std::optional<Scored> scored_pair(const StreamRow& target, const StreamRow& row,
                                  const StreamDimensions& dimensions, const Rules& rules,
                                  const Kernel& kernel);
// As a row of the band.
void write_pool(const std::vector<Scored>& pool, std::int64_t target, HardPairBand& band);

// Pools of rows[0 .. targets) among all `rows`, which have ids of their own each: row i of the band
// is the pool of rows[i]. The same for any team.
HardPairBand search_stream(std::span<const StreamRow> rows, std::int64_t targets, std::int64_t k,
                           const StreamDimensions& dimensions, const Rules& rules,
                           const Kernel& kernel, Team& team);

}  // namespace helip::mining
