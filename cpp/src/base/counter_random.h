// Random numbers that depend on a few named words alone: (seed, purpose, epoch, row).
//
// The standard distributions differ between standard libraries, and so does the last bit of
// std::log; everything here is integer arithmetic or +, -, *, / in IEEE double. Compile the users
// of this header with -ffp-contract=off, so that no compiler fuses a product into a sum.
#pragma once

#include <bit>
#include <cstdint>
#include <initializer_list>

namespace helip::random {

// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), a bijection of 64 bits.
constexpr std::uint64_t mix64(std::uint64_t value) noexcept {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31);
}

// Natural logarithm of a positive, finite, normal double: the same bits on every machine, within
// 2e-15 of the true value, relatively.
inline double portable_log(double value) noexcept {
  constexpr double kLn2High = 6.93147180369123816490e-01;  // its last 20 bits are zero
  constexpr double kLn2Low = 1.90821492927058770002e-10;
  const auto bits = std::bit_cast<std::uint64_t>(value);
  auto exponent = static_cast<std::int64_t>(bits >> 52) - 1023;
  double mantissa = std::bit_cast<double>((bits & 0x000fffffffffffffULL) | 0x3ff0000000000000ULL);
  if (mantissa > 1.4142135623730951) {
    mantissa *= 0.5;
    ++exponent;
  }
  // log(m) = 2 artanh(s), s = (m - 1) / (m + 1), |s| <= 0.1716: the first term left out is < 1e-18.
  const double s = (mantissa - 1.0) / (mantissa + 1.0);
  const double square = s * s;
  double series = 0.0;
  for (int power = 21; power >= 3; power -= 2) {
    series = (series + 1.0 / power) * square;
  }
  const auto scale = static_cast<double>(exponent);
  return scale * kLn2High + (2.0 * s * series + scale * kLn2Low + 2.0 * s);
}

// e to the power of `value`, |value| <= 700: the same bits on every machine, within 1e-15 of the
// true value, relatively.
inline double portable_exp(double value) noexcept {
  constexpr double kLn2High = 6.93147180369123816490e-01;
  constexpr double kLn2Low = 1.90821492927058770002e-10;
  const double turns = value * 1.44269504088896338700;
  const auto exponent = static_cast<std::int64_t>(turns < 0.0 ? turns - 0.5 : turns + 0.5);
  const auto scale = static_cast<double>(exponent);
  const double rest = (value - scale * kLn2High) - scale * kLn2Low;
  // |rest| <= 0.3466: the first term left out is < 1e-19.
  double series = 1.0;
  for (int term = 14; term >= 1; --term) series = 1.0 + series * rest / term;
  return series * std::bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023) << 52);
}

// SplitMix64 from a given state.
class SplitMix64 {
 public:
  static constexpr std::uint64_t kIncrement = 0x9e3779b97f4a7c15ULL;

  constexpr explicit SplitMix64(std::uint64_t state) noexcept : state_(state) {}

  constexpr std::uint64_t next() noexcept {
    state_ += kIncrement;
    return mix64(state_);
  }

 private:
  std::uint64_t state_;
};

// SplitMix64 from a state hashed out of `words`. Cheap to make: one for each target.
class CounterRandom {
 public:
  CounterRandom(std::initializer_list<std::uint64_t> words) noexcept : bits_(hash(words)) {}

  std::uint64_t next() noexcept { return bits_.next(); }

  // Uniform over 0 .. bound - 1 without bias; bound >= 1. Takes the fewest bits that hold the
  // bound and rejects what exceeds it: under two draws on average.
  std::int64_t below(std::int64_t bound) noexcept {
    const auto largest = static_cast<std::uint64_t>(bound) - 1;
    if (largest == 0) {
      return 0;
    }
    const int spare = std::countl_zero(largest);
    std::uint64_t drawn = next() >> spare;
    while (drawn > largest) {
      drawn = next() >> spare;
    }
    return static_cast<std::int64_t>(drawn);
  }

  // Uniform over (0, 1), both ends excluded: an odd multiple of 2^-53.
  double unit() noexcept { return (static_cast<double>(next() >> 12) + 0.5) * 0x1p-52; }

  // Standard Gumbel. The largest of a_i + gumbel() is i with probability exp(a_i) / sum exp(a_j),
  // and their descending order is a draw without replacement (Gumbel top-k, arXiv 1903.06059).
  double gumbel() noexcept { return -portable_log(-portable_log(unit())); }

 private:
  static std::uint64_t hash(std::initializer_list<std::uint64_t> words) noexcept {
    std::uint64_t state = 0;
    for (const std::uint64_t word : words) {
      state = mix64((state + SplitMix64::kIncrement) ^ word);
    }
    return state;
  }

  SplitMix64 bits_;
};

}  // namespace helip::random
