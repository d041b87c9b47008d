#include "base/team.h"

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <cfenv>
#include <chrono>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "helip/error.h"
#include "support/expect_error.h"

namespace {

using helip::ErrorCode;
using helip::Progress;
using helip::ProgressCallback;
using helip::Team;

const ProgressCallback kSilent;

// Until `done`, or a minute: what never ends is a failure, not a hang.
template <typename Done>
bool comes(const Done& done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

TEST_CASE("blocks cover the range once, whatever the number of threads", "[team]") {
  for (const int threads : {1, 2, 7}) {
    Team team(threads, kSilent);
    std::vector<std::atomic<int>> calls(1003);
    std::atomic<int> strangers = 0;
    team.for_blocks(1003, 10, [&](std::int64_t begin, std::int64_t end, int worker) {
      if (worker < 0 || worker >= team.size()) ++strangers;
      for (; begin < end; ++begin) ++calls[static_cast<std::size_t>(begin)];
    });
    REQUIRE(strangers == 0);
    for (const auto& count : calls) REQUIRE(count == 1);
  }
}

TEST_CASE("the calling thread works, and as many beside it as were asked for", "[team]") {
  Team team(3, kSilent);
  std::atomic<int> inside = 0;
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::set<int> workers;
  std::atomic<bool> met = true;
  team.run([&](int worker) {
    ++inside;
    if (!comes([&] { return inside == 3; })) met = false;
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
    workers.insert(worker);
  });
  REQUIRE(met);
  REQUIRE(threads.size() == 3);
  REQUIRE(threads.count(std::this_thread::get_id()) == 1);
  REQUIRE(workers == std::set<int>{0, 1, 2});
}

TEST_CASE("a team within a team ends", "[team]") {
  std::atomic<int> sum = 0;
  Team outer(4, kSilent);
  outer.for_blocks(16, 1, [&](std::int64_t, std::int64_t, int) {
    Team inner(4, kSilent);
    inner.for_blocks(16, 1, [&](std::int64_t, std::int64_t, int) { ++sum; });
  });
  REQUIRE(sum == 256);
}

TEST_CASE("many threads may each run a team at the same time", "[team]") {
  std::atomic<int> sum = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        Team team(3, kSilent);
        team.for_blocks(20, 1, [&](std::int64_t, std::int64_t, int) { ++sum; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  REQUIRE(sum == 4 * 50 * 20);
}

TEST_CASE("what a worker throws first is thrown, and the others stop", "[team]") {
  for (const int threads : {1, 3}) {
    Team team(threads, kSilent);
    std::atomic<int> done = 0;
    REQUIRE_THROWS_WITH(team.for_blocks(1000000, 1,
                                        [&](std::int64_t begin, std::int64_t, int) {
                                          if (begin == 100) throw std::runtime_error("block 100");
                                          ++done;
                                        }),
                        "block 100");
    REQUIRE(done < 1000000);
    team.for_blocks(10, 1, [&](std::int64_t, std::int64_t, int) {});  // and it can go on
  }
}

TEST_CASE("a failed allocation of a helper is out_of_memory for the caller", "[team]") {
  Team team(2, kSilent);
  std::atomic<bool> failed = false;
  expect_error(ErrorCode::out_of_memory, "while mining", [&] {
    team.run([&](int worker) {
      if (worker == 1) {
        failed = true;
        throw std::bad_alloc();
      }
      (void)comes([&] { return failed.load(); });
    });
  });
  REQUIRE(failed);
}

TEST_CASE("progress is asked on the calling thread while it works", "[team]") {
  for (const int threads : {1, 2}) {
    std::atomic<int> calls = 0;
    bool elsewhere = false;
    const auto home = std::this_thread::get_id();
    const ProgressCallback progress = [&](const Progress& state) {
      elsewhere = elsewhere || std::this_thread::get_id() != home;
      if (state.stage == "wait") ++calls;
      return true;
    };
    Team team(threads, progress);
    team.begin_stage("wait", 10, 10);
    std::atomic<bool> all = true;
    team.run([&](int) {
      if (!comes([&] { return team.stopped() || calls >= 3; })) all = false;
    });
    REQUIRE(all);
    REQUIRE_FALSE(elsewhere);
  }
}

TEST_CASE("progress is asked while the caller has no work left", "[team]") {
  std::atomic<int> calls = 0;
  const ProgressCallback progress = [&](const Progress&) {
    ++calls;
    return true;
  };
  Team team(2, progress);
  std::atomic<int> inside = 0;
  std::atomic<bool> all = true;
  team.run([&](int worker) {
    ++inside;
    if (!comes([&] { return inside == 2; })) all = false;
    if (worker == 1 && !comes([&] { return calls >= 2; })) all = false;
  });
  REQUIRE(all);
}

TEST_CASE("a callback that says stop cancels, and one that throws is heard", "[team]") {
  for (const int threads : {1, 3}) {
    for (const bool throws : {false, true}) {
      bool begun = false;
      const ProgressCallback progress = [&](const Progress&) {
        if (!begun) return true;
        if (throws) throw std::runtime_error("enough");
        return false;
      };
      Team team(threads, progress, {.activity = "indexing", .unit = "byte"});
      team.begin_stage("index", 50, 100);
      team.add_work(20);
      begun = true;
      const auto run = [&] { team.run([&](int) { (void)comes([&] { return team.stopped(); }); }); };
      if (throws) {
        REQUIRE_THROWS_WITH(run(), "enough");
      } else {
        expect_error(ErrorCode::cancelled, "indexing was stopped in stage 'index' at byte 10 of 50",
                     run);
      }
    }
  }
}

TEST_CASE("all workers round to nearest, and the caller as before after that", "[team]") {
  const int before = std::fegetround();
  for (const int mode : {FE_UPWARD, FE_TONEAREST}) {
    REQUIRE(std::fesetround(mode) == 0);
    std::atomic<int> inside = 0, others = 0;
    Team team(2, kSilent);
    team.run([&](int) {
      if (std::fegetround() != FE_TONEAREST) ++others;
      ++inside;
      (void)comes([&] { return inside == 2; });
    });
    const int after = std::fegetround();
    std::fesetround(before);
    REQUIRE(inside == 2);
    REQUIRE(others == 0);
    REQUIRE(after == mode);
  }
}

}  // namespace
