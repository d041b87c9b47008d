#include "mine/method/recall.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "mine/corpus/draw.h"
#include "mine/method/engine.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kSampleTargets = 1000;
constexpr std::uint64_t kStream = 0x7265'6361'6c6cULL;  // apart from the draws of method sample

void set_wilson_interval(RecallEstimate& recall) {
  if (recall.targets == 0) return;
  constexpr double z = 1.959963984540054;
  const auto n = static_cast<double>(recall.targets);
  const double p = recall.estimate;
  const double spread = 1.0 + z * z / n;
  const double middle = (p + z * z / (2.0 * n)) / spread;
  const double half = z / spread * std::sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n));
  recall.low = std::max(0.0, middle - half);
  recall.high = std::min(1.0, middle + half);
}

}  // namespace

RecallSample::RecallSample(const Context& context) {
  draw(context, 0, context.corpus.size());
  const SavedState* saved = context.saved();
  if (saved == nullptr) {
    solve(context);
    return;
  }
  const auto count = static_cast<std::int64_t>(targets_.size());
  exact_ = make_band(0, count, context.options.k);
  saved->read("sample.scores", exact_.scores.data(), count * exact_.k);
  saved->read("sample.counts", exact_.counts.data(), count);
  for (const std::int32_t wanted : exact_.counts) {
    saved->require(wanted >= 0 && wanted <= exact_.k, "a pool of the sample is none");
  }
}

RecallSample::RecallSample(const Context& context, std::int64_t first, std::int64_t last) {
  draw(context, first, last);
  solve(context);
}

void RecallSample::draw(const Context& context, std::int64_t first, std::int64_t last) {
  const std::int64_t rows = context.corpus.size();
  const auto drawn = draw_rows(rows, std::min(rows, kSampleTargets), context.options.seed, kStream);
  std::copy_if(drawn.begin(), drawn.end(), std::back_inserter(targets_),
               [&](std::int64_t row) { return row >= first && row < last; });
}

void RecallSample::solve(const Context& context) {
  const auto count = static_cast<std::int64_t>(targets_.size());
  if (filters_pay(context.corpus, count)) context.filters().sweep();  // a stage of its own
  context.team.begin_stage("measure", count, count * context.corpus.size());
  exact_ = exact_pools(context, targets_);
  context.team.end_stage();
}

void RecallSample::save(CheckpointState& state) const {
  state.show("sample.scores", exact_.scores.data(),
             static_cast<std::int64_t>(exact_.scores.size()));
  state.show("sample.counts", exact_.counts.data(),
             static_cast<std::int64_t>(exact_.counts.size()));
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

RecallEstimate estimate_recall(const std::vector<RecallHits>& found) {
  RecallEstimate recall;
  double sum = 0.0;
  for (const RecallHits& target : found) {
    sum += static_cast<double>(target.hits) / static_cast<double>(target.wanted);
    ++recall.targets;
  }
  if (recall.targets > 0) recall.estimate = sum / static_cast<double>(recall.targets);
  set_wilson_interval(recall);
  return recall;
}

double most_recall_shown(std::int64_t rows) {
  const auto targets = static_cast<std::size_t>(std::min(rows, kSampleTargets));
  return estimate_recall(std::vector<RecallHits>(targets, {1, 1})).low;
}

nlohmann::ordered_json recall_json(const RecallEstimate& recall) {
  return {{"value", recall.estimate},
          {"low", recall.low},
          {"high", recall.high},
          {"targets", recall.targets},
          {"confidence", 0.95}};
}

RecallEstimate recall_of_json(const nlohmann::json& json) {
  return {json.at("targets").get<std::int64_t>(), json.at("value").get<double>(),
          json.at("low").get<double>(), json.at("high").get<double>()};
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
