// How all targets change an input: half of the time as libFuzzer does, else a number of its head or
// of a text gets a value that sizes, counts and offsets are seldom checked for.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <string_view>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

namespace helip::fuzz {
namespace {

constexpr std::size_t kHead = 160;   // bytes in which most numbers of a binary header lie
constexpr std::uint64_t kNear = 16;  // numbers that are as close stand for sizes of one thing

class Mutator {
 public:
  Mutator(std::string& input, unsigned seed) : input_(input), random_(seed) {}

  void change_numbers() {
    for (std::size_t left = 1 + below(3); left > 0; --left) {
      if (below(4) == 0) {
        wrap_field();
      } else if (!(below(2) == 0 && change_text())) {
        change_binary();
      }
    }
  }

 private:
  std::size_t below(std::size_t count) { return random_() % count; }

  template <typename Value, std::size_t n>
  Value one_of(const Value (&values)[n]) {
    return values[below(n)];
  }

  // Near a power of two, or such that a sum or a product with `other` is small once it has wrapped.
  std::uint64_t extreme(std::uint64_t old, std::uint64_t other) {
    const std::uint64_t step = one_of<std::uint64_t>({0, 0, 1, 2, 4, 8, 12, 16, 512});
    const std::uint64_t near = below(2) == 0 ? step : std::uint64_t{0} - step;
    const int power = one_of({-1, -1, 7, 8, 15, 16, 31, 32, 62, 63});
    switch (below(8)) {
      case 0: return old + near;
      case 1: return near - other;
      case 2: return other == 0 ? near : ~std::uint64_t{0} / other + near;
      case 3: return other == 0 ? near : (std::uint64_t{1} << one_of({31, 32, 63})) / other + near;
      default: return (power < 0 ? 0 : std::uint64_t{1} << power) + near;
    }
  }

  std::uint64_t number_at(std::size_t at, std::size_t width, bool big_endian) const {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < width; ++i) {
      const auto byte = static_cast<unsigned char>(input_[at + (big_endian ? i : width - 1 - i)]);
      value = value << 8 | byte;
    }
    return value;
  }
  void put(std::size_t at, std::size_t width, bool big_endian, std::uint64_t value) {
    for (std::size_t i = 0; i < width; ++i, value >>= 8) {
      input_[at + (big_endian ? width - 1 - i : i)] = static_cast<char>(value & 255);
    }
  }

  // A field of the head gets 2^32 or 2^64 less 1 .. 16, which wraps with little that is added.
  void wrap_field() {
    const std::size_t width = one_of<std::size_t>({4, 8, 8});
    const std::size_t fields = std::min(input_.size(), kHead) / width;
    if (fields == 0) return;
    const std::uint64_t power = std::uint64_t{below(2)} << 32;
    put_among(below(fields) * width, width, below(4) == 0, power - 1 - below(kNear), kHead);
  }

  void change_binary() {
    const std::size_t width = one_of<std::size_t>({1, 2, 4, 4, 8, 8});
    if (input_.size() < width) return;
    const bool big_endian = below(4) == 0;
    std::size_t places = input_.size() - width + 1;
    if (below(4) != 0) places = std::min(places, kHead);
    std::size_t at = below(places);
    if (below(2) == 0) at -= at % std::min<std::size_t>(width, 4);
    const std::uint64_t old = number_at(at, width, big_endian);
    const std::uint64_t other = number_at(below(places), width, big_endian);
    put_among(at, width, big_endian, extreme(old, other), places);
  }

  // What lay near the number, of the first `places` bytes, stays as far from it, half of the time:
  // so a size that another one follows from wraps with it.
  void put_among(std::size_t at, std::size_t width, bool big_endian, std::uint64_t value,
                 std::size_t places) {
    const std::uint64_t old = number_at(at, width, big_endian);
    put(at, width, big_endian, value);
    if (old <= kNear || below(2) == 0) return;
    places = std::min(places, input_.size() - width + 1);
    for (std::size_t near = at % width; near < places; near += width) {
      const std::uint64_t found = number_at(near, width, big_endian);
      if (near == at || found - old + kNear > 2 * kNear) continue;
      put(near, width, big_endian, value + (found - old));
    }
  }

  bool is_digit(std::size_t at) const {
    return at < input_.size() && input_[at] >= '0' && input_[at] <= '9';
  }
  static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

  struct Run {
    std::size_t begin = 0, size = 0;
  };
  // The next digits from `at` on that are no part of a word; none where there are none.
  Run digits_from(std::size_t at) const {
    while (at < input_.size()) {
      Run run{at, 0};
      while (is_digit(at + run.size)) ++run.size;
      const std::size_t end = at + run.size;
      const bool apart = (at == 0 || !is_letter(input_[at - 1])) &&
                         (end == input_.size() || !is_letter(input_[end]));
      if (run.size > 0 && apart) return run;
      at = end + 1;
    }
    return {};
  }
  std::uint64_t value_of(const Run& run) const {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < run.size; ++i) {
      value = value * 10 + static_cast<std::uint64_t>(input_[run.begin + i] - '0');
    }
    return value;
  }

  bool change_text() {
    if (input_.empty()) return false;
    const Run run = digits_from(below(input_.size()));
    if (run.size == 0) return false;
    if (run.size >= 7 && input_[run.begin] == '0') return change_octal(run);
    const std::uint64_t old = value_of(run);
    const Run other = digits_from(below(input_.size()));
    const std::uint64_t value = extreme(old, value_of(other));
    std::string text =
        below(2) == 0 ? std::to_string(value) : std::to_string(static_cast<std::int64_t>(value));
    if (below(8) == 0)
      text = one_of({"18446744073709551616", "-9223372036854775809", "1e300", "0.5"});
    // Numbers that are the same stand for one thing.
    const bool all = below(2) == 0;
    const std::string before = input_.substr(run.begin, run.size);
    for (Run same = all ? digits_from(0) : run; same.size > 0; same = digits_from(same.begin)) {
      if (input_.compare(same.begin, same.size, before) == 0) {
        replace(same, text);
        same.size = text.size();
        if (!all) break;
      }
      same.begin += same.size;
    }
    return true;
  }

  // The text keeps its length, which stands in front of it: spaces behind the number go or come.
  void replace(const Run& run, const std::string& text) {
    input_.replace(run.begin, run.size, text);
    const std::size_t end = run.begin + text.size();
    if (text.size() < run.size) input_.insert(end, run.size - text.size(), ' ');
    std::size_t spare = text.size() > run.size ? text.size() - run.size : 0;
    for (std::size_t at = end;
         spare > 0 && (at = input_.find_first_of(" \n", at)) != input_.npos;) {
      input_.erase(at, 1);
      --spare;
    }
  }

  // A field of a tar header: digits, or 0x80 and a number of base 256.
  bool change_octal(const Run& run) {
    const std::uint64_t value = extreme(value_of(run), 0);
    if (run.size == 11 && run.begin + 12 <= input_.size() && below(2) == 0) {
      std::fill_n(input_.begin() + static_cast<std::ptrdiff_t>(run.begin), 4, '\0');
      input_[run.begin] = one_of({'\x80', '\xff'});
      put(run.begin + 4, 8, true, value);
      return true;
    }
    std::uint64_t left = value;
    for (std::size_t i = run.size; i > 0; --i, left >>= 3) {
      input_[run.begin + i - 1] = static_cast<char>('0' + (left & 7));
    }
    return true;
  }

  std::string& input_;
  std::minstd_rand random_;
};

}  // namespace
}  // namespace helip::fuzz

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
  if (seed % 2 == 0 || size == 0) return LLVMFuzzerMutate(data, size, most);
  std::string input(reinterpret_cast<const char*>(data), size);
  helip::fuzz::Mutator(input, seed / 2 + 1).change_numbers();
  const std::size_t changed = std::min(input.size(), most);
  std::memcpy(data, input.data(), changed);
  return changed;
}
