// Indexes of pairs that change while they are asked.
#include "mine/graph/index_locks.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <new>
#include <numeric>
#include <thread>

#include "support/child_process.h"
#include "support/expect_error.h"
#include "support/pair_index_reference.h"
#include "support/sanitizers.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::testing;

TEST_CASE("an addition comes through while queries never pause", "[pair_index]") {
  const Data data = data_of(400);
  PairIndex index = built(data, 300);
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      while (!done) static_cast<void>(index.query(data.image.view(), data.text.view(), 5, 0, 1));
    });
  }
  for (std::int64_t row = 300; row < 310; ++row) {
    index.add(part_of(data.image, row, row + 1), part_of(data.text, row, row + 1), {}, 1);
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  REQUIRE(index.size() == 310);
}

TEST_CASE("queries and additions may go on at once", "[pair_index]") {
  const Data data = data_of(1200);
  PairIndex index = built(data, 600);
  std::vector<std::thread> threads;
  std::atomic<bool> wrong{false};
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 40; ++round) {
        const std::int64_t first = (t * 40 + round) % 1190;
        const PairMatches found = index.query(part_of(data.image, first, first + 5),
                                              part_of(data.text, first, first + 5), 5, 0, 1);
        for (const std::int64_t id : found.ids) wrong = wrong || id < -1 || id >= 1200;
      }
    });
  }
  for (std::int64_t first = 600; first < 1200; first += 60) {
    index.add(part_of(data.image, first, first + 60), part_of(data.text, first, first + 60), {}, 1);
  }
  for (std::thread& thread : threads) thread.join();
  REQUIRE(!wrong);
  REQUIRE(index.size() == 1200);
  REQUIRE(recall(index, data, 1200, 0, 100, 10, 1e-6) > 0.98);
}

TEST_CASE("queries go on while an opened index changes in every way", "[pair_index]") {
  const Data data = data_of(1200);
  const TemporaryFolder folder;
  built(data, 600).save(folder / "index");
  PairIndex index = PairIndex::open(folder / "index");
  std::atomic<bool> done{false}, wrong{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (std::int64_t first = t; !done; first = (first + 7) % 1190) {
        const PairMatches found = index.query(part_of(data.image, first, first + 2),
                                              part_of(data.text, first, first + 2), 5, 0, 1);
        for (const std::int64_t id : found.ids) wrong = wrong || id < -1 || id >= 1200;
        // Those from 500 on come and go.
        wrong = wrong || index.near({first % 500}, 3, 0, 1).counts.size() != 1;
      }
    });
  }
  std::vector<std::int64_t> gone(100), some(50);
  std::iota(gone.begin(), gone.end(), 500);
  std::iota(some.begin(), some.end(), 0);
  for (std::int64_t first = 600; first < 1200; first += 100) {
    index.add(part_of(data.image, first, first + 100), part_of(data.text, first, first + 100), {},
              1);
    index.remove(gone);
    index.add(part_of(data.image, 500, 600), part_of(data.text, 500, 600), gone, 1);
    index.replace(part_of(data.image, 0, 50), part_of(data.text, 0, 50), some, 1);
  }
  index.save(folder / "changed");
  done = true;
  for (std::thread& thread : threads) thread.join();
  REQUIRE(!wrong);
  REQUIRE(index.size() == 1200);
  REQUIRE(recall(index, data, 1200, 0, 100, 10, 1e-6) > 0.98);
  REQUIRE(recall(PairIndex::open(folder / "changed"), data, 1200, 0, 100, 10, 1e-6) > 0.98);
}

// See base/thread_pool.cpp.
#if !defined(HELIP_ADDRESS_SANITIZER)
TEST_CASE("locks that a child could not renew are renewed by its next call", "[pair_index]") {
  int calls = 0;
  const mining::IndexLocks locks([&] {
    if (++calls == 1) throw std::bad_alloc();
  });
  const int told = in_child([&] {
    try {
      (void)locks.to_know();
    } catch (const std::bad_alloc&) {
      (void)locks.to_know();
      (void)locks.to_read();
      return calls;
    }
    return 0;
  });
  REQUIRE(told == 2);
}

TEST_CASE("an index answers in a child that is forked while others ask it", "[pair_index]") {
  const Data data = data_of(300);
  PairIndex index = built(data, 290);
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      while (!done) {
        static_cast<void>(
            index.query(part_of(data.image, 0, 1), part_of(data.text, 0, 1), 5, 0, 1));
      }
    });
  }
  int failed = 0;
  for (int round = 0; round < 50; ++round) {
    failed += in_child([&] {
      index.add(part_of(data.image, 290, 300), part_of(data.text, 290, 300), {}, 1);
      const PairMatches found = index.query(data.image.view(), data.text.view(), 5, 0, 1);
      return found.counts.size() == 300 && index.size() == 300 ? 0 : 1;
    });
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  REQUIRE(failed == 0);
  REQUIRE(index.size() == 290);
}

TEST_CASE("a child that is forked amid an addition is told", "[pair_index]") {
  const Data data = data_of(300);
  PairIndex index = built(data, 100);
  std::atomic<bool> inside{false}, forked{false};
  std::thread adds([&] {
    index.add(part_of(data.image, 100, 300), part_of(data.text, 100, 300), {}, 1,
              [&](const Progress& progress) {
                inside = progress.stage == "build";
                while (inside && !forked) std::this_thread::yield();
                return true;
              });
  });
  while (!inside) std::this_thread::yield();
  const int told = in_child([&] {
    int times = 0;
    for (int call = 0; call < 2; ++call) {
      try {
        (void)index.size();
      } catch (const Error& error) {
        times += error.code() == ErrorCode::unsupported ? 1 : 0;
      }
    }
    return times;
  });
  forked = true;
  adds.join();
  REQUIRE(told == 2);
  REQUIRE(index.size() == 300);
}
#endif

TEST_CASE("what was removed is found no more, and its id is free", "[pair_index]") {
  const Data data = data_of(1200);
  const TemporaryFolder folder;
  PairIndex index = built(data, 1000);
  std::vector<std::int64_t> gone;
  for (std::int64_t row = 0; row < 1000; row += 3) gone.push_back(row);
  index.remove(gone);
  REQUIRE(index.size() == 666);
  const auto finds_gone = [&](const PairIndex& of) {
    const PairMatches found = of.query(data.image.view(), data.text.view(), 10, 128);
    return std::any_of(found.ids.begin(), found.ids.end(),
                       [](std::int64_t id) { return id >= 0 && id < 1000 && id % 3 == 0; });
  };
  REQUIRE(!finds_gone(index));
  index.save(folder / "index");
  PairIndex opened = PairIndex::open(folder / "index");
  REQUIRE(opened.size() == 666);
  REQUIRE(!finds_gone(opened));
  expect_error(ErrorCode::invalid_argument, "id 3, number 1 of those given, is not in",
               [&] { opened.remove({1, 3}); });
  expect_error(ErrorCode::invalid_argument, "id 4 is that of row 0 and of row 1",
               [&] { opened.remove({4, 4}); });
  REQUIRE(opened.size() == 666);
  opened.remove({1});
  REQUIRE(opened.size() == 665);
  // The same pairs again, under their ids.
  std::vector<std::int64_t> again;
  for (std::int64_t row = 0; row < 1000; row += 3) {
    index.add(part_of(data.image, row, row + 1), part_of(data.text, row, row + 1), {row}, 1);
  }
  REQUIRE(index.size() == 1000);
  REQUIRE(recall(index, data, 1000, 1000, 1200, 10, 1e-6) > 0.98);
}

TEST_CASE("a third that is removed and added again is found as in a fresh index", "[pair_index]") {
  const Data data = data_of(3200);
  PairIndex index = built(data, 3000);
  const double fresh = recall(index, data, 3000, 3000, 3200, 10, 1e-6);
  const std::int64_t bytes = index.bytes();
  std::vector<std::int64_t> gone(1000);
  std::iota(gone.begin(), gone.end(), 500);
  for (int round = 0; round < 3; ++round) {
    index.remove(gone);
    index.add(part_of(data.image, 500, 1500), part_of(data.text, 500, 1500), gone);
  }
  REQUIRE(index.size() == 3000);
  REQUIRE(index.bytes() == bytes);
  REQUIRE(recall(index, data, 3000, 3000, 3200, 10, 1e-6) > fresh - 0.01);
}

TEST_CASE("pairs that are replaced are found by what they are now", "[pair_index]") {
  const Data data = data_of(1200);
  PairIndex index = built(data, 1000);
  std::vector<std::int64_t> ids(500);
  std::iota(ids.begin(), ids.end(), 0);
  // Others take the ids, and then the former ones again.
  index.replace(part_of(data.image, 500, 1000), part_of(data.text, 500, 1000), ids);
  const PairMatches found =
      index.query(part_of(data.image, 500, 1000), part_of(data.text, 500, 1000), 10, 128);
  REQUIRE(index.size() == 1000);
  REQUIRE(recall(index, data, 1000, 0, 50, 10, 1e-6) < 0.7);
  index.replace(part_of(data.image, 0, 500), part_of(data.text, 0, 500), ids);
  REQUIRE(index.size() == 1000);
  REQUIRE(recall(index, data, 1000, 1000, 1200, 10, 1e-6) > 0.98);
  expect_error(ErrorCode::invalid_argument, "id 1000, number 1 of those given, is not in", [&] {
    index.replace(part_of(data.image, 0, 2), part_of(data.text, 0, 2), {1, 1000});
  });
  REQUIRE(index.size() == 1000);
}

TEST_CASE("an addition that is stopped adds nothing", "[pair_index]") {
  const Data data = data_of(8000);
  PairIndex index = built(data, 600);
  const PairMatches before = index.query(part_of(data.image, 0, 50), part_of(data.text, 0, 50), 5);
  expect_error(ErrorCode::cancelled, "build", [&] {
    index.add(
        part_of(data.image, 600, 8000), part_of(data.text, 600, 8000), {}, 1,
        [&](const Progress& progress) { return progress.stage != "build" || !progress.done; });
  });
  REQUIRE(index.size() == 600);
  const PairMatches after = index.query(part_of(data.image, 0, 50), part_of(data.text, 0, 50), 5);
  REQUIRE(same(before, after));
  index.add(part_of(data.image, 600, 1200), part_of(data.text, 600, 1200));
  REQUIRE(index.size() == 1200);
  REQUIRE(recall(index, data, 1200, 0, 100, 10, 1e-6) > 0.98);
}
