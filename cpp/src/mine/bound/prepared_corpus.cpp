#include "mine/bound/prepared_corpus.h"

#include <utility>

namespace helip::mining {

bool filters_pay(const Corpus& corpus, std::int64_t targets) noexcept {
  return corpus.size() >= kLeastRowsToFilter && targets >= kLeastTargetsToFilter &&
         corpus.dimensions() <= kMostDimensionsToFilter;
}

CodePlacement place_codes(const Corpus& corpus, const FilterPlan& plan, std::int64_t other_bytes,
                          std::int64_t memory) noexcept {
  CodePlacement placement{};
  placement.code_bytes = corpus.size() * Codes::bytes_per_row(corpus, plan);
  placement.on_disk =
      placement.code_bytes > memory / 2 && placement.code_bytes + other_bytes > memory;
  placement.left = placement.on_disk ? memory : memory - placement.code_bytes;
  return placement;
}

PreparedCorpus::PreparedCorpus(const Corpus& corpus, FilterPlan plan, RowOrder order,
                               std::int64_t other_bytes, std::int64_t memory,
                               const std::filesystem::path& scratch, Team& team, KeptCodes* kept)
    : corpus_(corpus),
      plan_(std::move(plan)),
      order_(std::move(order)),
      placement_(place_codes(corpus, plan_, other_bytes, memory)),
      scratch_(placement_.on_disk ? scratch : std::filesystem::path()),
      team_(team),
      kept_(kept) {}

const Sweep& PreparedCorpus::sweep() {
  if (!sweep_) {
    codes_ = std::make_unique<Codes>(corpus_, plan_, order_, scratch_, team_, kept_);
    sweep_.emplace(corpus_, plan_, *codes_, order_);
    memory_left_ = placement_.left - team_.size() * Sweep::bytes_per_thread(*codes_);
  }
  return *sweep_;
}

const Codes& PreparedCorpus::codes() {
  sweep();
  return *codes_;
}

std::int64_t PreparedCorpus::memory_left() {
  sweep();
  return memory_left_;
}

void PreparedCorpus::drop_codes() noexcept {
  sweep_.reset();
  codes_.reset();
}

std::vector<std::uint32_t> PreparedCorpus::places_of(const std::vector<std::uint32_t>& rows) const {
  std::vector<std::uint32_t> places;
  std::vector<bool> wanted;
  for (const std::uint32_t row : rows) {
    if (row >= wanted.size()) wanted.resize(row + std::size_t{1});
    wanted[row] = true;
  }
  for (std::size_t place = 0; place < order_.rows.size(); ++place) {
    const std::uint32_t row = order_.rows[place];
    if (row < wanted.size() && wanted[row]) places.push_back(static_cast<std::uint32_t>(place));
  }
  return places;
}

}  // namespace helip::mining
