// Pools hold the best pairs, in whatever order these come.
#include "mine/pool/pools.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <limits>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "mine/corpus/corpus.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

// Few different rows, so that there are many ties, in a space that images and texts share.
Data shared_data(std::int64_t rows, std::int64_t different, double noise = 0.5) {
  const auto image = clustered_values(rows, 10, 4, noise, 1);
  auto text = image;
  const auto other = clustered_values(rows, 10, rows, 0.0, 3);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] += 0.5 * other[i];
  return {Matrix(repeated(image, 10, different), rows, 10, DType::float32),
          Matrix(repeated(text, 10, different), rows, 10, DType::float32)};
}

struct OfferedPair {
  std::int64_t target, row, mirror;
};

// Every row is a target: each pair once, seen from either side.
std::vector<OfferedPair> mutual_pairs(std::int64_t rows, std::mt19937& random) {
  std::vector<OfferedPair> all;
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < i; ++j) {
      const bool swapped = random() % 2 == 0;
      all.push_back(swapped ? OfferedPair{j, i, i} : OfferedPair{i, j, j});
    }
  }
  std::shuffle(all.begin(), all.end(), random);
  return all;
}

std::vector<std::uint32_t> all_rows(std::int64_t rows) {
  std::vector<std::uint32_t> targets(static_cast<std::size_t>(rows));
  std::iota(targets.begin(), targets.end(), 0U);
  return targets;
}

HardPairBand empty_band(std::int64_t rows, std::int64_t k) {
  HardPairBand band;
  band.k = k;
  band.ids.assign(static_cast<std::size_t>(rows * k), -1);
  band.scores.assign(static_cast<std::size_t>(rows * k), 0.0F);
  band.counts.assign(static_cast<std::size_t>(rows), 0);
  return band;
}

void check_pools(const PlainMiner& plain, Pools& pools, std::int64_t k) {
  HardPairBand band = empty_band(pools.size(), k);
  DropCounts counts;
  Drops drops;
  for (std::int64_t i = 0; i < pools.size(); ++i) {
    INFO("target " << i);
    pools.finish(i, band, i, counts);
    check_pool(plain.pool(i, &drops), k, band.ids.data() + i * k, band.scores.data() + i * k,
               band.counts[static_cast<std::size_t>(i)]);
  }
  const auto count = [&](Verdict verdict) {
    return counts.kept_out[static_cast<std::size_t>(verdict)];
  };
  REQUIRE(count(Verdict::kept) == 0);
  REQUIRE(count(Verdict::image_duplicate) == drops.image);
  REQUIRE(count(Verdict::text_duplicate) == drops.text);
  REQUIRE(count(Verdict::margin) == drops.margin);
  REQUIRE(count(Verdict::collapsed) == drops.collapsed);
  REQUIRE(counts.skipped == drops.skipped);
}

// Pools of all rows, met in several orders, against the plain ones.
void check_orders(const Data& data, const MineOptions& options, int threads = 1) {
  const PlainMiner plain(data, options);
  const std::int64_t rows = plain.size();
  SilentTeam silent(threads);
  Corpus corpus(data.image.view(), data.text.view(), rules_of(options), select_kernel());
  corpus.measure(silent.team);
  const std::uint32_t* groups = plain.groups().empty() ? nullptr : plain.groups().data();
  std::mt19937 random(7);
  for (int order = 0; order < 4; ++order) {
    INFO("order " << order);
    std::vector<OfferedPair> pairs = mutual_pairs(rows, random);
    // The worst first: every better one pushes another out. Then the best first.
    if (order < 2) {
      std::stable_sort(pairs.begin(), pairs.end(), [&](const OfferedPair& a, const OfferedPair& b) {
        const double left = plain.score(a.target, a.row), right = plain.score(b.target, b.row);
        return order == 0 ? left < right : left > right;
      });
    }
    Pools pools(corpus, all_rows(rows), options.k, options.skip, groups);
    if (threads > 1) {
      silent.team.for_blocks(static_cast<std::int64_t>(pairs.size()), 50,
                             [&](std::int64_t begin, std::int64_t end, int) {
                               Scorer scorer(corpus);
                               for (; begin < end; ++begin) {
                                 const OfferedPair& m = pairs[static_cast<std::size_t>(begin)];
                                 pools.score_pair(m.target, m.row, m.mirror, scorer);
                               }
                             });
    } else {
      Scorer scorer(corpus);
      std::vector<float> needs;
      for (std::int64_t i = 0; i < rows; ++i) needs.push_back(pools.threshold(i));
      bool fell = false;
      for (const OfferedPair& m : pairs) {
        pools.score_pair(m.target, m.row, m.mirror, scorer);
        for (const std::int64_t i : {m.target, m.mirror}) {
          float& before = needs[static_cast<std::size_t>(i)];
          fell = fell || pools.threshold(i) < before;
          before = pools.threshold(i);
        }
      }
      REQUIRE_FALSE(fell);
      // No target needs more than the last pair that it keeps.
      for (std::int64_t i = 0; i < rows; ++i) {
        MineOptions whole = options;
        whole.k += whole.skip;
        whole.skip = 0;
        if (order > 0 || i % 7 != 0) continue;
        const auto kept = PlainMiner(data, whole).pool(i);
        if (static_cast<std::int64_t>(kept.size()) < whole.k) continue;
        REQUIRE(pools.threshold(i) <= kept[static_cast<std::size_t>(whole.k - 1)].score);
      }
    }
    check_pools(plain, pools, options.k);
  }
}

}  // namespace

TEST_CASE("pools do not depend on the order in which pairs come", "[pools]") {
  MineOptions options;
  options.image_max = 0.9;
  options.text_max = 0.85;
  for (const std::int64_t k : {1, 4, 30, 100}) {
    options.k = k;
    INFO("k = " << k);
    check_orders(shared_data(60, 60), options);
  }
}

TEST_CASE("ties are broken by id in any order", "[pools]") {
  MineOptions options;
  options.image_max = options.text_max = 1.0;
  for (const std::int64_t k : {1, 5, 20}) {
    options.k = k;
    INFO("k = " << k);
    check_orders(shared_data(60, 6), options);
    check_orders(shared_data(40, 1), options);
  }
}

TEST_CASE("the best pairs are passed over in any order", "[pools]") {
  MineOptions options;
  options.k = 5;
  for (const std::int64_t skip : {1, 7, 58, 200}) {
    options.skip = skip;
    INFO("skip = " << skip);
    check_orders(shared_data(60, 45), options);
  }
}

TEST_CASE("a margin may keep a candidate from one of two rows", "[pools]") {
  MineOptions options;
  options.k = 6;
  const Data data = shared_data(60, 60, 0.8);
  bool one_sided = false;
  for (const double margin : {-0.2, 0.0, 0.1, 0.4}) {
    options.margin = margin;
    INFO("margin = " << margin);
    check_orders(data, options);
    Corpus corpus(data.image.view(), data.text.view(), rules_of(options), select_kernel());
    Scorer scorer(corpus);
    for (std::int64_t i = 0; i < 60; ++i) {
      for (std::int64_t j = 0; j < i; ++j) {
        const Evaluation evaluated = scorer.evaluate(i, j);
        const Evaluation mirrored = scorer.evaluate(j, i);
        REQUIRE(evaluated.score == mirrored.score);
        REQUIRE(evaluated.target == mirrored.candidate);
        REQUIRE(evaluated.candidate == mirrored.target);
        one_sided = one_sided || evaluated.target != evaluated.candidate;
      }
    }
  }
  REQUIRE(one_sided);
}

TEST_CASE("of a group only the best counts, also when it comes late", "[pools]") {
  MineOptions options;
  for (const Collapse collapse : {Collapse::image, Collapse::text, Collapse::both}) {
    options.collapse = collapse;
    options.image_max = 0.9;
    options.text_max = 0.8;
    for (const std::int64_t k : {1, 3, 10, 70}) {
      options.k = k;
      options.skip = k == 3 ? 2 : 0;
      INFO("k = " << k << ", collapse " << name_of(collapse));
      check_orders(shared_data(60, 60, 0.2), options);
      check_orders(shared_data(60, 20, 0.3), options);
    }
  }
}

TEST_CASE("all filters together do not depend on the order", "[pools]") {
  MineOptions options;
  options.k = 5;
  options.skip = 2;
  options.collapse = Collapse::image;
  options.margin = 0.05;
  options.image_max = 0.95;
  options.text_max = 0.9;
  options.min_score = 0.1;
  check_orders(shared_data(60, 40, 0.3), options);
  options.signed_products = true;
  check_orders(shared_data(60, 40, 0.6), options);
}

TEST_CASE("pools that several threads fill are those of one", "[pools]") {
  MineOptions options;
  options.k = 8;
  options.skip = 1;
  check_orders(shared_data(90, 90), options, 4);
  options.collapse = Collapse::image;
  options.image_max = 0.9;
  options.margin = 0.05;
  check_orders(shared_data(90, 30, 0.3), options, 4);
}

TEST_CASE("a threshold is raised and never lowered", "[pools]") {
  SilentTeam silent;
  auto image = clustered_values(20, 6, 3, 0.5, 1);
  std::fill_n(image.begin(), 6, 0.0);
  const Data data{Matrix(image, 20, 6, DType::float32),
                  Matrix(clustered_values(20, 6, 3, 0.5, 2), 20, 6, DType::float32)};
  MineOptions options;
  options.min_score = 0.1;
  Corpus corpus(data.image.view(), data.text.view(), rules_of(options), select_kernel());
  corpus.measure(silent.team);
  Pools pools(corpus, {0, 5}, 3, 0, nullptr);
  REQUIRE(pools.threshold(0) == std::numeric_limits<float>::infinity());  // a zero row
  REQUIRE(pools.threshold(1) <= 0.1);
  REQUIRE(pools.threshold(1) > 0.0999F);
  pools.raise_threshold(1, 0.5F);
  REQUIRE(pools.threshold(1) == 0.5F);
  pools.raise_threshold(1, 0.2F);
  REQUIRE(pools.threshold(1) == 0.5F);
}

TEST_CASE("thresholds are taken only where the score and near duplicates alone decide", "[pools]") {
  const Data data = shared_data(10, 10);
  MineOptions options;
  const std::vector<std::uint32_t> groups = all_rows(10);
  const Corpus plain(data.image.view(), data.text.view(), rules_of(options), select_kernel());
  options.margin = 0.1;
  const Corpus margin(data.image.view(), data.text.view(), rules_of(options), select_kernel());
  REQUIRE(Pools(plain, {1}, 2, 0, nullptr).takes_thresholds());
  REQUIRE(Pools(plain, {1}, 2, 3, nullptr).takes_thresholds());
  REQUIRE_FALSE(Pools(plain, {1}, 2, 0, groups.data()).takes_thresholds());
  REQUIRE_FALSE(Pools(margin, {1}, 2, 0, nullptr).takes_thresholds());
}
