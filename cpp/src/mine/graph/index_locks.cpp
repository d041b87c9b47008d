#include "mine/graph/index_locks.h"

#include <memory>
#include <utility>

#include "base/thread_pool.h"
#include "helip/error.h"

namespace helip::mining {

// Of one process.
struct IndexLocks::Locks {
  const std::uint64_t forks = count_forks();
  std::mutex writer, known;
  // New readers do not overtake who waits at the gate: shared_mutex makes no promise.
  std::mutex gate;
  std::shared_mutex mutex;
  std::mutex renewing;
  std::atomic<bool> ready = false;
  Locks* parent = nullptr;
};

IndexLocks::IndexLocks(std::function<void()> renew) : renew_(std::move(renew)), locks_(new Locks) {
  locks_.load()->ready = true;
}

IndexLocks::~IndexLocks() {
  for (Locks* each = locks_; each != nullptr;) {
    Locks* const parent = each->parent;
    // Those of a process before this one may be half changed; they are left alone.
    if (each->forks == count_forks()) delete each;
    each = parent;
  }
}

IndexLocks::Locks& IndexLocks::own() const {
  Locks* current = locks_.load();
  if (current->forks != count_forks()) {
    if (writing_) {
      throw Error(ErrorCode::unsupported,
                  "the process was forked while another thread changed this index, so it is half "
                  "changed here; open or build it again in this process");
    }
    auto made = std::make_unique<Locks>();
    made->parent = current;
    if (locks_.compare_exchange_strong(current, made.get())) {
      current = made.release();
    }  // else another thread was first, and its locks are `current`
  }
  if (!current->ready) {
    const std::lock_guard turn(current->renewing);
    if (!current->ready) renew_();  // where it throws, the next call tries again
    current->ready = true;
  }
  return *current;
}

std::shared_lock<std::shared_mutex> IndexLocks::to_read() const {
  Locks& locks = own();
  const std::lock_guard turn(locks.gate);
  return std::shared_lock(locks.mutex);
}

std::unique_lock<std::shared_mutex> IndexLocks::to_move() const {
  Locks& locks = own();
  const std::lock_guard turn(locks.gate);
  return std::unique_lock(locks.mutex);
}

std::unique_lock<std::mutex> IndexLocks::to_know() const { return std::unique_lock(own().known); }

std::unique_lock<std::mutex> IndexLocks::to_save() const { return std::unique_lock(own().writer); }

}  // namespace helip::mining
