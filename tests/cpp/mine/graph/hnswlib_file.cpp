// An index as a file of hnswlib, written and read; tests/python reads and writes it with hnswlib
// itself.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>

#include "helip/pair_index.h"
#include "support/expect_error.h"
#include "support/mine_reference.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::testing;

namespace {

constexpr std::int64_t kImage = 12;
constexpr std::int64_t kText = 8;
constexpr std::size_t kHeader = 96;

PairIndex index_of(const Data& data, std::int64_t degree = 32) {
  PairIndexOptions options;
  options.degree = degree;
  std::vector<std::int64_t> ids;
  for (std::int64_t row = 0; row < data.image.view().rows; ++row) ids.push_back(1000 - row);
  return PairIndex::build(data.image.view(), data.text.view(), options, ids, 1);
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

void write(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

template <typename Value>
std::string with(std::string bytes, std::size_t at, Value value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
  return bytes;
}

}  // namespace

TEST_CASE("a file of hnswlib gives the index that was saved") {
  const TemporaryFolder folder;
  const Data data = clustered_data(900, kImage, kText, DType::float32, 3, 60, 0.8);
  const PairIndex index = index_of(data);
  index.save_hnswlib(folder / "x");
  PairIndex opened = PairIndex::open_hnswlib(folder / "x", kImage, {}, 1);
  CHECK(opened.size() == 900);
  CHECK(opened.text_dimensions() == kText);
  CHECK(opened.options().degree == 32);
  const PairMatches one = index.query(data.image.view(), data.text.view(), 10, 200, 1);
  const PairMatches other = opened.query(data.image.view(), data.text.view(), 10, 200, 1);
  CHECK(one.ids == other.ids);
  for (std::size_t i = 0; i < one.scores.size(); ++i) {
    CHECK(std::abs(one.scores[i] - other.scores[i]) < 1e-4F);
  }
  opened.add(data.image.view(), data.text.view(), {}, 1);  // it grows as any index does
  CHECK(opened.size() == 1800);
}

TEST_CASE("vectors of the file are halves of unit vectors, and labels the ids") {
  const TemporaryFolder folder;
  const Data data = clustered_data(30, kImage, kText, DType::float16);
  index_of(data, 6).save_hnswlib(folder / "x");
  const std::string bytes = bytes_of(folder / "x");
  const std::size_t element = 4 + 4 * 6 + 4 * (kImage + kText) + 8;
  for (std::size_t row = 0; row < 30; ++row) {
    const char* at = bytes.data() + kHeader + row * element;
    float vector[kImage + kText];
    std::memcpy(vector, at + 4 + 4 * 6, sizeof vector);
    const auto expect = [&](const float* half, const std::vector<double>& whole) {
      double squares = 0.0;
      for (const double value : whole) squares += value * value;
      for (std::size_t i = 0; i < whole.size(); ++i) {
        CHECK(std::abs(static_cast<double>(half[i]) - whole[i] / std::sqrt(2.0 * squares)) < 1e-6);
      }
    };
    expect(vector, data.image.row(static_cast<std::int64_t>(row)));
    expect(vector + kImage, data.text.row(static_cast<std::int64_t>(row)));
    std::uint64_t label = 0;
    std::memcpy(&label, at + element - 8, sizeof label);
    CHECK(label == 1000 - row);
  }
}

TEST_CASE("an index without pairs is a file too") {
  const TemporaryFolder folder;
  const Data data = clustered_data(3, kImage, kText);
  MatrixView image = data.image.view(), text = data.text.view();
  image.rows = text.rows = 0;
  PairIndex::build(image, text, {}, {}, 1).save_hnswlib(folder / "x");
  CHECK(PairIndex::open_hnswlib(folder / "x", kImage, {}, 1).size() == 0);
}

TEST_CASE("a file of hnswlib that is there is kept") {
  const TemporaryFolder folder;
  const PairIndex index = index_of(clustered_data(5, kImage, kText));
  index.save_hnswlib(folder / "x");
  expect_error(ErrorCode::invalid_argument, "is there already",
               [&] { index.save_hnswlib(folder / "x"); });
}

TEST_CASE("what is no index of pairs is refused, with the element") {
  const TemporaryFolder folder;
  index_of(clustered_data(20, kImage, kText), 6).save_hnswlib(folder / "x");
  const std::string bytes = bytes_of(folder / "x");
  const auto open = [&](std::int64_t image = kImage) {
    static_cast<void>(PairIndex::open_hnswlib(folder / "x", image, {}, 1));
  };
  expect_error(ErrorCode::invalid_argument, "image half of element", [&] { open(kImage - 1); });
  expect_error(ErrorCode::invalid_argument, "have 20 dimensions, and 20", [&] { open(20); });
  expect_error(ErrorCode::invalid_argument, "number of image dimensions", [&] { open(0); });
  const std::size_t element = 4 + 4 * 6 + 4 * (kImage + kText) + 8;
  const std::size_t third = kHeader + 2 * element;
  write(folder / "x", with(bytes, third + 4 + 24, std::nanf("")));
  expect_error(ErrorCode::invalid_argument, "image half of element 2", [&] { open(); });
  write(folder / "x", with(bytes, third + element - 8, std::uint64_t{1000}));
  expect_error(ErrorCode::invalid_argument, "1000", [&] { open(); });
  expect_error(ErrorCode::io, "absent", [&] {
    static_cast<void>(PairIndex::open_hnswlib(folder / "absent", kImage, {}, 1));
  });
}

TEST_CASE("a header whose sizes wrap is refused") {
  const TemporaryFolder folder;
  index_of(clustered_data(5, kImage, kText), 6).save_hnswlib(folder / "x");
  const std::string bytes = bytes_of(folder / "x");
  const auto refuse = [&](const std::string& changed,
                          const std::string& why = "its header is not that of hnswlib") {
    write(folder / "x", changed);
    expect_error(ErrorCode::corrupt, why,
                 [&] { (void)PairIndex::open_hnswlib(folder / "x", kImage, {}, 1); });
  };
  constexpr std::size_t kElementBytes = 24, kLabelOffset = 32, kVectorOffset = 40;
  for (const std::uint64_t label : {~std::uint64_t{7}, ~std::uint64_t{3}}) {
    // label + 8 wraps to a size that is 0, or small.
    refuse(with(with(bytes, kLabelOffset, label), kElementBytes, label + 8));
    refuse(with(with(bytes, kLabelOffset, label), kVectorOffset, label - 4));
  }
  // label + 8 fits, and with the 4 bytes of the upper levels it wraps to 0.
  const std::uint64_t label = ~std::uint64_t{11};
  refuse(with(with(bytes, kLabelOffset, label), kElementBytes, label + 8));
  // What still fits is more than the file has.
  refuse(with(with(bytes, kLabelOffset, label - 4), kElementBytes, label + 4),
         "it is too short for its 5 elements");
  refuse(with(with(bytes, 8, ~std::uint64_t{0}), 16, ~std::uint64_t{0}));  // elements
}

TEST_CASE("what is marked as deleted in a file is left out") {
  const TemporaryFolder folder;
  const Data data = clustered_data(20, kImage, kText);
  PairIndex index = index_of(data, 6);
  index.remove({995, 1000});
  index.save_hnswlib(folder / "x");
  const PairIndex opened = PairIndex::open_hnswlib(folder / "x", kImage, {}, 1);
  CHECK(opened.size() == 18);
  for (const std::int64_t id : opened.query(data.image.view(), data.text.view(), 10).ids) {
    CHECK((id != 995 && id != 1000));
  }
}

TEST_CASE("a label that no other could follow is refused") {
  const TemporaryFolder folder;
  index_of(clustered_data(5, kImage, kText), 6).save_hnswlib(folder / "x");
  const std::string bytes = bytes_of(folder / "x");
  const std::size_t label = kHeader + 4 + 4 * 6 + 4 * (kImage + kText);
  for (const std::uint64_t value : {~std::uint64_t{0}, std::uint64_t{INT64_MAX}}) {
    write(folder / "x", with(bytes, label, value));
    expect_error(ErrorCode::corrupt, "label of element 0 is " + std::to_string(value),
                 [&] { (void)PairIndex::open_hnswlib(folder / "x", kImage, {}, 1); });
  }
}

TEST_CASE("a file of hnswlib that is cut or damaged is an error or an index, never a crash") {
  const TemporaryFolder folder;
  const Data data = clustered_data(12, kImage, kText);
  index_of(data, 4).save_hnswlib(folder / "x");
  const std::string bytes = bytes_of(folder / "x");
  const auto opens = [&](const std::string& changed) {
    write(folder / "x", changed);
    try {
      const PairIndex index = PairIndex::open_hnswlib(folder / "x", kImage, {}, 1);
      static_cast<void>(index.query(data.image.view(), data.text.view(), 3, 10, 1));
      return true;
    } catch (const Error&) {
      return false;
    }
  };
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    CHECK_FALSE(opens(bytes.substr(0, length)));
  }
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (const int bit : {0, 7}) opens(with(bytes, at, static_cast<char>(bytes[at] ^ (1 << bit))));
  }
  std::vector<std::uint64_t> extremes{0, 1, 1ULL << 31, 1ULL << 32, 1ULL << 63};
  for (std::uint64_t below = 1; below <= 16; ++below) {
    for (const std::uint64_t power : {0ULL, 1ULL << 32}) extremes.push_back(power - below);
  }
  for (std::size_t at = 0; at + 8 <= kHeader; at += 4) {
    for (const std::uint64_t value : extremes) opens(with(bytes, at, value));
  }
  CHECK(opens(bytes));
}
