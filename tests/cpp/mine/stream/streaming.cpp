#include "helip/streaming.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "helip/error.h"
#include "support/expect_error.h"
#include "support/mine_reference.h"

namespace helip {
namespace {

using testing::clustered_data;
using testing::Data;

std::vector<std::int64_t> numbers(std::int64_t first, std::int64_t count) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

MatrixView part(MatrixView view, std::int64_t first, std::int64_t count) {
  view.data = view.row(first);
  if (view.scale != nullptr) view.scale += first;
  view.rows = count;
  return view;
}

}  // namespace

TEST_CASE("one batch of all rows gets the bytes of mine()", "[streaming]") {
  for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16, DType::int8}) {
    for (const bool signed_products : {false, true}) {
      const testing::Data data = testing::clustered_data(300, 40, 24, dtype);
      for (const int threads : {1, 3}) {
        StreamingOptions options;
        options.k = 7;
        options.image_max = 0.7;
        options.signed_products = signed_products;
        options.threads = threads;
        StreamingMiner miner(40, 24, options);
        const HardPairBand found = miner.add(numbers(0, 300), data.image.view(), data.text.view());
        MineOptions mining;
        mining.k = 7;
        mining.image_max = 0.7;
        mining.signed_products = signed_products;
        const HardPairs wanted = mine(data.image.view(), data.text.view(), mining);
        for (std::int64_t i = 0; i < 300; ++i) {
          REQUIRE(found.counts[static_cast<std::size_t>(i)] == wanted.count(i));
          for (std::int64_t r = 0; r < wanted.count(i); ++r) {
            const auto at = static_cast<std::size_t>(i * 7 + r);
            REQUIRE(found.ids[at] == wanted.id(i, r));
            REQUIRE(found.scores[at] == wanted.score(i, r));
          }
        }
      }
    }
  }
}

TEST_CASE("a few targets among many rows get the bytes of mine(), whichever modality is first",
          "[streaming]") {
  for (const auto& [image_dim, text_dim] : {std::pair{64, 20}, std::pair{20, 64}}) {
    const testing::Data data = testing::clustered_data(3000, image_dim, text_dim);
    for (const bool signed_products : {false, true}) {
      StreamingOptions options;
      options.k = 3;
      options.image_max = 0.9;
      options.signed_products = signed_products;
      options.threads = 2;
      StreamingMiner miner(image_dim, text_dim, options);
      miner.remember(numbers(0, 3000), data.image.view(), data.text.view());
      const std::int64_t first = 1000, count = 37;
      const HardPairBand found =
          miner.add(numbers(first, count), part(data.image.view(), first, count),
                    part(data.text.view(), first, count));
      MineOptions mining;
      mining.k = 3;
      mining.image_max = 0.9;
      mining.signed_products = signed_products;
      const HardPairs wanted = mine(data.image.view(), data.text.view(), mining);
      for (std::int64_t i = 0; i < count; ++i) {
        REQUIRE(found.counts[static_cast<std::size_t>(i)] == wanted.count(first + i));
        for (std::int64_t r = 0; r < wanted.count(first + i); ++r) {
          const auto at = static_cast<std::size_t>(i * 3 + r);
          REQUIRE(found.ids[at] == wanted.id(first + i, r));
          REQUIRE(found.scores[at] == wanted.score(first + i, r));
        }
      }
    }
  }
}

TEST_CASE("a batch meets the rows that came last alone, each id once", "[streaming]") {
  const testing::Data data = testing::clustered_data(90, 16, 16);
  StreamingOptions options;
  options.memory = 40;
  options.k = 60;
  StreamingMiner miner(16, 16, options);
  const auto add = [&](std::int64_t first, std::int64_t count) {
    return miner.add(numbers(first, count), part(data.image.view(), first, count),
                     part(data.text.view(), first, count));
  };
  add(0, 30);
  add(30, 30);
  CHECK(miner.ids() == numbers(20, 40));
  const HardPairBand found = add(20, 5);  // seen before: the newest now
  for (std::size_t i = 0; i < found.ids.size(); ++i) {
    const std::int64_t id = found.ids[i];
    CHECK((id == -1 || (id >= 20 && id < 60)));
    CHECK(id != 20 + static_cast<std::int64_t>(i) / 60);
  }
  std::vector<std::int64_t> wanted = numbers(25, 35);
  for (const std::int64_t id : numbers(20, 5)) wanted.push_back(id);
  CHECK(miner.ids() == wanted);

  std::vector<float> image(40 * 16), text(40 * 16);
  miner.copy_rows(image.data(), text.data());
  StreamingMiner other(16, 16, options);
  other.remember(miner.ids(), {image.data(), 40, 16, DType::float32, 64},
                 {text.data(), 40, 16, DType::float32, 64});
  const HardPairBand one = add(60, 30);
  const HardPairBand same =
      other.add(numbers(60, 30), part(data.image.view(), 60, 30), part(data.text.view(), 60, 30));
  CHECK(one.ids == same.ids);
  CHECK(one.scores == same.scores);
}

TEST_CASE("a pool holds no id twice and not its own, also where duplicates count", "[streaming]") {
  const testing::Data data = testing::clustered_data(40, 16, 16);
  StreamingOptions options;
  options.k = 50;
  options.image_max = options.text_max = 1.0;
  StreamingMiner miner(16, 16, options);
  for (int pass = 0; pass < 2; ++pass) {
    const HardPairBand found = miner.add(numbers(0, 40), data.image.view(), data.text.view());
    for (std::int64_t row = 0; row < 40; ++row) {
      std::set<std::int64_t> seen{row};
      for (std::int64_t rank = 0; rank < found.counts[static_cast<std::size_t>(row)]; ++rank) {
        CHECK(seen.insert(found.ids[static_cast<std::size_t>(row * 50 + rank)]).second);
      }
    }
  }
  CHECK(miner.size() == 40);
}

TEST_CASE("a batch that cannot be mined is refused and not remembered", "[streaming]") {
  std::vector<double> values(3 * 16, 1.0);
  const testing::Matrix good(values, 3, 16, DType::float32);
  values[20] = std::nan("");
  const testing::Matrix bad(values, 3, 16, DType::float32);
  StreamingMiner miner(16, 16, {});
  const auto refused = [&](const std::vector<std::int64_t>& ids, const testing::Matrix& text,
                           const std::string& part) {
    try {
      miner.add(ids, good.view(), text.view());
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::invalid_argument);
      CHECK(std::string(error.what()).find(part) != std::string::npos);
    }
  };
  refused({4, 5, 6}, bad, "text embedding of row 1 (id 5)");
  refused({4, -5, 6}, good, "id -5 of row 1 is negative");
  refused({4, 5, 4}, good, "id 4 is twice");
  refused({4, 5}, good, "2 ids for 3 rows");
  refused({4, 5, 6}, testing::Matrix(values, 6, 8, DType::float32), "8 dimensions");
  CHECK(miner.size() == 0);
}

TEST_CASE("a miner that was moved from remembers nothing and refuses rows", "[streaming]") {
  StreamingMiner miner(6, 4, {});
  const testing::Data data = testing::clustered_data(10, 6, 4);
  miner.remember({0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, data.image.view(), data.text.view());
  const StreamingMiner other = std::move(miner);
  REQUIRE(other.size() == 10);
  REQUIRE(miner.size() == 0);  // NOLINT(bugprone-use-after-move)
  REQUIRE(miner.image_dim() == 0);
  REQUIRE(miner.ids().empty());
  miner.forget();
  expect_error(ErrorCode::invalid_argument, "moved from",
               [&] { miner.remember({0}, data.image.view(), data.text.view()); });
}

TEST_CASE("by the graph most pairs of a batch are found, turn after turn, and none that left",
          "[streaming]") {
  const std::int64_t rows = 3000, size = 100;
  const testing::Data data = testing::clustered_data(rows, 32, 24);
  StreamingOptions options;
  options.memory = 900;
  options.k = 10;
  options.image_max = 0.95;
  options.threads = 1;
  StreamingMiner scan(32, 24, options);
  options.search = StreamingSearch::hnsw;
  StreamingMiner graph(32, 24, options);
  options.threads = 3;
  StreamingMiner threads(32, 24, options);
  std::int64_t there = 0, found = 0;
  for (std::int64_t step = 0; step < 60; ++step) {
    // Rows come again before they leave, and after.
    const std::int64_t first = (step % 4 == 3 ? step - 3 : step) * size % rows;
    const auto add = [&](StreamingMiner& miner) {
      return miner.add(numbers(first, size), part(data.image.view(), first, size),
                       part(data.text.view(), first, size));
    };
    const HardPairBand wanted = add(scan), got = add(graph), again = add(threads);
    REQUIRE(got.ids == again.ids);
    REQUIRE(got.scores == again.scores);
    for (std::int64_t t = 0; t < size; ++t) {
      std::map<std::int64_t, float> best;
      for (std::int64_t at = t * options.k; at < (t + 1) * options.k; ++at) {
        const auto i = static_cast<std::size_t>(at);
        if (wanted.ids[i] >= 0) best.emplace(wanted.ids[i], wanted.scores[i]);
      }
      const std::int32_t count = got.counts[static_cast<std::size_t>(t)];
      there += static_cast<std::int64_t>(best.size());
      for (std::int32_t rank = 0; rank < count; ++rank) {
        const auto i = static_cast<std::size_t>(t * options.k + rank);
        const auto same = best.find(got.ids[i]);
        // What is not in the exact pool scores no more than the last of it.
        if (same == best.end()) {
          REQUIRE(got.scores[i] <= wanted.scores[static_cast<std::size_t>((t + 1) * 10 - 1)]);
        } else {
          ++found;
          REQUIRE(got.scores[i] == same->second);
        }
      }
    }
    REQUIRE(graph.ids() == scan.ids());
  }
  CHECK(there > 50000);
  CHECK(static_cast<double>(found) >= 0.98 * static_cast<double>(there));
  graph.forget();
  CHECK(graph.size() == 0);
  const HardPairBand alone =
      graph.add({7}, part(data.image.view(), 7, 1), part(data.text.view(), 7, 1));
  CHECK(alone.counts[0] == 0);
}

TEST_CASE("the graph finds every pair where it is small, also of a batch beyond the memory",
          "[streaming]") {
  testing::Data data = testing::clustered_data(300, 16, 16);
  for (const bool signed_products : {false, true}) {
    StreamingOptions options;
    options.memory = 25;
    options.k = 12;
    options.signed_products = signed_products;
    StreamingMiner scan(16, 16, options);
    options.search = StreamingSearch::hnsw;
    StreamingMiner graph(16, 16, options);
    std::int64_t first = 0;
    for (const std::int64_t size : {10, 10, 60, 0, 1, 40, 9}) {
      const auto add = [&](StreamingMiner& miner) {
        return miner.add(numbers(first, size), part(data.image.view(), first, size),
                         part(data.text.view(), first, size));
      };
      const HardPairBand wanted = add(scan), got = add(graph);
      REQUIRE(got.ids == wanted.ids);
      REQUIRE(got.scores == wanted.scores);
      REQUIRE(got.counts == wanted.counts);
      first += size / 2;
    }
  }
}

TEST_CASE("a batch that is stopped is not remembered", "[streaming]") {
  StreamingMiner miner(6, 4, {});
  const testing::Data data = testing::clustered_data(3, 6, 4);
  expect_error(ErrorCode::cancelled, "mine", [&] {
    static_cast<void>(miner.add({0, 1, 2}, data.image.view(), data.text.view(),
                                [](const Progress&) { return false; }));
  });
  REQUIRE(miner.size() == 0);
}

}  // namespace helip
