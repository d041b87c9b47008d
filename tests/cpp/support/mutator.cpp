// How fuzz targets change their inputs; the targets themselves are built by `make fuzz`.
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <cstring>
#include <set>
#include <utility>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t*, std::size_t size, std::size_t) {
  return size;
}
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed);

namespace {

constexpr std::size_t kHead = 96;
using Head = std::array<std::uint8_t, kHead>;

// Adds each field that holds 2^32 or 2^bits less 1 .. 16, with what it holds.
template <typename Number>
void add_wrapping(const Head& head, std::set<std::pair<std::size_t, std::uint64_t>>& found) {
  for (std::size_t at = 0; at < kHead; at += sizeof(Number)) {
    Number number{};
    std::memcpy(&number, head.data() + at, sizeof number);
    const std::uint64_t below = std::uint64_t{1} << 32;
    const bool wraps =
        static_cast<Number>(~number) < 16 || (number < below && number >= below - 16);
    if (wraps) found.emplace(at, number);
  }
}

}  // namespace

TEST_CASE("every field of a head comes to hold each number that wraps", "[fuzz]") {
  std::set<std::pair<std::size_t, std::uint64_t>> of_32, of_64;
  for (unsigned seed = 1; seed < 200'000; seed += 2) {
    Head head{};
    REQUIRE(LLVMFuzzerCustomMutator(head.data(), kHead, kHead, seed) == kHead);
    add_wrapping<std::uint32_t>(head, of_32);
    add_wrapping<std::uint64_t>(head, of_64);
  }
  CHECK(of_32.size() == kHead / 4 * 16);
  CHECK(of_64.size() == kHead / 8 * 32);
}
