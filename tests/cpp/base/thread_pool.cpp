#include "base/thread_pool.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/team.h"
#include "load/job_queue.h"
#include "support/child_process.h"
#include "support/sanitizers.h"

#if defined(HELIP_THREAD_SANITIZER)
// Children that make threads are what is tested.
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_options() {
  return "die_after_fork=0";
}
#endif

namespace {

using helip::Executor;
using helip::JobQueue;
using helip::PoolWork;
using helip::ProgressCallback;
using helip::Team;
using helip::ThreadPool;
using helip::testing::in_child;
using std::chrono::milliseconds;

const ProgressCallback kSilent;
constexpr milliseconds kLong{60000};

template <typename Done>
bool comes(const Done& done) {
  const auto deadline = std::chrono::steady_clock::now() + kLong;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

class Counted final : public PoolWork {
 public:
  explicit Counted(std::function<void()> body = {}) : body_(std::move(body)) {}
  std::atomic<int> calls = 0;

 private:
  void help() noexcept override {
    if (body_) body_();
    ++calls;
  }
  std::function<void()> body_;
};

#if defined(__linux__)
std::ptrdiff_t threads_of_process() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return std::distance(begin(tasks), end(tasks));
}

// Every worker in the team at once.
bool fills(int threads) {
  std::atomic<int> inside = 0;
  std::atomic<bool> met = true;
  Team team(threads, kSilent);
  team.run([&](int) {
    ++inside;
    if (!comes([&] { return inside == threads; })) met = false;
  });
  return met;
}

// The thread sanitizer starts a thread of its own.
#if !defined(HELIP_THREAD_SANITIZER)
TEST_CASE("threads are kept between calls, and as many as the widest call needs", "[pool]") {
  const int outcome = in_child([] {
    const auto before = threads_of_process();
    if (!fills(1) || threads_of_process() != before) return 1;
    if (!fills(3) || threads_of_process() != before + 2) return 2;
    for (int call = 0; call < 20; ++call) {
      if (!fills(call % 3 + 1)) return 3;
    }
    if (threads_of_process() != before + 2) return 4;
    JobQueue queue(2);
    for (int job = 0; job < 20; ++job) {
      if (!queue.wait_for(queue.submit(50, [](std::int64_t, int) {}), kLong)) return 5;
    }
    if (threads_of_process() != before + 2) return 6;
    if (!fills(5) || threads_of_process() != before + 4) return 7;
    return 0;
  });
  REQUIRE(outcome == 0);
}
#endif

// The address sanitizer's own locks do not survive such forks, and what threads of the parent held
// is a leak to it.
#if !defined(HELIP_ADDRESS_SANITIZER)
TEST_CASE("a child that was forked from threads at work has a pool of its own", "[pool]") {
  REQUIRE(fills(2));
  std::atomic<bool> stop = false;
  std::vector<std::thread> busy;
  for (int i = 0; i < 2; ++i) {
    busy.emplace_back([&] {
      while (!stop) {
        Team team(3, kSilent);
        team.for_blocks(10, 1, [](std::int64_t, std::int64_t, int) {});
      }
    });
  }
  int failed = 0;
  for (int round = 0; round < 20; ++round) {
    failed += in_child([] { return fills(2) && fills(3) ? 0 : 1; });
  }
  stop = true;
  for (std::thread& thread : busy) thread.join();
  REQUIRE(failed == 0);
}

TEST_CASE("a process ends while jobs lie in a queue that nobody takes down", "[pool]") {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    static auto* const queue = new JobQueue(2);
    std::atomic<bool> begun = false;
    queue->submit(1000000, [&](std::int64_t, int) { begun = true; });
    (void)comes([&] { return begun.load(); });
    std::exit(7);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  REQUIRE(WEXITSTATUS(status) == 7);
}
#endif
#endif

TEST_CASE("no more calls at a time than were asked for", "[pool]") {
  ThreadPool pool;
  std::atomic<int> inside = 0, most = 0;
  Counted wide([&] {
    ++inside;
    (void)comes([&] { return inside >= 4; });
  });
  pool.offer(wide, 4, 4);  // so that there are four threads
  REQUIRE(comes([&] { return wide.calls == 4; }));
  pool.wait(wide);
  inside = 0;
  Counted narrow([&] {
    const int now = ++inside;
    int seen = most;
    while (now > seen && !most.compare_exchange_weak(seen, now)) {
    }
    std::this_thread::yield();
    --inside;
  });
  pool.offer(narrow, 500, 2);
  REQUIRE(comes([&] { return narrow.calls == 500; }));
  pool.wait(narrow);
  REQUIRE(most <= 2);
}

TEST_CASE("what was withdrawn is not begun any more", "[pool]") {
  ThreadPool pool;
  std::atomic<bool> begun = false, go_on = false;
  Counted first([&] {
    begun = true;
    (void)comes([&] { return go_on.load(); });
  });
  Counted second;
  pool.offer(first, 1, 1);
  pool.offer(second, 1000000, 1);
  pool.withdraw(second);
  pool.wait(second);
  const int calls = second.calls;
  const bool came = comes([&] { return begun.load(); });
  const bool left = pool.wait_for(first, milliseconds(1));
  go_on = true;
  pool.wait(first);
  REQUIRE(came);
  REQUIRE_FALSE(left);
  REQUIRE(first.calls == 1);
  REQUIRE(second.calls == calls);
}

TEST_CASE("works that are offered together take turns", "[pool]") {
  int started = 0;
  std::function<void()> serve;
  ThreadPool pool([&](std::function<void()> run) {
    if (started++ > 0) throw std::bad_alloc();
    serve = std::move(run);
  });
  std::vector<int> order;
  Counted a([&] { order.push_back(0); }), b([&] { order.push_back(1); });
  pool.offer(a, 3, 1);
  pool.offer(b, 3, 1);
  std::thread thread(serve);
  pool.wait(a);
  REQUIRE(comes([&] { return a.calls == 3 && b.calls == 3; }));
  pool.wait(a);
  pool.wait(b);
  serve = {};
  REQUIRE(order == std::vector<int>{0, 1, 0, 1, 0, 1});
  thread.detach();
}

TEST_CASE("without threads the pool says so once, and callers help themselves", "[pool]") {
  const auto no_thread = [](int which) {
    if (which == 0) throw std::system_error(EAGAIN, std::generic_category());
    throw std::bad_alloc();
  };
  for (const int which : {0, 1}) {
    ThreadPool pool([&](const std::function<void()>&) { no_thread(which); });
    REQUIRE_FALSE(pool.take_notice());
    Counted work;
    pool.offer(work, 3, 3);
    const auto notice = pool.take_notice();
    REQUIRE(notice);
    INFO(*notice);
    REQUIRE(notice->find("only 0 of 3 threads") != std::string::npos);
    while (pool.help(work)) {
    }
    REQUIRE(work.calls == 3);
    pool.offer(work, 3, 3);
    REQUIRE_FALSE(pool.take_notice());
    pool.withdraw(work);
    REQUIRE_FALSE(pool.help(work));
  }
}

// Keeps tasks until somebody runs them; refuses after `most`.
class Waiting final : public Executor {
 public:
  explicit Waiting(int threads) : threads_(threads) {}
  int threads() const noexcept override { return threads_; }
  void submit(std::function<void()> task) override {
    if (refuses) throw std::runtime_error("no");
    const std::lock_guard lock(mutex);
    tasks.push_back(std::move(task));
  }
  bool run_one() {
    std::function<void()> task;
    {
      const std::lock_guard lock(mutex);
      if (tasks.empty()) return false;
      task = std::move(tasks.front());
      tasks.pop_front();
    }
    task();
    return true;
  }

  std::mutex mutex;
  std::deque<std::function<void()>> tasks;
  std::atomic<bool> refuses = false;

 private:
  const int threads_;
};

class AtOnce final : public Executor {
 public:
  int threads() const noexcept override { return 4; }
  void submit(std::function<void()> task) override { task(); }
};

// The executor of the process while it lives.
struct Given {
  explicit Given(std::shared_ptr<Executor> executor) { helip::set_executor(std::move(executor)); }
  ~Given() { helip::set_executor(nullptr); }
};

TEST_CASE("an executor is given no more tasks than it has threads", "[pool]") {
  const auto executor = std::make_shared<Waiting>(2);
  ThreadPool pool(executor);
  REQUIRE(pool.default_threads() == 2);
  Counted work;
  pool.offer(work, 100, 8);
  REQUIRE(executor->tasks.size() == 2);
  pool.offer(work, 100, 8);
  REQUIRE(executor->tasks.size() == 2);
  REQUIRE(executor->run_one());  // takes all that there is and ends
  REQUIRE(work.calls == 200);
  REQUIRE(executor->run_one());
  REQUIRE(executor->tasks.empty());
  pool.offer(work, 1, 8);
  REQUIRE(executor->tasks.size() == 1);
  pool.withdraw(work);
  REQUIRE(executor->run_one());  // comes too late
  REQUIRE(work.calls == 200);
}

TEST_CASE("with an executor the core makes no thread, and ends if no task is ever run", "[pool]") {
  const auto executor = std::make_shared<Waiting>(3);
  const Given given(executor);
#if defined(__linux__)
  const auto before = threads_of_process();
#endif
  std::atomic<int> sum = 0;
  Team team(0, kSilent);
  REQUIRE(team.size() == 3);
  team.for_blocks(10, 1, [&](std::int64_t, std::int64_t, int) { ++sum; });
  REQUIRE(sum == 10);
  JobQueue queue(3);
  REQUIRE(queue.wait_for(queue.submit(7, [&](std::int64_t, int) { ++sum; }), kLong));
  REQUIRE(sum == 17);
#if defined(__linux__)
  REQUIRE(threads_of_process() <= before);  // those of the pool before may end
#endif
  while (executor->run_one()) {
  }
}

TEST_CASE("an executor may run tasks at once, and may refuse", "[pool]") {
  std::atomic<int> sum = 0;
  const auto add = [&](std::int64_t, std::int64_t, int) { ++sum; };
  {
    const Given given(std::make_shared<AtOnce>());
    Team team(3, kSilent);
    team.for_blocks(10, 1, add);
    JobQueue queue(2);
    const auto job = queue.submit(10, [&](std::int64_t, int) { ++sum; });
    REQUIRE(sum == 20);
    REQUIRE(queue.wait_for(job, milliseconds(0)));
  }
  const auto executor = std::make_shared<Waiting>(3);
  executor->refuses = true;
  const Given given(executor);
  Team team(3, kSilent);
  team.for_blocks(10, 1, add);
  REQUIRE(sum == 30);
  JobQueue queue(2);
  REQUIRE(queue.wait_for(queue.submit(10, [&](std::int64_t, int) { ++sum; }), kLong));
  REQUIRE(sum == 40);
  REQUIRE(helip::take_thread_notice());
  REQUIRE_FALSE(helip::take_thread_notice());
}

TEST_CASE("threads of an executor help", "[pool]") {
  class Threads final : public Executor {
   public:
    int threads() const noexcept override { return 2; }
    void submit(std::function<void()> task) override { std::thread(std::move(task)).detach(); }
  };
  const Given given(std::make_shared<Threads>());
  std::atomic<int> inside = 0;
  std::atomic<bool> met = true;
  Team team(3, kSilent);
  team.run([&](int) {
    ++inside;
    if (!comes([&] { return inside == 3; })) met = false;
  });
  REQUIRE(met);
}

}  // namespace
