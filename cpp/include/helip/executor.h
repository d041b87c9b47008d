// Threads of the core: its own, or those of the program that embeds it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "helip/export.h"

namespace helip {

// Runs tasks on threads of the program. Any thread may submit, also one that runs a task.
class HELIP_EXPORT Executor {
 public:
  virtual ~Executor();
  // How many tasks may run at a time; the core submits no more before one of them has ended. Also
  // what `threads` 0 means in every option.
  virtual int threads() const noexcept = 0;
  // Runs `task` once: later on another thread, or at once on this one. It may run as long as the
  // call that it helps, and throws nothing. May throw: then the task must not run, and the core
  // goes on with fewer threads.
  virtual void submit(std::function<void()> task) = 0;
};

// Work that begins from now on runs on `executor` and in the threads that call, and the core makes
// no thread; null gives the core's own pool, which is the default. That pool is made at first use
// and kept between calls. A call has at most the threads that its options ask for, the calling one
// among them; it always works itself, so it ends even where the executor is busy.
//
// A call that has begun, and a BatchAssembler that was made, keep what they have. After a fork the
// child has the default again, because threads do not survive a fork. Thread-safe.
HELIP_EXPORT void set_executor(std::shared_ptr<Executor> executor);

// Where threads that were asked for could not be started, work goes on with those that there are.
// Then this returns, once, a sentence that says so.
HELIP_EXPORT std::optional<std::string> take_thread_notice();

}  // namespace helip
