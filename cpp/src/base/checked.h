// Sums and products of numbers that somebody else wrote.
#pragma once

namespace helip {

// Each changes `value`, or says false and leaves it where the result does not fit.
template <typename Integer>
[[nodiscard]] constexpr bool checked_add(Integer& value, Integer more) noexcept {
  Integer result{};
  if (__builtin_add_overflow(value, more, &result)) return false;
  value = result;
  return true;
}

template <typename Integer>
[[nodiscard]] constexpr bool checked_multiply(Integer& value, Integer by) noexcept {
  Integer result{};
  if (__builtin_mul_overflow(value, by, &result)) return false;
  value = result;
  return true;
}

}  // namespace helip
