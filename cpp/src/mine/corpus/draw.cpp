#include "mine/corpus/draw.h"

#include "base/counter_random.h"

namespace helip::mining {
namespace {

using random::mix64;
using random::SplitMix64;

// Uniform over 0 .. bound - 1, up to a bias of bound / 2^64.
std::uint64_t below(std::uint64_t random, std::uint64_t bound) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>(static_cast<Wide>(random) * bound >> 64);
}

}  // namespace

std::vector<std::uint32_t> draw_rows(std::int64_t rows, std::int64_t count, std::uint64_t seed,
                                     std::uint64_t stream) {
  std::vector<std::uint32_t> drawn;
  drawn.reserve(static_cast<std::size_t>(count));
  constexpr std::uint64_t kIncrement = SplitMix64::kIncrement;
  SplitMix64 bits(mix64(mix64(seed + kIncrement) ^ (stream + kIncrement)));
  auto wanted = static_cast<std::uint64_t>(count);
  for (std::int64_t row = 0; row < rows && wanted > 0; ++row) {
    if (below(bits.next(), static_cast<std::uint64_t>(rows - row)) < wanted) {
      drawn.push_back(static_cast<std::uint32_t>(row));
      --wanted;
    }
  }
  return drawn;
}

}  // namespace helip::mining
