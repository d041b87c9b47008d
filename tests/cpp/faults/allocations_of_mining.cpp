// Mining, indexes of pairs and streaming miners under allocations that fail: one kind of error
// comes back, and what was there before is as it was.
#include "support/failing_allocation_trials.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <filesystem>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "helip/helip.h"
#include "support/expect_error.h"
#include "support/mine_reference.h"
#include "support/store_samples.h"

using namespace helip;

namespace {

namespace fs = std::filesystem;

constexpr int kRows = 60;
constexpr std::int64_t kK = 4;

void write_store(const fs::path& path, int rows = kRows) {
  auto writer = EmbeddingStoreWriter::create(path, options());
  append(writer, rows_between(0, rows));
  writer.commit();
}

bool is_committed(const fs::path& path) {
  return unfailing([&] { return fs::exists(path / "manifest.json"); });
}

MineOptions mining(MiningMethod method = MiningMethod::exact) {
  MineOptions chosen;
  chosen.method = method;
  chosen.k = kK;
  chosen.threads = 2;
  return chosen;
}

// Mining to a folder: whole, or not there, and the next call gives the same.
Trial mined_to(const fs::path& out, std::function<HardPairs()> call) {
  return {[call] { (void)call(); },
          [call, out](bool done) {
            CHECK((!done || is_committed(out)));
            if (!done) {
              // What was committed before the end of the call is refused, or is there.
              try {
                (void)call();
              } catch (const Error& error) {
                CHECK(error.code() == ErrorCode::invalid_argument);
              }
            }
            const HardPairs found = HardPairs::open(out);
            found.verify();
            CHECK(found.size() == kRows);
          }};
}

std::vector<std::int64_t> numbers(std::int64_t first, std::int64_t last) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(last - first));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

testing::Data indexed() { return testing::clustered_data(2 * kRows, 8, 6); }

MatrixView part(const testing::Matrix& matrix, std::int64_t first, std::int64_t last) {
  MatrixView view = matrix.view();
  view.data = view.row(first);
  view.rows = last - first;
  return view;
}

}  // namespace

TEST_CASE("allocations that fail: mining by each method") {
  const auto method = GENERATE(MiningMethod::exact, MiningMethod::sample, MiningMethod::hnsw,
                               MiningMethod::partition);
  every_allocation([method](const TemporaryFolder& folder) -> Trial {
    write_store(folder / "s");
    const EmbeddingStore store = EmbeddingStore::open(folder / "s");
    return {[store, method] { (void)mine(store, mining(method)); }};
  });
  every_allocation([method](const TemporaryFolder& folder) -> Trial {
    write_store(folder / "s");
    const EmbeddingStore store = EmbeddingStore::open(folder / "s");
    const fs::path out = folder / "p";
    return mined_to(out, [store, out, method] { return mine(store, mining(method), {}, out); });
  });
}

TEST_CASE("allocations that fail: mining in parts") {
  every_allocation([](const TemporaryFolder& folder) -> Trial {
    write_store(folder / "s");
    const EmbeddingStore store = EmbeddingStore::open(folder / "s");
    const fs::path out = folder / "p";
    MineOptions chosen = mining();
    chosen.parts = 2;
    return mined_to(out, [store, out, chosen] { return mine(store, chosen, {}, out); });
  });
}

TEST_CASE("allocations that fail: parts of a table") {
  every_allocation([](const TemporaryFolder& folder) -> Trial {
    write_store(folder / "s");
    const EmbeddingStore store = EmbeddingStore::open(folder / "s");
    const fs::path first = folder / "1", second = folder / "2", out = folder / "p";
    const std::vector<fs::path> parts{first, second};
    return mined_to(out, [store, first, second, parts, out] {
      if (is_committed(out)) return HardPairs::open(out);
      (void)mine_part(store, 1, 2, mining(), first);
      (void)mine_part(store, 2, 2, mining(), second);
      return merge_parts(parts, out);
    });
  });
}

TEST_CASE("allocations that fail: a table brought up to date") {
  every_allocation([](const TemporaryFolder& folder) -> Trial {
    const fs::path path = folder / "s", out = folder / "p";
    write_store(path, kRows - 10);
    (void)mine(EmbeddingStore::open(path), mining(), {}, out);
    auto writer = EmbeddingStoreWriter::append_to(path);
    append(writer, rows_between(kRows - 10, kRows));
    const EmbeddingStore store = writer.commit();
    return mined_to(out, [store, out] { return update(HardPairs::open(out), store, {}, {}, out); });
  });
}

TEST_CASE("allocations that fail: a plan") {
  every_allocation([](const TemporaryFolder& folder) -> Trial {
    write_store(folder / "s");
    const EmbeddingStore store = EmbeddingStore::open(folder / "s");
    return {[store] { (void)plan(store, mining()); }};
  });
}

TEST_CASE("allocations that fail: pools of chosen targets") {
  every_allocation([](const TemporaryFolder&) -> Trial {
    const auto data = std::make_shared<testing::Data>(testing::clustered_data(kRows, 8, 6));
    const std::vector<std::int64_t> targets{1, 5, 9};
    return {[data, targets] {
      (void)mine_targets(data->image.view(), data->text.view(), targets, mining());
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
                   MatrixView::of(ids->data(), 2, 30), mining());
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

TEST_CASE("allocations that fail: an index that is saved") {
  every_allocation([](const TemporaryFolder& folder) -> Trial {
    const auto data = std::make_shared<testing::Data>(indexed());
    const fs::path path = folder / "i";
    const auto index = std::make_shared<PairIndex>(
        PairIndex::build(part(data->image, 0, kRows), part(data->text, 0, kRows), {}, {}, 2));
    return {[=] { index->save(path); },
            [=](bool) {
              if (!is_committed(path)) index->save(path);
              CHECK(PairIndex::open(path).size() == kRows);
            }};
  });
}

TEST_CASE("allocations that fail: an index that is opened") {
  every_allocation([](const TemporaryFolder& folder) -> Trial {
    const auto data = std::make_shared<testing::Data>(indexed());
    const fs::path path = folder / "i";
    PairIndex::build(part(data->image, 0, kRows), part(data->text, 0, kRows), {}, {}, 2).save(path);
    return {[=] { (void)PairIndex::open(path); }};
  });
}

TEST_CASE("allocations that fail: a batch for a streaming miner") {
  every_allocation([](const TemporaryFolder&) -> Trial {
    const auto data = std::make_shared<testing::Data>(indexed());
    StreamingOptions chosen;
    chosen.k = kK;
    chosen.memory = kRows;
    chosen.threads = 2;
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
            }};
  });
}
