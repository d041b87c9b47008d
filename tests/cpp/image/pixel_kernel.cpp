#include "image/pixel_kernel.h"

#include <catch2/catch_test_macros.hpp>
#include <cstring>

#include "image/color_jitter.h"
#include "image/gaussian_blur.h"
#include "image/resize.h"
#include "support/image_samples.h"

namespace {

using namespace helip::image;

// Runs `work` by each kernel and expects the bytes of the portable one.
template <typename Work>
void same_on_all(Size size, std::uint64_t seed, Work work) {
  Image expected = sample_image(size, seed);
  work(expected, *pixel_kernel_portable());
  for (const PixelKernel* kernel : available_pixel_kernels()) {
    Image found = sample_image(size, seed);
    work(found, *kernel);
    INFO(kernel->name << ", " << size.height << " x " << size.width);
    REQUIRE(found.size() == expected.size());
    REQUIRE(std::memcmp(found.data(), expected.data(),
                        static_cast<std::size_t>(found.pixels() * kChannels)) == 0);
  }
}

}  // namespace

TEST_CASE("every kernel resizes to the same bytes") {
  helip::random::CounterRandom random{3};
  for (int trial = 0; trial < 60; ++trial) {
    const Size size{1 + random.below(90), 1 + random.below(90)};
    const std::int64_t rows = 1 + random.below(70);
    const std::int64_t columns = 1 + random.below(70);
    same_on_all(size, 1, [&](Image& image, const PixelKernel& kernel) {
      Image out;
      Resizer(kernel).resize(image, axis_over(0, size.height, rows),
                             mirrored(axis_over(0, size.width, columns)),
                             helip::Interpolation::bicubic, out);
      image = std::move(out);
    });
  }
}

TEST_CASE("every kernel gives the same colours and blurs") {
  helip::random::CounterRandom random{4};
  for (int trial = 0; trial < 40; ++trial) {
    const Size size{1 + random.below(40), 1 + random.below(40)};
    const double factor = 2.0 * random.unit();
    const double turns = random.unit() - 0.5;
    same_on_all(size, 2, [&](Image& image, const PixelKernel& kernel) {
      adjust_brightness(image, factor, kernel);
      adjust_contrast(image, factor, kernel);
      adjust_saturation(image, factor, kernel);
      adjust_hue(image, turns, kernel);
      GaussianBlur(kernel).apply(image, 3.0 * factor);
      if (trial % 2 == 0) kernel.grayscale(image.data(), image.pixels());
    });
  }
}

TEST_CASE("pixels without room behind them are resized as any others") {
  const Size size{13, 9};
  const Image roomy = sample_image(size);
  const std::vector<std::uint8_t> tight(roomy.data(), roomy.data() + 13 * 9 * 3);
  Image expected;
  Image found;
  Resizer resizer;
  const Axis rows = axis_over(0, 13, 7);
  const Axis columns = axis_over(0, 9, 20);
  resizer.resize(roomy, rows, columns, helip::Interpolation::bilinear, expected);
  resizer.resize(ImageView(tight.data(), size), rows, columns, helip::Interpolation::bilinear,
                 found);
  CHECK(std::memcmp(found.data(), expected.data(), 7 * 20 * 3) == 0);
}
