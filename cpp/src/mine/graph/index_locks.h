// What threads of an index wait for each other by.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <shared_mutex>

namespace helip::mining {

// A forked child has locks of its own: who holds those of its parent is not in it. Each call throws
// Error(unsupported) where the fork came while a thread of the parent wrote.
class IndexLocks {
 public:
  // `renew` is called in a child before any of its threads gets a lock, until it returns once.
  explicit IndexLocks(std::function<void()> renew);
  ~IndexLocks();
  IndexLocks(const IndexLocks&) = delete;
  IndexLocks& operator=(const IndexLocks&) = delete;

  // By who looks at the pairs: what they are may change meanwhile, not where they lie.
  std::shared_lock<std::shared_mutex> to_read() const;
  // By a writer, for a short time: nobody looks.
  std::unique_lock<std::shared_mutex> to_move() const;
  // By who looks up which row has an id, or changes that: for a short time.
  std::unique_lock<std::mutex> to_know() const;
  // One thread at a time writes or saves.
  std::unique_lock<std::mutex> to_save() const;
  class Writing {
   public:
    explicit Writing(IndexLocks& locks) : lock_(locks.to_save()), now_(locks.writing_) {
      now_ = true;
    }
    ~Writing() { now_ = false; }
    Writing(const Writing&) = delete;
    Writing& operator=(const Writing&) = delete;

   private:
    const std::unique_lock<std::mutex> lock_;
    std::atomic<bool>& now_;
  };

 private:
  struct Locks;
  Locks& own() const;

  const std::function<void()> renew_;
  std::atomic<bool> writing_ = false;
  mutable std::atomic<Locks*> locks_;
};

}  // namespace helip::mining
