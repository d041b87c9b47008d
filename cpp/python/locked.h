// Objects whose methods are for one thread at a time, for threads of Python.
#pragma once

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <ctime>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>

#include "bindings.h"

namespace helip::python {

// One call at a time. Never locked with the GIL: whoever has the lock may wait for that, to call
// back or to make an array. An error, and never a wait without end, where the thread that has it is
// this one or was left behind by a fork.
class CallLock {
 public:
  void lock() {
    const std::uint32_t own = process();
    for (std::uint32_t owner = 0; !owner_.compare_exchange_strong(owner, own); owner = 0) {
      if (owner != own) {
        throw Error(ErrorCode::unsupported,
                    "the process was forked while another thread was in a call of this object, so "
                    "it is half changed here; make another one in this process");
      }
      if (thread_ == std::this_thread::get_id()) {
        throw Error(ErrorCode::invalid_argument,
                    "a method of this object was called from within another one, as by a callback "
                    "or a handler of signals; call it when that has returned");
      }
      wait(owner);
    }
    thread_ = std::this_thread::get_id();
  }
  void unlock() noexcept {
    thread_ = std::thread::id();
    owner_ = 0;
    ::syscall(SYS_futex, &owner_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }

 private:
  // Until it may have another owner. Throws what a handler of signals of Python does, so that ^C
  // does not wait for another thread's call. Nothing here is left locked in a forked child.
  void wait(std::uint32_t owner) {
    const timespec a_while{0, 50'000'000};
    ::syscall(SYS_futex, &owner_, FUTEX_WAIT_PRIVATE, owner, &a_while, nullptr, 0);
    if (owner_ != owner) return;
    const py::gil_scoped_acquire python;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
  // Another number in a forked child; never 0.
  static std::uint32_t process() {
    static std::atomic<std::uint32_t> number{1};
    static const int counted = ::pthread_atfork(nullptr, nullptr, [] { ++number; });
    (void)counted;
    return number;
  }

  static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));
  std::atomic<std::uint32_t> owner_{0};  // the process of the thread that has it
  std::atomic<std::thread::id> thread_;
};

template <typename Value>
class Locked {
 public:
  explicit Locked(Value value, std::shared_ptr<CallLock> lock = std::make_shared<CallLock>())
      : lock_(std::move(lock)), value_(std::move(value)) {}
  template <typename... Arguments>
  explicit Locked(std::in_place_t, Arguments&&... arguments)
      : value_(std::forward<Arguments>(arguments)...) {}

  // call(value), alone. Without the GIL.
  template <typename Call>
  auto alone(Call call) {
    const std::lock_guard turn(*lock_);
    return call(value_);
  }
  // The same, with the GIL, which is released for it.
  template <typename Call>
  auto run(Call call) {
    const py::gil_scoped_release release;
    return alone(std::move(call));
  }
  // For what never changes.
  Value& value() noexcept { return value_; }
  const std::shared_ptr<CallLock>& lock() const noexcept { return lock_; }

 private:
  std::shared_ptr<CallLock> lock_ = std::make_shared<CallLock>();
  Value value_;
};

// A method of `Locked<Value>` that is `method` of its value, alone.
template <typename Result, typename Value, typename... Arguments>
auto alone(Result (Value::*method)(Arguments...)) {
  return [method](Locked<Value>& self, std::decay_t<Arguments>... arguments) {
    return self.run([&](Value& value) { return (value.*method)(arguments...); });
  };
}
template <typename Result, typename Value, typename... Arguments>
auto alone(Result (Value::*method)(Arguments...) const) {
  return [method](Locked<Value>& self, std::decay_t<Arguments>... arguments) {
    return self.run([&](const Value& value) { return (value.*method)(arguments...); });
  };
}

}  // namespace helip::python
