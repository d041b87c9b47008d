// How a thread rounds and treats subnormal numbers.
#pragma once

#include <cfenv>

namespace helip {

// To nearest, and subnormal numbers as what they are, while it lives: what bounds are proved for,
// and what gives the same bytes whatever the program has set for itself.
class DefaultFloatingMode {
 public:
  DefaultFloatingMode() noexcept {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloatingMode() { std::fesetenv(&before_); }
  DefaultFloatingMode(const DefaultFloatingMode&) = delete;
  DefaultFloatingMode& operator=(const DefaultFloatingMode&) = delete;

 private:
  std::fenv_t before_;
};

}  // namespace helip
