#include "load/job_queue.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/floating_mode.h"
#include "base/refuse.h"
#include "base/thread_pool.h"

namespace helip {
namespace {

using Clock = std::chrono::steady_clock;

// How long a job may lie before the thread that waits for it begins to work on it.
constexpr std::chrono::milliseconds kGrace{10};

struct Job {
  Job(std::int64_t items_, JobQueue::Body body_) : items(items_), body(std::move(body_)) {}

  bool is_open() const noexcept { return begun < items && !failure; }
  bool is_over() const noexcept { return ended == begun && !is_open(); }

  std::int64_t items;
  JobQueue::Body body;
  std::int64_t begun = 0;
  std::int64_t ended = 0;
  std::exception_ptr failure;
};

}  // namespace

struct JobQueue::Impl final : PoolWork {
  explicit Impl(int threads)
      : pool(thread_pool()), size(threads > 0 ? threads : pool->default_threads()) {
    for (int worker = size; worker > 0; --worker) resting.push_back(worker - 1);
  }

  // The first job with an item that nobody has begun.
  Job* next() noexcept {
    for (auto at = jobs.lower_bound(first_open); at != jobs.end(); ++at) {
      first_open = at->first;
      if (at->second.is_open()) return &at->second;
    }
    return nullptr;
  }

  // One item.
  void help() noexcept override {
    std::unique_lock lock(mutex);
    Job* const job = next();
    if (job == nullptr) return;  // it failed or was dropped meanwhile
    const std::int64_t item = job->begun++;
    const int worker = resting.back();
    resting.pop_back();
    lock.unlock();
    std::exception_ptr failure;
    try {
      const DefaultFloatingMode mode;
      job->body(item, worker);  // a job outlives its items: see clear() and wait_for()
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    resting.push_back(worker);
    if (failure && !job->failure) job->failure = std::move(failure);
    ++job->ended;
    if (job->is_over()) ended.notify_all();
  }
  bool nobody_works() const noexcept { return static_cast<int>(resting.size()) == size; }

  // In a forked child nothing of this may be touched: other threads held what they held.
  bool is_elsewhere() const noexcept { return count_forks() != home; }
  void require_home() const {
    if (is_elsewhere()) {
      throw Error(ErrorCode::unsupported,
                  "reading threads do not survive a fork; iterate over the loader in the process "
                  "that began to, or make another loader in this one");
    }
  }

  const std::shared_ptr<ThreadPool> pool;
  const int size;
  const std::uint64_t home = count_forks();
  std::mutex mutex;
  std::condition_variable ended;
  std::uint64_t last = 0;
  std::uint64_t first_open = 0;       // jobs before it are begun to the last item
  std::map<std::uint64_t, Job> jobs;  // nodes stay where they are
  std::vector<int> resting;           // workers that are in no body
};

JobQueue::JobQueue(int threads) : impl_(std::make_unique<Impl>(threads)) {}

JobQueue::~JobQueue() {
  if (impl_->is_elsewhere()) {
    (void)impl_.release();
    return;
  }
  clear();
}

int JobQueue::size() const noexcept { return impl_->size; }

void JobQueue::require_home() const { impl_->require_home(); }

std::uint64_t JobQueue::submit(std::int64_t items, Body body) {
  impl_->require_home();
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->jobs.try_emplace(impl_->last + 1, items, std::move(body));
    number = ++impl_->last;
  }
  impl_->pool->offer(*impl_, items, impl_->size);
  return number;
}

bool JobQueue::wait_for(std::uint64_t number, std::chrono::milliseconds patience) {
  impl_->require_home();
  const auto deadline = Clock::now() + patience;
  std::unique_lock lock(impl_->mutex);
  const auto found = impl_->jobs.find(number);
  if (found == impl_->jobs.end()) {
    refuse("job ", number, " is not waited for: it was fetched or dropped");
  }
  Job& job = found->second;
  const auto is_over = [&] { return job.is_over(); };
  while (!impl_->ended.wait_until(lock, std::min(deadline, Clock::now() + kGrace), is_over)) {
    // Threads of the pool may be at other work for long, or may not exist.
    bool helped = true;
    while (helped && job.is_open() && impl_->nobody_works() && Clock::now() < deadline) {
      lock.unlock();
      helped = impl_->pool->help(*impl_);
      lock.lock();
    }
    if (!job.is_over() && Clock::now() >= deadline) return false;
  }
  const std::exception_ptr failure = job.failure;
  impl_->jobs.erase(found);
  if (failure) std::rethrow_exception(failure);
  return true;
}

void JobQueue::clear() {
  impl_->require_home();
  impl_->pool->withdraw(*impl_);
  impl_->pool->wait(*impl_);
  const std::lock_guard lock(impl_->mutex);
  impl_->jobs.clear();
}

}  // namespace helip
