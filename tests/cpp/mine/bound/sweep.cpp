// A sweep passes on every pair that matters, once.
#include "mine/bound/sweep.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <utility>
#include <vector>

#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Remembers the pairs that it got; its thresholds stay as they are.
class Recorder final : public SweepSink {
 public:
  Recorder(std::vector<std::uint32_t> rows, std::vector<float> thresholds)
      : rows_(std::move(rows)),
        thresholds_(std::move(thresholds)),
        raised_(thresholds_.size(), -1.0F) {}

  float threshold(std::int64_t target) const noexcept override {
    return thresholds_[static_cast<std::size_t>(target)];
  }
  bool takes_thresholds() const noexcept override { return true; }
  void raise_threshold(std::int64_t target, float threshold) noexcept override {
    const std::lock_guard lock(mutex_);
    float& own = raised_[static_cast<std::size_t>(target)];
    own = std::max(own, threshold);
  }
  void score_pair(std::int64_t target, std::int64_t row, std::int64_t mirror, Scorer&) override {
    const std::lock_guard lock(mutex_);
    const auto own = rows_[static_cast<std::size_t>(target)];
    if (mirror >= 0 && rows_[static_cast<std::size_t>(mirror)] != row) ++wrong_mirrors_;
    ++scored_[{own, static_cast<std::uint32_t>(row)}];
    if (mirror >= 0) ++scored_[{static_cast<std::uint32_t>(row), own}];
  }

  const std::vector<std::uint32_t>& rows() const { return rows_; }
  std::int64_t scored(std::uint32_t target, std::uint32_t row) const {
    const auto found = scored_.find({target, row});
    return found == scored_.end() ? 0 : found->second;
  }
  std::int64_t scored_pairs() const { return static_cast<std::int64_t>(scored_.size()); }
  std::int64_t wrong_mirrors() const { return wrong_mirrors_; }
  float raised(std::int64_t target) const { return raised_[static_cast<std::size_t>(target)]; }

 private:
  const std::vector<std::uint32_t> rows_;  // of the targets
  const std::vector<float> thresholds_;
  std::mutex mutex_;
  std::vector<float> raised_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::int64_t> scored_;
  std::int64_t wrong_mirrors_ = 0;
};

// Everything that a sweep needs. Scores of all pairs are kept.
class Bench {
 public:
  Bench(const Data& data, const MineOptions& options, const Kernel& kernel, Team& team,
        FilterPlan* own_plan = nullptr)
      : plain_(data, options),
        corpus_(data.image.view(), data.text.view(), rules_of(options), kernel) {
    corpus_.measure(team);
    plan_ = own_plan != nullptr ? *own_plan : choose_filters(corpus_, 10, team);
    order_ = order_rows(corpus_, plan_, team);
    codes_ = std::make_unique<Codes>(corpus_, plan_, order_, std::filesystem::path(), team);
    sweep_ = std::make_unique<Sweep>(corpus_, plan_, *codes_, order_);
  }

  const RowOrder& order() const { return order_; }
  const PlainMiner& plain() const { return plain_; }
  const Sweep& sweep() const { return *sweep_; }
  const FilterPlan& plan() const { return plan_; }
  std::vector<std::uint32_t> rows_at(const std::vector<std::uint32_t>& places) const {
    std::vector<std::uint32_t> rows;
    for (const std::uint32_t place : places) rows.push_back(order_.rows[place]);
    return rows;
  }

 private:
  static Rules rules_of(const MineOptions& options) {
    Rules rules;
    rules.use_image = options.modality != Modality::text;
    rules.use_text = options.modality != Modality::image;
    rules.signed_products = options.signed_products;
    rules.image_max = options.image_max;
    rules.text_max = options.text_max;
    return rules;
  }

  PlainMiner plain_;
  Corpus corpus_;
  FilterPlan plan_;
  RowOrder order_;
  std::unique_ptr<Codes> codes_;
  std::unique_ptr<Sweep> sweep_;
};

// Needs that are the exact score of some pair of the target, rounded down as pools round: from the
// very best to among the worst, now and then none at all.
std::vector<float> exact_needs(const Bench& bench, const std::vector<std::uint32_t>& rows,
                               std::mt19937& random, double best) {
  std::vector<float> thresholds;
  for (const std::uint32_t row : rows) {
    const auto kind = random() % 20;
    if (kind == 0) {
      thresholds.push_back(kInfinity);
      continue;
    }
    // The best of a few random pairs.
    double score = 0.0;
    const int draws = 1 + static_cast<int>(best * static_cast<double>(random() % 100));
    for (int i = 0; i < draws; ++i) {
      const std::uint32_t other = bench.order().rows[random() % bench.order().rows.size()];
      if (other != row) score = std::max(score, bench.plain().score(row, other));
    }
    auto threshold = static_cast<float>(score);
    if (threshold > score) threshold = std::nextafter(threshold, -1.0F);
    thresholds.push_back(threshold);
  }
  return thresholds;
}

// Each pair that reaches the threshold of a target was scored from both sides where both are
// targets.
void check_scored(const Bench& bench, const SweepJob& job, const Recorder& sink) {
  REQUIRE(sink.wrong_mirrors() == 0);
  std::map<std::uint32_t, float> threshold;  // by row
  for (std::size_t t = 0; t < job.targets.size(); ++t) {
    threshold[sink.rows()[t]] = sink.threshold(static_cast<std::int64_t>(t));
  }
  std::int64_t missing = 0, twice = 0;
  std::pair<std::uint32_t, std::uint32_t> example{0, 0};
  const auto check = [&](std::uint32_t row, std::uint32_t other, float least) {
    const std::int64_t times = sink.scored(row, other);
    twice += times > 1 ? 1 : 0;
    if (times > 0) return;
    const double score = bench.plain().score(row, other);
    if (score <= 0.0 || score < static_cast<double>(least)) return;
    if (++missing == 1) example = {row, other};
  };
  const std::vector<std::uint32_t> others = bench.rows_at(job.others);
  for (const auto& [row, least] : threshold) {
    REQUIRE(sink.scored(row, row) == 0);
    if (job.mutual) {
      for (const auto& [other, its] : threshold) {
        if (other != row) check(row, other, std::min(least, its));
      }
    }
    for (const std::uint32_t other : others) {
      if (other != row) check(row, other, least);
    }
  }
  INFO("rows " << example.first << " and " << example.second);
  REQUIRE(missing == 0);
  REQUIRE(twice == 0);
}

enum class Kind { mutual, mutual_and_others, targets_against_all, few_targets };

SweepJob make_job(const Bench& bench, Kind kind, std::mt19937& random) {
  SweepJob job;
  job.mutual = kind == Kind::mutual || kind == Kind::mutual_and_others;
  for (std::uint32_t place = 0; place < bench.order().rows.size(); ++place) {
    bool target = true;
    if (kind == Kind::mutual_and_others) target = random() % 5 < 3;
    if (kind == Kind::targets_against_all) target = random() % 2 == 0;
    if (kind == Kind::few_targets) target = random() % 50 == 0;
    if (target) job.targets.push_back(place);
    if (!target || !job.mutual) job.others.push_back(place);
  }
  return job;
}

void check_sweeps(const Bench& bench, Team& team, double best, unsigned seed) {
  std::mt19937 random(seed);
  for (const Kind kind :
       {Kind::mutual, Kind::mutual_and_others, Kind::targets_against_all, Kind::few_targets}) {
    INFO("kind of job " << static_cast<int>(kind));
    const SweepJob job = make_job(bench, kind, random);
    const auto rows = bench.rows_at(job.targets);
    Recorder sink(rows, exact_needs(bench, rows, random, best));
    const SweepCounts counts = bench.sweep().run(job, sink, team);
    check_scored(bench, job, sink);
    REQUIRE(counts.pairs <= Sweep::work(job));
    REQUIRE(counts.first <= counts.pairs);
    REQUIRE(counts.scored <= counts.first);
  }
}

Data kind_of_data(const std::string& name, std::int64_t rows, std::int64_t image_dim,
                  std::int64_t text_dim) {
  const auto of = [&](std::int64_t dim, unsigned seed) {
    std::vector<double> values;
    if (name == "clustered") values = clustered_values(rows, dim, 20, 0.6, seed);
    if (name == "random") values = clustered_values(rows, dim, 1, 50.0, seed);
    if (name == "anisotropic") values = anisotropic_values(rows, dim, 5.0, seed);
    if (name == "duplicated") {
      values = repeated(clustered_values(rows, dim, 9, 0.6, seed), dim, 31);
    }
    if (name == "sparse") values = sparse_values(rows, dim, seed);
    return Matrix(values, rows, dim, DType::float32);
  };
  return {of(image_dim, 1), of(text_dim, 2)};
}

constexpr const char* kKinds[] = {"clustered", "random", "anisotropic", "duplicated", "sparse"};

}  // namespace

TEST_CASE("every pair that reaches a threshold is scored once, for every kernel", "[sweep]") {
  SilentTeam silent;
  MineOptions options;
  for (const char* kind : kKinds) {
    const Data data = kind_of_data(kind, 300, 33, 20);
    for (const Kernel* kernel : available_kernels()) {
      INFO(kind << ", " << kernel->name);
      check_sweeps(Bench(data, options, *kernel, silent.team), silent.team, 0.5, 1);
    }
  }
}

TEST_CASE("every pair that reaches a threshold is scored once across several blocks", "[sweep]") {
  SilentTeam silent;
  MineOptions options;
  REQUIRE(1250 > 2 * kSweepBlock);
  for (const char* kind : {"clustered", "duplicated"}) {
    INFO(kind);
    const Data data = kind_of_data(kind, 1250, 24, 16);
    check_sweeps(Bench(data, options, select_kernel(), silent.team), silent.team, 1.0, 2);
  }
}

TEST_CASE("blocks in several strips are all held against each other, once", "[sweep]") {
  SilentTeam silent;
  MineOptions options;
  const std::int64_t size = 11000;
  const Data data = kind_of_data("sparse", size, 12, 12);
  const Bench bench(data, options, select_kernel(), silent.team);
  const auto rows = static_cast<std::uint32_t>(bench.order().rows.size());
  REQUIRE(rows > 17 * kSweepBlock);
  std::mt19937 random(9);
  for (int kind = 0; kind < 5; ++kind) {
    INFO("kind of job " << kind);
    SweepJob job;
    job.mutual = kind < 2;
    for (std::uint32_t place = 0; place < rows; ++place) {
      bool target = true;
      if (kind == 1) target = random() % 5 < 3;
      if (kind == 2) target = place >= rows - 900;
      if (kind == 3) target = place / 700 == 7;
      if (kind == 4) target = random() % 9 == 0;
      if (target) job.targets.push_back(place);
      if (!target || !job.mutual) job.others.push_back(place);
    }
    // A few targets want every pair there is, the others none.
    std::vector<float> thresholds(job.targets.size(), kInfinity);
    for (std::size_t t = 3; t < thresholds.size(); t += thresholds.size() / 24)
      thresholds[t] = 0.0F;
    Recorder sink(bench.rows_at(job.targets), thresholds);
    const SweepCounts counts = bench.sweep().run(job, sink, silent.team);
    const auto targets = static_cast<std::int64_t>(job.targets.size());
    const auto others = static_cast<std::int64_t>(job.others.size());
    REQUIRE(counts.pairs == targets * others + (job.mutual ? targets * (targets - 1) / 2 : 0));
    std::int64_t missing = 0, twice = 0;
    for (std::size_t t = 3; t < thresholds.size(); t += thresholds.size() / 24) {
      const std::uint32_t own = sink.rows()[t];
      const auto check = [&](std::uint32_t place) {
        const std::uint32_t other = bench.order().rows[place];
        if (other == own) return;
        const std::int64_t times = sink.scored(own, other);
        missing += times == 0 && bench.plain().score(own, other) > 0.0 ? 1 : 0;
        twice += times > 1 ? 1 : 0;
      };
      for (const std::uint32_t place : job.others) check(place);
      if (job.mutual) {
        for (const std::uint32_t place : job.targets) check(place);
      }
    }
    REQUIRE(missing == 0);
    REQUIRE(twice == 0);
  }
}

TEST_CASE("signed products and single modalities score every pair that reaches a threshold",
          "[sweep]") {
  SilentTeam silent;
  for (const Kernel* kernel : available_kernels()) {
    for (const char* kind : {"random", "clustered"}) {
      INFO(kind << ", " << kernel->name);
      const Data data = kind_of_data(kind, 350, 8, 12);
      MineOptions options;
      options.signed_products = true;
      check_sweeps(Bench(data, options, *kernel, silent.team), silent.team, 0.3, 3);
      for (const Modality modality : {Modality::image, Modality::text}) {
        for (const bool is_signed : {false, true}) {
          options.modality = modality;
          options.signed_products = is_signed;
          check_sweeps(Bench(data, options, *kernel, silent.team), silent.team, 0.3, 4);
        }
      }
    }
  }
}

TEST_CASE("two tiers of leading dimensions and a second filter meet every pair", "[sweep]") {
  SilentTeam silent;
  for (const bool is_signed : {false, true}) {
    MineOptions options;
    options.signed_products = is_signed;
    for (const char* kind : {"clustered", "anisotropic"}) {
      const Data data = kind_of_data(kind, 700, 150, 60);
      for (const Kernel* kernel : available_kernels()) {
        INFO(kind << ", " << kernel->name << ", signed " << is_signed);
        Corpus corpus(data.image.view(), data.text.view(), {}, *kernel);
        corpus.measure(silent.team);
        FilterPlan plan;
        plan.factors = {1.3, 1.0 / 1.3};
        plan.length = 1.3 + 1.0 / 1.3;
        plan.high_share = 0.4;
        plan.high = 64;
        plan.low = 128;
        plan.second = 192;
        std::vector<float> sample(static_cast<std::size_t>(300 * corpus.dimensions()));
        WeightedRow reader(corpus, plan.factors);
        for (std::int64_t i = 0; i < 300; ++i) {
          reader.read(i, sample.data() + i * corpus.dimensions());
        }
        plan.basis =
            principal_basis(sample.data(), 300, corpus.dimensions(), 192, *kernel, silent.team);
        measure_excess(plan.basis, *kernel, silent.team);
        check_sweeps(Bench(data, options, *kernel, silent.team, &plan), silent.team, 1.0, 5);
      }
    }
  }
}

TEST_CASE("plans from a sample and clusters score every pair that reaches a threshold", "[sweep]") {
  SilentTeam silent;
  MineOptions options;
  const Data data = kind_of_data("clustered", 4200, 40, 24);
  const Bench bench(data, options, select_kernel(), silent.team);
  REQUIRE_FALSE(bench.order().near.empty());
  std::mt19937 random(6);
  SweepJob job = make_job(bench, Kind::few_targets, random);
  const auto rows = bench.rows_at(job.targets);
  Recorder sink(rows, exact_needs(bench, rows, random, 1.0));
  bench.sweep().run(job, sink, silent.team);
  check_scored(bench, job, sink);
}

TEST_CASE("sweeps let few pairs pass where thresholds are high", "[sweep]") {
  SilentTeam silent;
  MineOptions options;
  const Data data = kind_of_data("clustered", 600, 64, 64);
  const Bench bench(data, options, select_kernel(), silent.team);
  SweepJob job;
  job.mutual = true;
  job.targets.resize(bench.order().rows.size());
  std::iota(job.targets.begin(), job.targets.end(), 0U);
  Recorder sink(bench.rows_at(job.targets), std::vector<float>(job.targets.size(), 0.3F));
  const SweepCounts counts = bench.sweep().run(job, sink, silent.team);
  REQUIRE(counts.pairs == 600 * 599 / 2);
  REQUIRE(counts.scored < counts.pairs / 10);
  REQUIRE(sink.scored_pairs() == 2 * counts.scored);
}

TEST_CASE("an empty job meets nobody", "[sweep]") {
  SilentTeam silent;
  MineOptions options;
  const Data data = kind_of_data("clustered", 300, 8, 8);
  const Bench bench(data, options, select_kernel(), silent.team);
  Recorder sink({}, {});
  SweepJob job;
  job.mutual = true;
  REQUIRE(bench.sweep().run(job, sink, silent.team).pairs == 0);
  job.others = {0, 1, 2};
  REQUIRE(bench.sweep().run(job, sink, silent.team).pairs == 0);
  bench.sweep().seed(job, 3, sink, silent.team);
  REQUIRE(Sweep::work(job) == 0);
}

TEST_CASE("no threshold that is raised exceeds the score of the last pair that a target keeps",
          "[sweep]") {
  SilentTeam silent;
  for (const bool is_signed : {false, true}) {
    for (const char* kind : {"clustered", "duplicated", "random"}) {
      MineOptions options;
      options.signed_products = is_signed;
      options.image_max = 0.9;
      options.text_max = 0.9;
      const Data data = kind_of_data(kind, 4200, 40, 30);
      const Bench bench(data, options, select_kernel(), silent.team);
      SweepJob job;
      for (std::uint32_t place = 0; place < bench.order().rows.size(); ++place) {
        if (place % 7 != 3) job.targets.push_back(place);
        job.others.push_back(place);
      }
      for (const std::int64_t kept : {1, 10, 200, 3000}) {
        INFO(kind << ", keeps " << kept << ", signed " << is_signed);
        Recorder sink(bench.rows_at(job.targets), std::vector<float>(job.targets.size(), 0.0F));
        bench.sweep().seed(job, kept, sink, silent.team);
        std::int64_t count = 0;
        for (std::size_t t = 0; t < job.targets.size(); t += 61) {
          const float raised = sink.raised(static_cast<std::int64_t>(t));
          if (raised <= 0.0F) continue;
          ++count;
          const auto pool = bench.plain().pool(sink.rows()[t]);
          INFO("target " << t << ", threshold " << raised);
          REQUIRE(static_cast<std::int64_t>(pool.size()) >= kept);
          REQUIRE(pool[static_cast<std::size_t>(kept - 1)].score >= static_cast<double>(raised));
        }
        if (std::string(kind) == "clustered" && kept == 10) REQUIRE(count > 40);
      }
    }
  }
}

TEST_CASE("near duplicates are looked past where thresholds are raised", "[sweep]") {
  SilentTeam silent;
  // 60 clusters of 72 rows with 3 captions: of 23 others with its caption a target keeps none.
  constexpr std::int64_t kRows = 4320, kCaptions = 180, kKept = 10;
  const std::vector<double> text = clustered_values(kRows, 30, 60, 0.3, 2);
  const Data data{Matrix(clustered_values(kRows, 40, 60, 0.3, 1), kRows, 40, DType::float32),
                  Matrix(repeated(text, 30, kCaptions), kRows, 30, DType::float32)};
  MineOptions options;
  options.text_max = 0.999;
  const Bench bench(data, options, select_kernel(), silent.team);
  SweepJob job;
  job.targets.resize(bench.order().rows.size());
  std::iota(job.targets.begin(), job.targets.end(), 0U);
  job.mutual = true;
  Recorder sink(bench.rows_at(job.targets), std::vector<float>(job.targets.size(), 0.0F));
  bench.sweep().seed(job, kKept, sink, silent.team);
  std::int64_t close = 0, asked = 0;
  for (std::size_t t = 0; t < job.targets.size(); t += 41) {
    const auto pool = bench.plain().pool(sink.rows()[t]);
    REQUIRE(static_cast<std::int64_t>(pool.size()) >= kKept);
    const double last = pool[static_cast<std::size_t>(kKept - 1)].score;
    const auto raised = static_cast<double>(sink.raised(static_cast<std::int64_t>(t)));
    REQUIRE(raised <= last);
    ++asked;
    close += raised > 0.95 * last ? 1 : 0;
  }
  INFO(close << " of " << asked << " thresholds are close");
  REQUIRE(close > asked / 10 * 9);
}

TEST_CASE("raised thresholds of one modality do not exceed the last kept score", "[sweep]") {
  SilentTeam silent;
  MineOptions options;
  options.modality = Modality::image;
  options.image_max = 0.9;
  const Data data = kind_of_data("clustered", 4200, 64, 1);
  for (const Kernel* kernel : available_kernels()) {
    INFO(kernel->name);
    const Bench bench(data, options, *kernel, silent.team);
    SweepJob job;
    job.targets.resize(bench.order().rows.size());
    std::iota(job.targets.begin(), job.targets.end(), 0U);
    job.mutual = true;
    Recorder sink(bench.rows_at(job.targets), std::vector<float>(job.targets.size(), 0.0F));
    bench.sweep().seed(job, 10, sink, silent.team);
    std::int64_t count = 0;
    for (std::size_t t = 0; t < job.targets.size(); t += 83) {
      const float raised = sink.raised(static_cast<std::int64_t>(t));
      count += raised > 0.0F ? 1 : 0;
      const auto pool = bench.plain().pool(sink.rows()[t]);
      REQUIRE((pool.size() >= 10 ? pool[9].score : 0.0) >= static_cast<double>(raised));
    }
    REQUIRE(count > 20);
  }
}
