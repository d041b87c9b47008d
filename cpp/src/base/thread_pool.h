// Threads that are kept between calls, or lent by the program (helip/executor.h).
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "helip/executor.h"
#include "helip/export.h"

namespace helip {

// Work that threads of a pool help with. It must be withdrawn and waited for before it ends.
class HELIP_FOR_DATA PoolWork {
 public:
  PoolWork(const PoolWork&) = delete;
  PoolWork& operator=(const PoolWork&) = delete;

 protected:
  PoolWork() = default;
  ~PoolWork() = default;

 private:
  friend class ThreadPool;
  virtual void help() noexcept = 0;

  // Under the lock of the pool.
  std::int64_t offered_ = 0;  // calls of help() that nobody has begun
  int most_ = 0;              // of them at a time
  int helping_ = 0;
  bool listed_ = false;
  PoolWork* before_ = nullptr;
  PoolWork* after_ = nullptr;
  std::condition_variable left_;
};

// Whoever needs a result works itself and takes what help comes, so nothing waits for a thread of
// the pool to be free. Thread-safe.
class HELIP_FOR_DATA ThreadPool {
 public:
  // Runs a function on a new thread. Throws where there is none.
  using StartThread = std::function<void(std::function<void()>)>;
  static void start_thread(std::function<void()> run);

  // Threads are started when work is offered that no idle one can take: as many as one work asked
  // for, or, where several are offered at a time, as many as there are processors.
  explicit ThreadPool(StartThread start = &ThreadPool::start_thread);
  explicit ThreadPool(std::shared_ptr<Executor> executor);
  // Its threads end by themselves.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // What `threads` 0 means.
  int default_threads() const noexcept;

  // Asks for `calls` more calls of work.help(), at most `most` at a time. Works that are offered
  // at the same time take turns. Never fails: see take_notice().
  void offer(PoolWork& work, std::int64_t calls, int most) noexcept;
  // Makes one of the calls on this thread, if one is left that may begin now.
  bool help(PoolWork& work) noexcept;
  // Drops the calls that nobody has begun.
  void withdraw(PoolWork& work) noexcept;
  // Waits until nobody is in help(); wait_for() so long, and tells.
  void wait(PoolWork& work) noexcept;
  bool wait_for(PoolWork& work, std::chrono::milliseconds patience) noexcept;

  // See take_thread_notice().
  std::optional<std::string> take_notice();

 private:
  struct State;
  std::shared_ptr<State> state_;  // its threads hold it as well
};

// That of the process: the core's own or one over the executor that was set.
HELIP_FOR_DATA std::shared_ptr<ThreadPool> thread_pool();

// Another number in a forked child. Objects that threads of the pool may be in must not be touched
// there: nobody will leave them.
HELIP_FOR_DATA std::uint64_t count_forks() noexcept;

}  // namespace helip
