// Random colours as torchvision's ColorJitter has them on Pillow images.
#pragma once

#include <array>
#include <cstdint>

#include "base/counter_random.h"
#include "helip/image_transform.h"
#include "image/decode/image.h"
#include "image/pixel_kernel.h"

namespace helip::image {

// A factor of 1 leaves the image as it is; hue is in turns of the colour circle, -0.5 .. 0.5.
void adjust_brightness(Image& image, double factor, const PixelKernel& kernel);
void adjust_contrast(Image& image, double factor, const PixelKernel& kernel);
void adjust_saturation(Image& image, double factor, const PixelKernel& kernel);
void adjust_hue(Image& image, double turns, const PixelKernel& kernel);

enum class ColorStep : std::uint8_t { brightness, contrast, saturation, hue };

struct ColorJitter {
  std::array<ColorStep, 4> order{ColorStep::brightness, ColorStep::contrast, ColorStep::saturation,
                                 ColorStep::hue};
  std::array<double, 4> amount{1.0, 1.0, 1.0, 0.0};  // by ColorStep
  std::array<bool, 4> used{};
};

// A random order of the four and a uniform factor each; a step of strength 0 is left out.
ColorJitter draw_color_jitter(const ImageTransformOptions& options, random::CounterRandom& random);

void apply(const ColorJitter& jitter, Image& image, const PixelKernel& kernel);

}  // namespace helip::image
