// A corpus made ready for sweeps: its filters, the order of its rows, and their codes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "base/team.h"
#include "mine/bound/codes.h"
#include "mine/bound/filter_plan.h"
#include "mine/bound/row_order.h"
#include "mine/bound/sweep.h"
#include "mine/corpus/corpus.h"

namespace helip::mining {

// Below this number of rows every pair is scored; so is it for few targets.
inline constexpr std::int64_t kLeastRowsToFilter = 256;
inline constexpr std::int64_t kLeastTargetsToFilter = 64;
// Above, products of codes could leave 32 bits.
inline constexpr std::int64_t kMostDimensionsToFilter = 65536;
bool filters_pay(const Corpus& corpus, std::int64_t targets) noexcept;

// Where the codes of all rows go, and what is then left of the memory.
struct CodePlacement {
  bool on_disk;
  std::int64_t code_bytes;
  std::int64_t left;
};
// They stay in memory where they take half of it at most, or leave room for `other_bytes`.
CodePlacement place_codes(const Corpus& corpus, const FilterPlan& plan, std::int64_t other_bytes,
                          std::int64_t memory) noexcept;

// One thread at a time, but for what it gives as const. Codes are made when the first sweep is
// asked for, in stage "encode".
class PreparedCorpus {
 public:
  // `other_bytes`, `memory`: see place_codes(). `scratch`: folder for codes that go to disk.
  // `kept`: see Codes.
  PreparedCorpus(const Corpus& corpus, FilterPlan plan, RowOrder order, std::int64_t other_bytes,
                 std::int64_t memory, const std::filesystem::path& scratch, Team& team,
                 KeptCodes* kept = nullptr);
  PreparedCorpus(const PreparedCorpus&) = delete;
  PreparedCorpus& operator=(const PreparedCorpus&) = delete;

  const FilterPlan& plan() const noexcept { return plan_; }
  const RowOrder& order() const noexcept { return order_; }
  const Sweep& sweep();
  const Codes& codes();
  // Places of the codes of these rows, ascending; zero rows have none.
  std::vector<std::uint32_t> places_of(const std::vector<std::uint32_t>& rows) const;
  // Besides the codes and what a sweep takes.
  std::int64_t memory_left();
  // After the last sweep: what is written then needs the memory.
  void drop_codes() noexcept;

 private:
  const Corpus& corpus_;
  const FilterPlan plan_;
  const RowOrder order_;
  const CodePlacement placement_;
  const std::filesystem::path scratch_;
  Team& team_;
  KeptCodes* const kept_;
  std::unique_ptr<Codes> codes_;
  std::optional<Sweep> sweep_;
  std::int64_t memory_left_ = 0;
};

}  // namespace helip::mining
