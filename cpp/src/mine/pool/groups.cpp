#include "mine/pool/groups.h"

#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>

#include "mine/bound/prepared_corpus.h"

namespace helip::mining {
namespace {

// Joins the groups of rows whose similarities exceed the thresholds (union-find with path halving;
// the root is the least row, so that the result does not depend on the order).
class DuplicateForest final : public SweepSink {
 public:
  DuplicateForest(std::int64_t rows, std::vector<double> maxima, double threshold)
      : maxima_(std::move(maxima)), parent_(static_cast<std::size_t>(rows)) {
    std::iota(parent_.begin(), parent_.end(), 0U);
    threshold_ = std::nextafter(static_cast<float>(threshold), -1.0F);
  }

  float threshold(std::int64_t) const noexcept override { return threshold_; }

  void score_pair(std::int64_t target, std::int64_t row, std::int64_t, Scorer& scorer) override {
    join_if_alike(rows_[static_cast<std::size_t>(target)], static_cast<std::uint32_t>(row), scorer);
  }

  void join_if_alike(std::uint32_t a, std::uint32_t b, Scorer& scorer) {
    {
      const std::lock_guard lock(mutex_);
      if (root(a) == root(b)) return;  // as good as scored
    }
    const ChannelSimilarities found = scorer.similarities(a, b);
    for (std::size_t c = 0; c < maxima_.size(); ++c) {
      if (found[c] <= maxima_[c]) return;
    }
    const std::lock_guard lock(mutex_);
    const std::uint32_t left = root(a);
    const std::uint32_t right = root(b);
    parent_[std::max(left, right)] = std::min(left, right);
  }

  void set_rows(std::vector<std::uint32_t> rows) { rows_ = std::move(rows); }

  std::vector<std::uint32_t> groups() {
    std::vector<std::uint32_t> roots(parent_.size());
    for (std::uint32_t row = 0; row < roots.size(); ++row) roots[row] = root(row);
    return roots;
  }

 private:
  std::uint32_t root(std::uint32_t row) {
    while (parent_[row] != row) {
      parent_[row] = parent_[parent_[row]];
      row = parent_[row];
    }
    return row;
  }

  const std::vector<double> maxima_;  // of each channel
  float threshold_;
  std::vector<std::uint32_t> rows_;  // of the targets
  std::mutex mutex_;
  std::vector<std::uint32_t> parent_;
};

}  // namespace

std::vector<std::uint32_t> duplicate_groups(const MatrixView& image, const MatrixView& text,
                                            const MineOptions& options, std::int64_t memory,
                                            const std::filesystem::path& scratch, Team& team) {
  Rules rules;
  rules.use_image = options.collapse != Collapse::text;
  rules.use_text = options.collapse != Collapse::image;
  Corpus corpus(image, text, rules, select_kernel());
  corpus.measure(team);
  std::vector<double> maxima;
  if (rules.use_image) maxima.push_back(options.image_max);
  if (rules.use_text) maxima.push_back(options.text_max);
  double threshold = 1.0;
  for (const double maximum : maxima) threshold *= maximum;
  const std::int64_t rows = corpus.size();
  DuplicateForest forest(rows, std::move(maxima), threshold);
  team.begin_stage("collapse", rows, rows * (rows + 1) / 2);
  if (!filters_pay(corpus, rows)) {
    team.for_blocks(rows, 8, [&](std::int64_t begin, std::int64_t end, int) {
      Scorer scorer(corpus);
      for (std::int64_t a = begin; a < end && !team.stopped(); ++a) {
        for (std::int64_t b = a + 1; b < rows; ++b) {
          forest.join_if_alike(static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(b),
                               scorer);
        }
      }
    });
  } else {
    const auto other_bytes = rows * static_cast<std::int64_t>(sizeof(std::uint32_t));
    FilterPlan plan = choose_filters(corpus, 1, team);
    RowOrder order = order_rows(corpus, plan, team);
    PreparedCorpus prepared(corpus, std::move(plan), std::move(order), other_bytes, memory, scratch,
                            team);
    team.begin_stage("collapse", rows, rows * (rows + 1) / 2);
    SweepJob job;
    job.mutual = true;
    job.targets.resize(prepared.order().rows.size());
    std::iota(job.targets.begin(), job.targets.end(), 0U);
    forest.set_rows(prepared.order().rows);
    prepared.sweep().run(job, forest, team);
  }
  team.end_stage();
  return forest.groups();
}

}  // namespace helip::mining
