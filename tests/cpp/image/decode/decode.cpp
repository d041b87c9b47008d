#include "image/decode/decode.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <string>

#include "helip/sample_error.h"
#include "support/image_samples.h"

namespace {

using namespace helip::image;
using Encoded = std::vector<std::byte>;

std::string reason_of(const Encoded& encoded, const DecodeLimits& limits = {}) {
  Decoder decoder;
  Image image;
  try {
    const ImageHeader header = decoder.open(encoded, limits);
    decoder.decode({0, 0, header.stored.height, header.stored.width}, 8, image);
  } catch (const helip::SampleError& error) {
    INFO(error.what());
    CHECK(error.code() == helip::ErrorCode::sample);
    return error.reason();
  }
  return "decoded";
}

}  // namespace

TEST_CASE("a region has the pixels of the whole, at every size, for every kind of JPEG") {
  helip::random::CounterRandom random{5};
  Decoder decoder;
  Image whole;
  Image part;
  for (const JpegStyle style : {JpegStyle{1, 1}, JpegStyle{2, 1}, JpegStyle{2, 2}, JpegStyle{1, 2},
                                JpegStyle{4, 1}, JpegStyle{2, 2, true}, JpegStyle{.grey = true}}) {
    const Size size{150 + random.below(30), 170 + random.below(30)};
    const Encoded encoded = jpeg_of(sample_image(size), style);
    for (const int eighths : {1, 2, 4, 8}) {
      const Size small = scaled_size(size, eighths);
      CHECK(decoder.open(encoded, {}).stored == size);
      const Region all{0, 0, small.height, small.width};
      REQUIRE(decoder.decode(all, eighths, whole) == all);
      for (int trial = 0; trial < 25; ++trial) {
        Region region;
        region.height = 1 + random.below(small.height);
        region.width = 1 + random.below(small.width);
        region.top = random.below(small.height - region.height + 1);
        region.left = random.below(small.width - region.width + 1);
        decoder.open(encoded, {});
        const Region held = decoder.decode(region, eighths, part);
        REQUIRE(held.top <= region.top);
        REQUIRE(held.left <= region.left);
        REQUIRE(held.top + held.height >= region.top + region.height);
        REQUIRE(held.left + held.width >= region.left + region.width);
        for (std::int64_t y = 0; y < region.height; ++y) {
          INFO(style.across << style.down << " " << eighths << "/8, row " << y);
          REQUIRE(std::memcmp(
                      part.row(region.top - held.top + y) + (region.left - held.left) * kChannels,
                      whole.row(region.top + y) + region.left * kChannels,
                      static_cast<std::size_t>(region.width * kChannels)) == 0);
        }
      }
    }
  }
}

TEST_CASE("limits are checked before a pixel has memory") {
  const Encoded encoded = jpeg_of(sample_image({40, 50}));
  CHECK(reason_of(encoded, {.max_pixels = 40 * 50}) == "decoded");
  CHECK(reason_of(encoded, {.max_pixels = 40 * 50 - 1}) == "too_large");
  CHECK(reason_of(encoded, {.max_bytes = static_cast<std::int64_t>(encoded.size()) - 1}) ==
        "too_large");
  const Encoded progressive = jpeg_of(sample_image({40, 50}), {.progressive = true});
  CHECK(reason_of(progressive, {.max_scans = 10}) == "decoded");
  CHECK(reason_of(progressive, {.max_scans = 9}) == "too_large");
}

TEST_CASE("a JPEG that takes too long is given up, and the decoder goes on with the next") {
  Decoder decoder;
  Image image;
  for (const bool progressive : {false, true}) {
    const Encoded encoded = jpeg_of(sample_image({64, 64}), {.progressive = progressive});
    CHECK(reason_of(encoded, {.max_seconds = 1e-9}) == "too_slow");
    Encoded cut = encoded;
    cut.resize(cut.size() - 40);
    CHECK(reason_of(cut, {.max_seconds = 1e9}) == "unreadable_image");
    CHECK(reason_of(cut, {.max_seconds = 1e-9}) == "too_slow");  // before its end
    decoder.open(encoded, {.max_seconds = 1e-9});
    CHECK_THROWS_AS(decoder.decode({0, 0, 64, 64}, 8, image), helip::SampleError);
    decoder.open(encoded, {});
    CHECK(decoder.decode({0, 0, 64, 64}, 8, image) == Region{0, 0, 64, 64});
  }
}

TEST_CASE("a JPEG cut anywhere is unreadable, and the decoder goes on with the next") {
  Decoder decoder;
  Image image;
  for (const bool progressive : {false, true}) {
    const Encoded encoded = jpeg_of(sample_image({64, 64}), {.progressive = progressive});
    for (std::size_t length = 0; length + 2 <= encoded.size(); length += 97) {
      const Encoded cut(encoded.begin(), encoded.begin() + static_cast<std::ptrdiff_t>(length));
      INFO(length);
      CHECK(reason_of(cut) == "unreadable_image");
      Encoded ended = cut;
      ended.push_back(std::byte{0xff});
      ended.push_back(std::byte{0xd9});
      // A progressive image that lacks its last scans is an image of lower quality.
      if (!progressive) CHECK(reason_of(ended) == "unreadable_image");
      try {
        decoder.open(cut, {});
        decoder.decode({0, 0, 64, 64}, 8, image);
      } catch (const helip::SampleError&) {
      }
      decoder.open(encoded, {});
      decoder.decode({0, 0, 64, 64}, 8, image);
    }
  }
}

TEST_CASE("a PPM has the pixels that it was written with, and every damaged one is refused") {
  const Image image = sample_image({13, 17});
  const auto encoded_as = [&](const std::string& header) {
    Encoded encoded(header.size() + static_cast<std::size_t>(image.pixels() * kChannels));
    std::memcpy(encoded.data(), header.data(), header.size());
    std::memcpy(encoded.data() + header.size(), image.data(), encoded.size() - header.size());
    return encoded;
  };
  Decoder decoder;
  Image out;
  for (const char* header : {"P6 17 13 255\n", "P6\n# by a camera\n17 13\n255\n"}) {
    const Encoded encoded = encoded_as(header);
    INFO(header);
    CHECK(decoder.open(encoded, {}).stored == Size{13, 17});
    const Region region{3, 5, 8, 11};
    REQUIRE(decoder.decode(region, 8, out) == region);
    for (std::int64_t y = 0; y < region.height; ++y) {
      REQUIRE(std::memcmp(out.row(y), image.row(region.top + y) + region.left * kChannels,
                          static_cast<std::size_t>(region.width * kChannels)) == 0);
    }
    for (std::size_t length = 2; length < encoded.size(); ++length) {
      const Encoded cut(encoded.begin(), encoded.begin() + static_cast<std::ptrdiff_t>(length));
      INFO(length);
      REQUIRE(reason_of(cut) == "unreadable_image");
    }
  }
  for (const char* header : {"P6 x 13 255\n", "P6 0 13 255\n", "P6 17 14 255\n", "P6 17 13 255",
                             "P6 99999999999 13 255\n", "P6 2147483647 1 255\n"}) {
    INFO(header);
    CHECK(reason_of(encoded_as(header)) != "decoded");
  }
  CHECK(reason_of(encoded_as("P6 17 13 65535\n")) == "unsupported_format");
  CHECK(reason_of(encoded_as("P6 17 13 255\n"), {.max_pixels = 17 * 13 - 1}) == "too_large");
}

TEST_CASE("what is not decoded here is named") {
  for (const char* start : {"GIF89a", "BM", "II*"}) {
    const auto* bytes = reinterpret_cast<const std::byte*>(start);
    Encoded encoded(bytes, bytes + std::strlen(start));
    encoded.resize(64);
    CHECK(reason_of(encoded) == "unsupported_format");
  }
  CHECK(reason_of({}) == "unreadable_image");
  CHECK(reason_of(Encoded(100)) == "unreadable_image");
}

TEST_CASE("decode without open is a mistake of the caller") {
  Decoder decoder;
  Image image;
  CHECK_THROWS_AS(decoder.decode({0, 0, 1, 1}, 8, image), helip::Error);
}
