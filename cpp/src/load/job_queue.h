// Jobs that are handed over, worked on in the background by threads of the pool, and fetched later.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

namespace helip {

// Works on jobs in the order in which they were submitted; the items of one are shared out among
// the threads. Its methods are for one thread at a time.
class JobQueue {
 public:
  using Body = std::function<void(std::int64_t item, int worker)>;

  // At most `threads` at a time; 0: see ThreadPool::default_threads().
  explicit JobQueue(int threads);
  // Drops what was not begun and waits for what was.
  ~JobQueue();
  JobQueue(const JobQueue&) = delete;
  JobQueue& operator=(const JobQueue&) = delete;

  int size() const noexcept;
  // Throws Error(unsupported) in a process that was forked since.
  void require_home() const;
  // Calls body(item, worker) for item = 0 .. items - 1, worker < size(). Returns the number of the
  // job. When it throws there is no job. Throws Error(unsupported) after a fork.
  std::uint64_t submit(std::int64_t items, Body body);
  // Whether the job has ended; waits for it so long, or as long as an item takes where no thread
  // comes and this one does the work. Throws once what its body threw, and Error(unsupported) in a
  // process that was forked meanwhile, which has none of the threads.
  bool wait_for(std::uint64_t job, std::chrono::milliseconds patience);
  // Drops every job. When it returns no body runs, and none will.
  void clear();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace helip
