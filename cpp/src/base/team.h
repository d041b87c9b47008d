// The threads of the pool that work on one job, its calling thread among them. That one also
// reports progress, and passes on the first exception.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "helip/export.h"
#include "helip/progress.h"

namespace helip {

// How errors name the job and what its stages count.
struct TeamWords {
  const char* activity = "mining";
  const char* unit = "row";
};

class HELIP_FOR_DATA Team {
 public:
  // `threads` 0: see ThreadPool::default_threads(). The callback must outlive this.
  Team(int threads, const ProgressCallback& progress, TeamWords words = {});
  Team(int threads, ProgressCallback&& progress, TeamWords words = {}) = delete;

  int size() const noexcept { return threads_; }

  // Starts a stage of `rows` rows whose cost is `work` units, spread evenly over the rows, of which
  // `done` are done.
  void begin_stage(const std::string& name, std::int64_t rows, std::int64_t work,
                   std::int64_t done = 0);
  void end_stage();
  void add_work(std::int64_t units) noexcept {
    work_done_.fetch_add(units, std::memory_order_relaxed);
  }

  // Calls body(0) here, and body(worker) for other workers below size() on as many threads as come
  // to help before it returns; each call takes what is left to do, until nothing is. Waits for all.
  // Throws Error(cancelled) when the callback says stop, and what a worker threw (bad_alloc becomes
  // out_of_memory).
  void run(const std::function<void(int)>& body) { run(body, threads_); }
  // Calls body(begin, end, worker) for blocks of `grain` that cover [0, count).
  void for_blocks(std::int64_t count, std::int64_t grain,
                  const std::function<void(std::int64_t, std::int64_t, int)>& body);

  // Workers return early, in whatever state, once this is true. On the calling thread this asks
  // the callback as well, when it is due.
  bool stopped() noexcept {
    if (stop_.load(std::memory_order_relaxed)) return true;
    if (!progress_ || std::this_thread::get_id() != caller_) return false;
    report_if_due();
    return stop_.load(std::memory_order_relaxed);
  }
  // Asks the callback now.
  void report();

 private:
  class Call;

  void run(const std::function<void(int)>& body, int workers);
  void report_if_due() noexcept;
  void fail(std::exception_ptr error) noexcept;

  const int threads_;
  const ProgressCallback& progress_;
  const TeamWords words_;
  std::string stage_;
  std::int64_t stage_rows_ = 0;
  std::int64_t stage_work_ = 1;
  std::atomic<std::int64_t> work_done_{0};

  std::thread::id caller_;  // while it runs
  std::chrono::steady_clock::time_point due_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::exception_ptr failure_;
};

}  // namespace helip
