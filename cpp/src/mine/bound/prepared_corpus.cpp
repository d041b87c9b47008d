#include "mine/bound/prepared_corpus.h"

#include <numeric>
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

PairSearch::PairSearch(const Corpus& corpus, PreparedCorpus* prepared, std::int64_t memory,
                       Team& team)
    : corpus_(corpus), prepared_(prepared), memory_(memory), team_(team) {
  if (prepared != nullptr) return;
  all_.resize(static_cast<std::size_t>(corpus.size()));
  std::iota(all_.begin(), all_.end(), 0U);
}

std::vector<std::uint32_t> PairSearch::places_of(const std::vector<std::uint32_t>& rows) const {
  std::vector<bool> wanted(static_cast<std::size_t>(corpus_.size()));
  for (const std::uint32_t row : rows) wanted[row] = true;
  std::vector<std::uint32_t> places;
  for (std::uint32_t place = 0; place < this->rows().size(); ++place) {
    if (wanted[this->rows()[place]]) places.push_back(place);
  }
  return places;
}

void PairSearch::seed(const SweepJob& job, std::int64_t kept, SweepSink& sink) const {
  if (prepared_ != nullptr) prepared_->sweep().seed(job, kept, sink, team_);
}

void PairSearch::run(const SweepJob& job, SweepSink& sink) const {
  if (prepared_ != nullptr) {
    prepared_->sweep().run(job, sink, team_);
  } else {
    score_all(corpus_, all_, job, sink, team_);
  }
}

}  // namespace helip::mining
