#include "load/job_queue.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <chrono>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "helip/error.h"
#include "support/expect_error.h"

namespace {

using helip::JobQueue;
using std::chrono::milliseconds;

constexpr milliseconds kLong{60000};

TEST_CASE("every item of a job is worked on once, whatever the number of threads", "[load]") {
  for (const int threads : {1, 2, 7}) {
    JobQueue queue(threads);
    std::vector<std::atomic<int>> calls(1000);
    std::atomic<int> strangers = 0;
    const auto job = queue.submit(1000, [&](std::int64_t item, int worker) {
      if (worker < 0 || worker >= threads) ++strangers;
      calls[static_cast<std::size_t>(item)]++;
    });
    REQUIRE(queue.wait_for(job, kLong));
    REQUIRE(strangers == 0);
    for (const auto& count : calls) REQUIRE(count == 1);
  }
}

TEST_CASE("jobs are begun in their order, and fetched in any", "[load]") {
  JobQueue queue(1);
  std::vector<int> order;
  std::vector<std::uint64_t> jobs;
  for (int number = 0; number < 5; ++number) {
    jobs.push_back(
        queue.submit(2, [&order, number](std::int64_t, int) { order.push_back(number); }));
  }
  for (auto job = jobs.rbegin(); job != jobs.rend(); ++job) REQUIRE(queue.wait_for(*job, kLong));
  REQUIRE(order == std::vector<int>{0, 0, 1, 1, 2, 2, 3, 3, 4, 4});
}

TEST_CASE("a job without items is over at once", "[load]") {
  JobQueue queue(2);
  REQUIRE(queue.wait_for(queue.submit(0, [](std::int64_t, int) {}), kLong));
}

TEST_CASE("waiting for a job that is not over gives up in time", "[load]") {
  JobQueue queue(1);
  std::mutex gate;
  gate.lock();
  const auto job = queue.submit(1, [&](std::int64_t, int) { const std::lock_guard lock(gate); });
  REQUIRE_FALSE(queue.wait_for(job, milliseconds(1)));
  gate.unlock();
  REQUIRE(queue.wait_for(job, kLong));
}

TEST_CASE("what an item throws reaches who waits for its job, and no other job", "[load]") {
  JobQueue queue(2);
  const auto bad = queue.submit(100, [](std::int64_t item, int) {
    if (item == 3) throw std::runtime_error("item 3");
  });
  std::atomic<int> count = 0;
  const auto good = queue.submit(10, [&](std::int64_t, int) { ++count; });
  REQUIRE_THROWS_WITH(queue.wait_for(bad, kLong), "item 3");
  REQUIRE(queue.wait_for(good, kLong));
  REQUIRE(count == 10);
}

TEST_CASE("after clear nothing runs, and the queue can go on", "[load]") {
  JobQueue queue(2);
  std::atomic<int> running = 0, count = 0;
  for (int job = 0; job < 50; ++job) {
    queue.submit(20, [&](std::int64_t, int) {
      ++running;
      ++count;
      std::this_thread::yield();
      --running;
    });
  }
  queue.clear();
  REQUIRE(running == 0);
  const int before = count;
  const auto job = queue.submit(4, [&](std::int64_t, int) { ++count; });
  REQUIRE(queue.wait_for(job, kLong));
  REQUIRE(count == before + 4);
}

TEST_CASE("a job is fetched once", "[load]") {
  JobQueue queue(1);
  const auto job = queue.submit(1, [](std::int64_t, int) {});
  REQUIRE(queue.wait_for(job, kLong));
  expect_error(helip::ErrorCode::invalid_argument, "fetched or dropped",
               [&] { queue.wait_for(job, kLong); });
}

TEST_CASE("a queue that is left with work to do ends without it", "[load]") {
  std::atomic<int> count = 0;
  {
    JobQueue queue(2);
    for (int job = 0; job < 100; ++job) queue.submit(100, [&](std::int64_t, int) { ++count; });
  }
  REQUIRE(count <= 10000);
}

TEST_CASE("a forked child is told, and ends without waiting", "[load]") {
  auto queue = std::make_unique<JobQueue>(2);
  REQUIRE(queue->wait_for(queue->submit(4, [](std::int64_t, int) {}), kLong));
  const pid_t child = ::fork();
  if (child == 0) {
    int outcome = 0;
    try {
      queue->submit(1, [](std::int64_t, int) {});
    } catch (const helip::Error& error) {
      if (error.code() == helip::ErrorCode::unsupported) outcome += 40;
    }
    queue.reset();
    JobQueue own(1);
    if (own.wait_for(own.submit(1, [](std::int64_t, int) {}), kLong)) outcome += 2;
    ::_exit(outcome);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  REQUIRE(WEXITSTATUS(status) == 42);
}

}  // namespace
