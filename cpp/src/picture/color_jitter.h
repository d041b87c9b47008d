// Random colours as torchvision's ColorJitter has them on Pillow images.
#pragma once

#include <array>
#include <cstdint>

#include "helip/image_transform.h"
#include "picture/picture.h"
#include "picture/pixel_kernel.h"
#include "random/counter_random.h"

namespace helip::picture {

// A factor of 1 leaves the picture as it is; hue is in turns of the colour circle, -0.5 .. 0.5.
void adjust_brightness(Picture& picture, double factor, const PixelKernel& kernel);
void adjust_contrast(Picture& picture, double factor, const PixelKernel& kernel);
void adjust_saturation(Picture& picture, double factor, const PixelKernel& kernel);
void adjust_hue(Picture& picture, double turns, const PixelKernel& kernel);

enum class ColorStep : std::uint8_t { brightness, contrast, saturation, hue };

struct ColorJitter {
  std::array<ColorStep, 4> order{ColorStep::brightness, ColorStep::contrast, ColorStep::saturation,
                                 ColorStep::hue};
  std::array<double, 4> amount{1.0, 1.0, 1.0, 0.0};  // by ColorStep
  std::array<bool, 4> used{};
};

// A random order of the four and a uniform factor each; a step of strength 0 is left out.
ColorJitter draw_color_jitter(const ImageTransformOptions& options, random::CounterRandom& random);

void apply(const ColorJitter& jitter, Picture& picture, const PixelKernel& kernel);

}  // namespace helip::picture
