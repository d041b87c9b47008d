#include "mine/method/recall_sample.h"

#include <algorithm>
#include <iterator>

#include "mine/corpus/corpus.h"
#include "mine/method/method.h"
#include "mine/pool/bands.h"

namespace helip::mining {
namespace {

constexpr std::uint64_t kStream = 0x7265'6361'6c6cULL;  // apart from the draws of method sample

}  // namespace

RecallSample::RecallSample(MethodContext& context) {
  draw(context, 0, context.corpus.targets());
  const SavedMethodState* saved = context.saved();
  if (saved == nullptr) {
    solve(context);
    return;
  }
  const auto count = static_cast<std::int64_t>(targets_.size());
  exact_ = make_band(0, count, context.options.k);
  saved->read_sample(exact_);
}

RecallSample::RecallSample(MethodContext& context, std::int64_t first, std::int64_t last) {
  draw(context, first, last);
  solve(context);
}

void RecallSample::draw(const MethodContext& context, std::int64_t first, std::int64_t last) {
  const std::int64_t rows = context.corpus.targets();
  const auto drawn = draw_rows(rows, std::min(rows, kRecallTargets), context.options.seed, kStream);
  std::copy_if(drawn.begin(), drawn.end(), std::back_inserter(targets_),
               [&](std::int64_t row) { return row >= first && row < last; });
}

void RecallSample::solve(MethodContext& context) {
  const auto count = static_cast<std::int64_t>(targets_.size());
  if (filters_pay(context.corpus, count)) context.prepared().sweep();  // a stage of its own
  context.team.begin_stage("measure", count, count * context.corpus.candidate_rows());
  exact_ = exact_pools(context, targets_);
  context.team.end_stage();
}

std::vector<RecallHits> RecallSample::hits(const HardPairBand& found) const {
  std::vector<RecallHits> all;
  for (std::size_t i = 0; i < targets_.size(); ++i) {
    const std::int32_t wanted = exact_.counts[i];
    if (wanted == 0) continue;
    const auto row = static_cast<std::int64_t>(i) * exact_.k;
    const float last = exact_.scores[static_cast<std::size_t>(row + wanted - 1)];
    const float* scores = found.scores.data() + row;
    const auto hits = std::count_if(scores, scores + found.counts[i],
                                    [last](float score) { return score >= last; });
    all.push_back({std::min<std::int64_t>(hits, wanted), wanted});
  }
  return all;
}

RecallSink::RecallSink(const RecallSample& sample, HardPairSink& next)
    : sample_(sample), next_(next) {}

void RecallSink::write(const HardPairBand& band) {
  const auto& targets = sample_.targets();
  if (found_.k == 0) found_ = make_band(0, static_cast<std::int64_t>(targets.size()), band.k);
  const auto end = band.first + static_cast<std::int64_t>(band.counts.size());
  for (; seen_ < targets.size() && targets[seen_] < end; ++seen_) {
    const std::int64_t row = targets[seen_] - band.first;
    const auto to = static_cast<std::int64_t>(seen_) * band.k;
    std::copy_n(band.ids.begin() + row * band.k, band.k, found_.ids.begin() + to);
    std::copy_n(band.scores.begin() + row * band.k, band.k, found_.scores.begin() + to);
    found_.counts[seen_] = band.counts[static_cast<std::size_t>(row)];
  }
  next_.write(band);
}

}  // namespace helip::mining
