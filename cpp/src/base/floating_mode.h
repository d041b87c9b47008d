// How a thread rounds and treats subnormal numbers. Threads that help another one take over its
// mode, so that results do not depend on which of them computed what.
#pragma once

#include <cfenv>

namespace helip {

class FloatingMode {
 public:
  // That of this thread.
  FloatingMode() noexcept { std::fegetenv(&environment_); }

  // Holds on this thread while it lives.
  class Use {
   public:
    explicit Use(const FloatingMode& mode) noexcept {
      std::fegetenv(&before_);
      std::fesetenv(&mode.environment_);
    }
    ~Use() { std::fesetenv(&before_); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    std::fenv_t before_;
  };

 private:
  std::fenv_t environment_;
};

}  // namespace helip
