#include "mine/corpus/draw.h"

namespace helip::mining {
namespace {

constexpr std::uint64_t kIncrement = 0x9e3779b97f4a7c15ULL;

// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
constexpr std::uint64_t mix(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31);
}

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
  std::uint64_t state = mix(mix(seed + kIncrement) ^ (stream + kIncrement));
  auto wanted = static_cast<std::uint64_t>(count);
  for (std::int64_t row = 0; row < rows && wanted > 0; ++row) {
    state += kIncrement;
    if (below(mix(state), static_cast<std::uint64_t>(rows - row)) < wanted) {
      drawn.push_back(static_cast<std::uint32_t>(row));
      --wanted;
    }
  }
  return drawn;
}

}  // namespace helip::mining
