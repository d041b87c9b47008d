// Threads that stay: jobs are handed to them and fetched later.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

namespace helip::load {

// Works on jobs in the order in which they were submitted; the items of one are shared out among
// all threads. Its methods are for one thread at a time.
class BackgroundTeam {
 public:
  using Body = std::function<void(std::int64_t item, int worker)>;

  // `threads` 0 takes one for each processor. They are started with the first job.
  explicit BackgroundTeam(int threads);
  // Drops what was not begun and waits for what was.
  ~BackgroundTeam();
  BackgroundTeam(const BackgroundTeam&) = delete;
  BackgroundTeam& operator=(const BackgroundTeam&) = delete;

  int size() const noexcept;
  // Calls body(item, worker) for item = 0 .. items - 1. Returns the number of the job.
  // Throws Error: out_of_memory (no thread can be started), unsupported (after a fork).
  std::uint64_t submit(std::int64_t items, Body body);
  // Whether the job has ended; waits for it so long. Throws once what its body threw, and
  // unsupported in a process that was forked meanwhile, which has none of the threads.
  bool wait_for(std::uint64_t job, std::chrono::milliseconds patience);
  // Drops every job. When it returns no body runs, and none will.
  void clear();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace helip::load
