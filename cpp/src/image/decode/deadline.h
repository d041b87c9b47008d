// When the decoding of an image must have ended.
#pragma once

#include <chrono>

namespace helip::image {

// Decoders ask now and then; a look at the clock takes some 25 ns.
class Deadline {
 public:
  // Infinity: never.
  explicit Deadline(double seconds) noexcept : seconds_(seconds), begin_(Clock::now()) {}

  double seconds() const noexcept { return seconds_; }
  double spent() const noexcept {
    return std::chrono::duration<double>(Clock::now() - begin_).count();
  }
  bool has_passed() const noexcept { return spent() > seconds_; }
  // Throws SampleError "too_slow".
  void check() const {
    if (has_passed()) refuse();
  }
  [[noreturn]] void refuse() const;

 private:
  using Clock = std::chrono::steady_clock;

  double seconds_;
  Clock::time_point begin_;
};

}  // namespace helip::image
