#include "helip/image_transform.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstring>
#include <thread>

#include "helip/sample_error.h"
#include "support/expect_error.h"
#include "support/image_samples.h"

namespace {

using helip::DType;
using helip::ErrorCode;
using helip::ImageTransform;
using helip::ImageTransformOptions;
using Scratch = ImageTransform::Scratch;

std::vector<char> result_of(const ImageTransform& transform, const std::vector<std::byte>& encoded,
                            const ImageTransform::Key& key, Scratch& scratch) {
  std::vector<char> out(transform.bytes());
  transform.apply(encoded, key, out.data(), scratch);
  return out;
}

ImageTransformOptions augmented() {
  ImageTransformOptions options;
  options.height = options.width = 40;
  options.jitter_probability = 0.8;
  options.brightness = options.contrast = options.saturation = 0.4;
  options.hue = 0.1;
  options.grayscale_probability = 0.2;
  options.blur_probability = 0.5;
  options.flip_probability = 0.5;
  return options;
}

}  // namespace

TEST_CASE("a result depends on bytes, options and key alone, whatever a scratch did before") {
  const ImageTransform transform(augmented());
  const auto small = jpeg_of(sample_image({70, 90}));
  const auto large = jpeg_of(sample_image({300, 200}), {.progressive = true});
  Scratch shared;
  for (std::uint64_t row = 0; row < 20; ++row) {
    for (const auto& encoded : {small, large}) {
      Scratch fresh;
      const ImageTransform::Key key{1, 2, row, 3};
      CHECK(result_of(transform, encoded, key, shared) ==
            result_of(transform, encoded, key, fresh));
    }
  }
}

TEST_CASE("threads share a transform") {
  const ImageTransform transform(augmented());
  const auto encoded = jpeg_of(sample_image({120, 100}));
  constexpr std::uint64_t kRows = 40;
  std::vector<std::vector<char>> expected;
  Scratch scratch;
  for (std::uint64_t row = 0; row < kRows; ++row) {
    expected.push_back(result_of(transform, encoded, {0, 0, row, 0}, scratch));
  }
  std::vector<std::vector<char>> found(kRows);
  std::vector<std::thread> threads;
  for (std::uint64_t first = 0; first < 4; ++first) {
    threads.emplace_back([&, first] {
      Scratch own;
      for (std::uint64_t row = first; row < kRows; row += 4) {
        found[row] = result_of(transform, encoded, {0, 0, row, 0}, own);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(found == expected);
}

TEST_CASE("a frozen result: a change of these bytes changes every run") {
  ImageTransformOptions options = augmented();
  options.dtype = DType::uint8;
  const ImageTransform transform(options);
  const helip::image::Image image = sample_image({70, 90});
  std::vector<unsigned char> out(transform.bytes());
  Scratch scratch;
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (std::uint64_t row = 0; row < 50; ++row) {
    transform.apply_pixels(image.data(), 70, 90, {7, 0, row, 0}, out.data(), scratch);
    for (const unsigned char byte : out) hash = (hash ^ byte) * 0x100000001b3ULL;
  }
  CHECK(hash == 0x3c987e63aba4af30ULL);
}

TEST_CASE("shape and bytes follow the options") {
  ImageTransformOptions options;
  options.height = 3;
  options.width = 5;
  CHECK(ImageTransform(options).shape() == std::vector<std::int64_t>{3, 3, 5});
  CHECK(ImageTransform(options).bytes() == 3 * 5 * 3 * 4);
  options.layout = helip::PixelLayout::nhwc;
  options.dtype = DType::bfloat16;
  CHECK(ImageTransform(options).shape() == std::vector<std::int64_t>{3, 5, 3});
  CHECK(ImageTransform(options).bytes() == 3 * 5 * 3 * 2);
}

TEST_CASE("options outside their bounds are refused with a mend") {
  const auto refused = [](const std::string& part, auto change) {
    ImageTransformOptions options;
    change(options);
    expect_error(ErrorCode::invalid_argument, part, [&] { ImageTransform{options}; });
  };
  refused("height is 0", [](auto& o) { o.height = 0; });
  refused("scale is (0.5, 0.1)", [](auto& o) { o.scale = {0.5, 0.1}; });
  refused("hue is 0.7", [](auto& o) { o.hue = 0.7; });
  refused("flip_probability is nan", [](auto& o) { o.flip_probability = std::nan(""); });
  refused("dtype is int8", [](auto& o) { o.dtype = DType::int8; });
  refused("std of channel 2", [](auto& o) { o.stddev[2] = 0.0; });
  expect_error(ErrorCode::invalid_argument, "use bilinear or bicubic",
               [] { (void)helip::interpolation_from_name("nearest"); });
}

TEST_CASE("a picture far longer than the result is too large, not a feast of memory") {
  ImageTransformOptions options;
  options.height = options.width = 1;
  options.crop = helip::CropKind::squash;
  const ImageTransform transform(options);
  const std::vector<std::uint8_t> line(3 * 20000);
  std::vector<char> out(transform.bytes());
  Scratch scratch;
  try {
    transform.apply_pixels(line.data(), 1, 20000, {}, out.data(), scratch);
    FAIL("accepted");
  } catch (const helip::SampleError& error) {
    CHECK(error.reason() == "too_large");
  }
}
