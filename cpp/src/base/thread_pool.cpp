#include "base/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

#include "helip/machine.h"

namespace helip {
namespace {

// Once the process is at its end, nothing new is begun on threads beside the one that ends it.
std::atomic<bool> at_exit{false};

}  // namespace

struct ThreadPool::State : std::enable_shared_from_this<ThreadPool::State> {
  State(std::shared_ptr<Executor> executor_, StartThread start_)
      : executor(std::move(executor_)), start(std::move(start_)) {}

  // As many as `threads_` run serve() or will.
  void serve(bool stay) {
    std::unique_lock lock(mutex);
    for (;;) {
      PoolWork* work = take();
      if (work == nullptr && (!stay || ending)) break;
      if (work == nullptr) {
        wake.wait(lock);
        continue;
      }
      --idle;
      lock.unlock();
      work->help();
      lock.lock();
      ++idle;
      leave(*work);
    }
    --idle;
    --threads;
  }

  bool may_begin(const PoolWork& work) const noexcept {
    return work.offered_ > 0 && work.helping_ < work.most_;
  }
  // Begins a call of the first work that has one.
  PoolWork* take() noexcept {
    if (at_exit) return nullptr;
    for (PoolWork* work = first; work != nullptr; work = work->after_) {
      if (!may_begin(*work)) continue;
      begin(*work);
      return work;
    }
    return nullptr;
  }
  void begin(PoolWork& work) noexcept {
    --work.offered_;
    ++work.helping_;
    unlist(work);
    if (work.offered_ > 0) list(work);  // behind the others
  }
  // The work may end as soon as the lock is free.
  void leave(PoolWork& work) noexcept {
    if (--work.helping_ == 0) work.left_.notify_all();
  }

  void list(PoolWork& work) noexcept {
    work.before_ = last;
    work.after_ = nullptr;
    (last != nullptr ? last->after_ : first) = &work;
    last = &work;
    work.listed_ = true;
  }
  void unlist(PoolWork& work) noexcept {
    if (!work.listed_) return;
    (work.before_ != nullptr ? work.before_->after_ : first) = work.after_;
    (work.after_ != nullptr ? work.after_->before_ : last) = work.before_;
    work.listed_ = false;
  }

  // Calls that may begin now.
  std::int64_t open() const noexcept {
    std::int64_t sum = 0;
    for (const PoolWork* work = first; work != nullptr; work = work->after_) {
      if (may_begin(*work)) {
        sum += std::min<std::int64_t>(work->offered_, work->most_ - work->helping_);
      }
    }
    return sum;
  }
  int most_threads() const noexcept {
    return executor ? executor->threads() : std::max(most, this_machine().processors);
  }

  // Wakes and starts threads for what is open. Not under the lock.
  void call_threads() noexcept {
    int waking = 0, missing = 0;
    {
      const std::lock_guard lock(mutex);
      const std::int64_t wanted = open();
      waking = static_cast<int>(std::min<std::int64_t>(wanted, idle));
      if (wanted > idle) {
        missing = static_cast<int>(
            std::min<std::int64_t>(wanted - idle, std::max(0, most_threads() - threads)));
      }
      threads += missing;
      idle += missing;
    }
    for (; waking > 0; --waking) wake.notify_one();
    for (; missing > 0; --missing) {
      int failed = 0;
      try {
        if (executor) {
          executor->submit([self = shared_from_this()] { self->serve(false); });
        } else {
          start([self = shared_from_this()] { self->serve(true); });
        }
        continue;
      } catch (const std::system_error& error) {
        failed = error.code().value();
      } catch (const std::bad_alloc&) {
        failed = ENOMEM;
      } catch (...) {
      }
      const std::lock_guard lock(mutex);
      threads -= missing;
      idle -= missing;
      if (!short_of_threads) {
        short_of_threads = true;
        short_threads = threads;
        short_wanted = threads + missing;
        short_errno = failed;
      }
      return;
    }
  }

  const std::shared_ptr<Executor> executor;  // null: threads of its own
  const StartThread start;

  std::mutex mutex;
  std::condition_variable wake;
  PoolWork* first = nullptr;
  PoolWork* last = nullptr;
  int most = 0;     // that one work asked for
  int threads = 0;  // in serve(), or started and on their way to it
  int idle = 0;     // those of them that are in no work
  bool ending = false;
  // The first time that a thread could not be started.
  bool short_of_threads = false, told = false;
  int short_threads = 0, short_wanted = 0, short_errno = 0;
};

ThreadPool::ThreadPool(StartThread start)
    : state_(std::make_shared<State>(nullptr, std::move(start))) {}
ThreadPool::ThreadPool(std::shared_ptr<Executor> executor)
    : state_(std::make_shared<State>(std::move(executor), nullptr)) {}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->ending = true;
  }
  state_->wake.notify_all();
}

void ThreadPool::start_thread(std::function<void()> run) { std::thread(std::move(run)).detach(); }

int ThreadPool::default_threads() const noexcept {
  return std::max(1, state_->executor ? state_->executor->threads() : this_machine().processors);
}

void ThreadPool::offer(PoolWork& work, std::int64_t calls, int most) noexcept {
  if (calls <= 0 || most <= 0) return;
  {
    const std::lock_guard lock(state_->mutex);
    work.offered_ += calls;
    work.most_ = most;
    if (!work.listed_) state_->list(work);
    state_->most = std::max(state_->most, most);
  }
  state_->call_threads();
}

bool ThreadPool::help(PoolWork& work) noexcept {
  {
    const std::lock_guard lock(state_->mutex);
    if (!state_->may_begin(work)) return false;
    state_->begin(work);
  }
  work.help();
  bool more = false;
  {
    const std::lock_guard lock(state_->mutex);
    more = work.offered_ > 0;
    state_->leave(work);
  }
  if (more) state_->call_threads();  // none came while as many as may were in this work
  return true;
}

void ThreadPool::withdraw(PoolWork& work) noexcept {
  const std::lock_guard lock(state_->mutex);
  state_->unlist(work);
  work.offered_ = 0;
}

void ThreadPool::wait(PoolWork& work) noexcept {
  std::unique_lock lock(state_->mutex);
  work.left_.wait(lock, [&] { return work.helping_ == 0; });
}

bool ThreadPool::wait_for(PoolWork& work, std::chrono::milliseconds patience) noexcept {
  std::unique_lock lock(state_->mutex);
  return work.left_.wait_for(lock, patience, [&] { return work.helping_ == 0; });
}

std::optional<std::string> ThreadPool::take_notice() {
  int threads = 0, wanted = 0, code = 0;
  {
    const std::lock_guard lock(state_->mutex);
    if (!state_->short_of_threads || state_->told) return std::nullopt;
    state_->told = true;
    threads = state_->short_threads;
    wanted = state_->short_wanted;
    code = state_->short_errno;
  }
  std::string reason = state_->executor ? "the executor took no more tasks" : "the system refused";
  if (code != 0) reason += std::string(": ") + std::strerror(code);
  return "only " + std::to_string(threads) + " of " + std::to_string(wanted) +
         " threads could be started beside the calling one (" + reason +
         "); the results are the same, but take longer. Raise the limit on processes or on memory, "
         "or lower the number of threads";
}

namespace {

// What belongs to the process. Never destroyed: threads may be in it until the very end.
struct Process {
  std::mutex mutex;
  std::shared_ptr<ThreadPool>* pool = nullptr;
  std::atomic<std::uint64_t> forks{0};
};

Process& process() noexcept {
  static Process* const process = [] {
    alignas(Process) static std::byte place[sizeof(Process)];  // so that nothing can fail here
    static Process* const made = new (place) Process();
    ::pthread_atfork([] { made->mutex.lock(); }, [] { made->mutex.unlock(); },
                     [] {
                       // Neither the pool nor an executor has its threads here, and who can say
                       // what they held: the child leaves them alone.
                       made->pool = nullptr;
                       made->forks.fetch_add(1);
                       made->mutex.unlock();
                     });
    std::atexit([] { at_exit = true; });
    return made;
  }();
  return *process;
}

}  // namespace

std::shared_ptr<ThreadPool> thread_pool() {
  Process& own = process();
  const std::lock_guard lock(own.mutex);
  if (own.pool == nullptr) {
    own.pool = new std::shared_ptr<ThreadPool>(std::make_shared<ThreadPool>());
  }
  return *own.pool;
}

std::uint64_t count_forks() noexcept { return process().forks.load(); }

Executor::~Executor() = default;

void set_executor(std::shared_ptr<Executor> executor) {
  auto pool = std::make_unique<std::shared_ptr<ThreadPool>>(
      executor ? std::make_shared<ThreadPool>(std::move(executor))
               : std::make_shared<ThreadPool>());
  std::unique_ptr<std::shared_ptr<ThreadPool>> before;  // ends after the lock
  Process& own = process();
  const std::lock_guard lock(own.mutex);
  before.reset(std::exchange(own.pool, pool.release()));
}

std::optional<std::string> take_thread_notice() {
  std::shared_ptr<ThreadPool> pool;
  {
    const std::lock_guard lock(process().mutex);
    if (process().pool == nullptr) return std::nullopt;
    pool = *process().pool;
  }
  return pool->take_notice();
}

}  // namespace helip
