// Mining, indexes of pairs and streaming miners under allocations that fail: one kind of error
// comes back, and what was there before is as it was.
#include "support/failing_allocation_trials.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "helip/helip.h"
#include "support/expect_error.h"
#include "support/mine_reference.h"
#include "support/storage_trials.h"

using namespace helip;
using namespace helip::trials;

TEST_CASE("allocations that fail: mining by each method") {
  const auto method = GENERATE(MiningMethod::exact, MiningMethod::sample, MiningMethod::hnsw,
                               MiningMethod::partition);
  every_allocation([method](const TemporaryFolder& folder) -> Trial {
    write_store(folder / "s");
    const EmbeddingStore store = EmbeddingStore::open(folder / "s");
    return {[store, method] { (void)mine(store, options_by(method)); }};
  });
  every_allocation([method](const TemporaryFolder& folder) -> Trial {
    write_store(folder / "s");
    const EmbeddingStore store = EmbeddingStore::open(folder / "s");
    const fs::path out = folder / "p";
    return mined_to(out, mine(store, options_by(method)),
                    [store, out, method] { return mine(store, options_by(method), {}, out); });
  });
}

TEST_CASE("allocations that fail: a plan") {
  every_allocation([](const TemporaryFolder& folder) -> Trial {
    write_store(folder / "s");
    const EmbeddingStore store = EmbeddingStore::open(folder / "s");
    return {[store] { (void)plan(store, options_by()); }};
  });
}

TEST_CASE("allocations that fail: pools of chosen targets") {
  every_allocation([](const TemporaryFolder&) -> Trial {
    const auto data = std::make_shared<testing::Data>(testing::clustered_data(kRows, 8, 6));
    const std::vector<std::int64_t> targets{1, 5, 9};
    return {[data, targets] {
      (void)mine_targets(data->image.view(), data->text.view(), targets, options_by());
    }};
  });
}

TEST_CASE("allocations that fail: given candidates") {
  every_allocation([](const TemporaryFolder&) -> Trial {
    const auto data = std::make_shared<testing::Data>(testing::clustered_data(kRows, 8, 6));
    const auto ids = std::make_shared<std::vector<std::int64_t>>(numbers(0, kRows));
    const std::vector<std::int64_t> targets{1, 5};
    return {[data, ids, targets] {
      (void)rerank(data->image.view(), data->text.view(), targets,
                   MatrixView::of(ids->data(), 2, 30), options_by());
    }};
  });
}

TEST_CASE("allocations that fail: an index of pairs") {
  every_allocation([](const TemporaryFolder&) -> Trial {
    const auto data = std::make_shared<testing::Data>(indexed());
    return {[=] {
      (void)PairIndex::build(part(data->image, 0, kRows), part(data->text, 0, kRows), {}, {}, 2);
    }};
  });
}

TEST_CASE("allocations that fail: pairs for an index") {
  every_allocation([](const TemporaryFolder&) -> Trial {
    const auto data = std::make_shared<testing::Data>(indexed());
    const auto index = std::make_shared<PairIndex>(
        PairIndex::build(part(data->image, 0, kRows), part(data->text, 0, kRows), {}, {}, 2));
    return {[=] {
              index->add(part(data->image, kRows, 2 * kRows), part(data->text, kRows, 2 * kRows),
                         {}, 2);
            },
            [=](bool done) {
              CHECK(index->size() == (done ? 2 * kRows : kRows));
              if (!done) {
                expect_error(ErrorCode::invalid_argument, "is in the index already", [&] {
                  index->add(part(data->image, 0, 1), part(data->text, 0, 1), {kRows - 1}, 2);
                });
                index->add(part(data->image, kRows, 2 * kRows), part(data->text, kRows, 2 * kRows),
                           {}, 2);
              }
              const PairMatches found = index->query(part(data->image, 0, 2 * kRows),
                                                     part(data->text, 0, 2 * kRows), kK, 128);
              CHECK(*std::min_element(found.counts.begin(), found.counts.end()) == kK);
            }};
  });
}

TEST_CASE("allocations that fail: a query of an index") {
  every_allocation([](const TemporaryFolder&) -> Trial {
    const auto data = std::make_shared<testing::Data>(indexed());
    const auto index = std::make_shared<PairIndex>(
        PairIndex::build(part(data->image, 0, kRows), part(data->text, 0, kRows), {}, {}, 2));
    return {[=] {
      (void)index->query(part(data->image, kRows, 2 * kRows), part(data->text, kRows, 2 * kRows),
                         kK, 64, 2);
    }};
  });
}

TEST_CASE("allocations that fail: a batch for a streaming miner") {
  const auto search = GENERATE(StreamingSearch::scan, StreamingSearch::hnsw);
  every_allocation([search](const TemporaryFolder&) -> Trial {
    const auto data = std::make_shared<testing::Data>(indexed());
    StreamingOptions chosen;
    chosen.k = kK;
    chosen.memory = kRows;
    chosen.threads = 2;
    chosen.search = search;
    const auto miner = std::make_shared<StreamingMiner>(8, 6, chosen);
    miner->remember(numbers(0, kRows / 2), part(data->image, 0, kRows / 2),
                    part(data->text, 0, kRows / 2));
    const std::vector<std::int64_t> ids = numbers(10, 10 + kRows);
    return {[=] {
              (void)miner->add(ids, part(data->image, 10, 10 + kRows),
                               part(data->text, 10, 10 + kRows));
            },
            [=](bool done) {
              CHECK(miner->ids() == (done ? numbers(10, 10 + kRows) : numbers(0, kRows / 2)));
              const HardPairBand found =
                  miner->add({kRows}, part(data->image, 0, 1), part(data->text, 0, 1));
              CHECK(found.counts[0] > 0);
              CHECK(std::all_of(found.ids.begin(), found.ids.end(), [&](std::int64_t id) {
                return done ? id < 10 + kRows : id < kRows / 2;
              }));
            }};
  });
}
