// Worker threads of one mining job. The calling thread does none of the work: it waits, reports
// progress, and passes on the first exception of a worker.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "helip/progress.h"

namespace helip::mining {

class Team {
 public:
  // `threads` 0 takes one for each processor.
  Team(int threads, const ProgressCallback& progress);

  int size() const noexcept { return threads_; }

  // Starts a stage of `rows` rows whose cost is `work` units, spread evenly over the rows, of which
  // `done` are done.
  void begin_stage(const std::string& name, std::int64_t rows, std::int64_t work,
                   std::int64_t done = 0);
  void end_stage();
  void add_work(std::int64_t units) noexcept {
    work_done_.fetch_add(units, std::memory_order_relaxed);
  }

  // Calls body(worker) for worker = 0 .. size() - 1 on as many threads and waits for all. Throws
  // Error(cancelled) when the callback says stop, and what a worker threw (bad_alloc becomes
  // out_of_memory).
  void run(const std::function<void(int)>& body);
  // Calls body(begin, end, worker) for blocks of `grain` that cover [0, count).
  void for_blocks(std::int64_t count, std::int64_t grain,
                  const std::function<void(std::int64_t, std::int64_t, int)>& body);

  // Workers return early, in whatever state, once this is true.
  bool stopped() const noexcept { return stop_.load(std::memory_order_relaxed); }
  // Asks the callback, as run() does now and then: for those who call it for short whiles only.
  void report();

 private:
  const int threads_;
  const ProgressCallback& progress_;
  std::string stage_;
  std::int64_t stage_rows_ = 0;
  std::int64_t stage_work_ = 0;
  std::atomic<std::int64_t> work_done_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace helip::mining
