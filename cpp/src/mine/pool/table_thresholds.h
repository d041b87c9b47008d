// Thresholds of rows whose pools begin anew, before they are compared with any other. The table so
// far tells which old rows lie close together: from a few that lie close to a row, its pools lead
// to more.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/aligned.h"
#include "base/team.h"
#include "helip/hard_pairs.h"
#include "mine/bound/codes.h"
#include "mine/bound/row_order.h"
#include "mine/bound/sweep.h"
#include "mine/corpus/corpus.h"

namespace helip::mining {

class TableThresholds {
 public:
  // `before` is the table so far; its scores of rows that are marked in `outdated` [corpus.size()]
  // are void.
  TableThresholds(const Corpus& corpus, const Codes& codes, const RowOrder& order,
                  const HardPairs& before, const std::vector<std::uint8_t>& outdated);

  // Raises the threshold of target t of the sink, row rows[t], to what as many rows as a pool holds
  // score at least.
  void raise(const std::vector<std::uint32_t>& rows, SweepSink& sink, Team& team) const;

 private:
  class Search;

  const Corpus& corpus_;
  const Codes& codes_;
  const HardPairs& before_;
  const std::vector<std::uint8_t>& outdated_;
  std::vector<std::uint32_t> place_;   // of each row's codes; zero and deleted ones have none
  std::vector<std::uint32_t> sample_;  // old rows, where the way to those close to a new one begins
  AlignedArray<std::int8_t> sample_codes_;  // of the first filter, close together
};

}  // namespace helip::mining
