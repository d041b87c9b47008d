#include "image/color_jitter.h"

#include <algorithm>
#include <utility>

namespace helip::image {
namespace {

using Table = std::array<uint8_t, 256>;

// Pillow's Image.blend of one level with all others, in its float arithmetic, cut and not rounded.
Table blended_with(int level, double factor) noexcept {
  Table table{};
  const auto share = static_cast<float>(factor);
  for (int value = 0; value < 256; ++value) {
    const float mixed = static_cast<float>(level) + share * static_cast<float>(value - level);
    table[static_cast<std::size_t>(value)] = static_cast<uint8_t>(std::clamp(mixed, 0.0F, 255.0F));
  }
  return table;
}

void map(Image& image, const Table& table, const PixelKernel& kernel) {
  kernel.map_bytes(image.data(), image.pixels() * kChannels, table.data());
}

}  // namespace

void adjust_brightness(Image& image, double factor, const PixelKernel& kernel) {
  map(image, blended_with(0, factor), kernel);
}

void adjust_contrast(Image& image, double factor, const PixelKernel& kernel) {
  const auto sum = static_cast<double>(kernel.sum_luma(image.data(), image.pixels()));
  const auto mean = static_cast<int>(sum / static_cast<double>(image.pixels()) + 0.5);
  map(image, blended_with(mean, factor), kernel);
}

void adjust_saturation(Image& image, double factor, const PixelKernel& kernel) {
  kernel.saturate(image.data(), image.pixels(), static_cast<float>(factor));
}

void adjust_hue(Image& image, double turns, const PixelKernel& kernel) {
  kernel.shift_hue(image.data(), image.pixels(), static_cast<int>(turns * 255.0));
}

ColorJitter draw_color_jitter(const ImageTransformOptions& options, random::CounterRandom& random) {
  ColorJitter jitter;
  for (std::size_t last = jitter.order.size() - 1; last > 0; --last) {
    const auto other = static_cast<std::size_t>(random.below(static_cast<int64_t>(last) + 1));
    std::swap(jitter.order[last], jitter.order[other]);
  }
  const std::array<double, 3> strengths{options.brightness, options.contrast, options.saturation};
  for (std::size_t step = 0; step < strengths.size(); ++step) {
    const double low = std::max(0.0, 1.0 - strengths[step]);
    const double high = 1.0 + strengths[step];
    jitter.amount[step] = low + (high - low) * random.unit();
    jitter.used[step] = strengths[step] > 0.0;
  }
  jitter.amount[3] = options.hue * (2.0 * random.unit() - 1.0);
  jitter.used[3] = options.hue > 0.0;
  return jitter;
}

void apply(const ColorJitter& jitter, Image& image, const PixelKernel& kernel) {
  for (const ColorStep step : jitter.order) {
    const auto place = static_cast<std::size_t>(step);
    if (!jitter.used[place]) continue;
    const double amount = jitter.amount[place];
    switch (step) {
      case ColorStep::brightness: adjust_brightness(image, amount, kernel); break;
      case ColorStep::contrast: adjust_contrast(image, amount, kernel); break;
      case ColorStep::saturation: adjust_saturation(image, amount, kernel); break;
      case ColorStep::hue: adjust_hue(image, amount, kernel); break;
    }
  }
}

}  // namespace helip::image
