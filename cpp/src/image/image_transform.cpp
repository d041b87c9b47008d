#include "helip/image_transform.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "base/floating_mode.h"
#include "base/rethrow.h"
#include "helip/error.h"
#include "helip/sample_error.h"
#include "image/color_jitter.h"
#include "image/crop.h"
#include "image/decode/decode.h"
#include "image/decode/decode_png.h"
#include "image/decode/decode_webp.h"
#include "image/decode/exif_orientation.h"
#include "image/gaussian_blur.h"
#include "image/image_transform_options.h"
#include "image/pixels_out.h"
#include "image/resize.h"

namespace helip {
namespace {

using namespace image;
using random::CounterRandom;

// What a draw is for. Each has a sequence of its own: turning one augmentation off leaves the
// others as they were. Numbers differ from those of the room of batches.
enum Purpose : std::uint64_t { kCrop = 16, kJitter, kGrayscale, kBlur, kFlip };

// What a scratch keeps from image to image; a larger buffer is given back.
constexpr std::size_t kKeptBytes = std::size_t{64} << 20;

// Weights of one result pixel reach over four steps of bicubic; this bounds their memory.
constexpr double kLargestStep = 8192.0;

CounterRandom random_for(Purpose purpose, const ImageTransform::Key& key) noexcept {
  return {key.seed, purpose, key.epoch, key.row, key.view};
}

// The smallest size of a JPEG that has no fewer pixels than the result. Only halves: libjpeg-turbo
// has no vector code for the eighths in between, which take longer than the whole.
int smallest_eighths(const Axis& rows, const Axis& columns) noexcept {
  const double step = std::min(std::abs(rows.step), std::abs(columns.step));
  int eighths = 8;
  while (eighths > 1 && step * eighths / 2 >= 8.0) eighths /= 2;
  return eighths;
}

// Row y becomes column y.
void swap_sides(const Image& from, Image& to) {
  to.resize({from.width(), from.height()});
  for (int64_t y = 0; y < to.height(); ++y) {
    uint8_t* out = to.row(y);
    const uint8_t* in = from.data() + y * kChannels;
    for (int64_t x = 0; x < to.width(); ++x, out += kChannels, in += from.stride()) {
      std::memcpy(out, in, kChannels);
    }
  }
}

void fill(Image& image, const std::array<std::uint8_t, 3>& colour) {
  uint8_t* data = image.data();
  for (int64_t i = 0; i < image.pixels(); ++i) {
    std::copy(colour.begin(), colour.end(), data + i * kChannels);
  }
}

}  // namespace

bool decodes_format(const std::string& format) noexcept {
  return format == "JPEG" || format == "PPM" || (format == "PNG" && PngDecoder::built()) ||
         (format == "WEBP" && WebpDecoder::built());
}

struct ImageTransform::Scratch::Buffers {
  Decoder decoder;
  Resizer resizer;
  GaussianBlur blur;
  Image decoded;
  Image resized;
  Image turned;
  Image framed;

  void release() noexcept {
    decoder.release_above(kKeptBytes);
    resizer.release_above(kKeptBytes);
    decoded.release_above(kKeptBytes);
  }
};

ImageTransform::Scratch::Scratch() try : buffers_(std::make_unique<Buffers>()) {
} catch (...) {
  rethrow_as_error();
}
ImageTransform::Scratch::~Scratch() = default;
ImageTransform::Scratch::Scratch(Scratch&&) noexcept = default;
ImageTransform::Scratch& ImageTransform::Scratch::operator=(Scratch&&) noexcept = default;

struct ImageTransform::Impl {
  ImageTransformOptions options;
  DecodeLimits limits;
  PixelsOut pixels_out;

  explicit Impl(const ImageTransformOptions& checked)
      : options(checked),
        limits{.max_bytes = checked.max_bytes,
               .max_pixels = checked.max_pixels,
               .max_seconds = checked.max_seconds},
        pixels_out(checked) {}

  // The crop of an upright image, already flipped where chance says so.
  Crop draw_crop(Size upright, const Key& key) const {
    check_aspect(upright);
    CounterRandom random = random_for(kCrop, key);
    Crop crop = crop_of(options, upright, random);
    if (std::max(std::abs(crop.rows.step), std::abs(crop.columns.step)) > kLargestStep) {
      throw SampleError("too_large", "the picture has " + std::to_string(upright.width) + " x " +
                                         std::to_string(upright.height) +
                                         " pixels, a side more than 8,192 times the result's");
    }
    if (happens(options.flip_probability, kFlip, key)) {
      crop.columns = mirrored(crop.columns);
      crop.left = options.width - crop.left - crop.columns.count;
    }
    return crop;
  }

  void check_aspect(Size upright) const {
    const auto longer = static_cast<double>(std::max(upright.width, upright.height));
    const auto shorter = static_cast<double>(std::min(upright.width, upright.height));
    if (options.max_aspect == 0.0 || longer <= options.max_aspect * shorter) return;
    throw SampleError("extreme_aspect", "the picture is " + std::to_string(upright.width) + " x " +
                                            std::to_string(upright.height) + "; one side may be " +
                                            std::to_string(std::llround(options.max_aspect)) +
                                            " times the other");
  }

  static bool happens(double probability, Purpose purpose, const Key& key) noexcept {
    return probability > 0.0 && random_for(purpose, key).unit() < probability;
  }

  // `result` holds the crop; writes it, framed and augmented.
  void finish(Image& result, const Crop& crop, const Key& key, void* out,
              Scratch::Buffers& buffers) const {
    Image* image = &result;
    if (result.size() != Size{options.height, options.width}) {
      image = &buffers.framed;
      image->resize({options.height, options.width});
      fill(*image, options.fill);
      for (int64_t y = 0; y < result.height(); ++y) {
        std::memcpy(image->row(crop.top + y) + crop.left * kChannels, result.row(y),
                    static_cast<std::size_t>(result.stride()));
      }
    }
    augment(*image, key, buffers);
    pixels_out.write(*image, out);
  }

  void augment(Image& image, const Key& key, Scratch::Buffers& buffers) const {
    const PixelKernel& kernel = fastest_pixel_kernel();
    if (options.jitter_probability > 0.0) {
      CounterRandom random = random_for(kJitter, key);
      if (random.unit() < options.jitter_probability) {
        image::apply(draw_color_jitter(options, random), image, kernel);
      }
    }
    if (happens(options.grayscale_probability, kGrayscale, key)) {
      kernel.grayscale(image.data(), image.pixels());
    }
    if (options.blur_probability > 0.0) {
      CounterRandom random = random_for(kBlur, key);
      if (random.unit() < options.blur_probability) {
        const auto [low, high] = options.blur_sigma;
        buffers.blur.apply(image, low + (high - low) * random.unit());
      }
    }
  }
};

ImageTransform::ImageTransform(ImageTransformOptions options) try {
  check_options(options);
  impl_ = std::make_unique<Impl>(options);
} catch (...) {
  rethrow_as_error();
}

ImageTransform::~ImageTransform() = default;
ImageTransform::ImageTransform(ImageTransform&&) noexcept = default;
ImageTransform& ImageTransform::operator=(ImageTransform&&) noexcept = default;

const ImageTransformOptions& ImageTransform::options() const noexcept { return impl_->options; }

std::vector<std::int64_t> ImageTransform::shape() const {
  const ImageTransformOptions& o = impl_->options;
  if (o.layout == PixelLayout::nhwc) return {o.height, o.width, kChannels};
  return {kChannels, o.height, o.width};
}

std::size_t ImageTransform::bytes() const noexcept { return impl_->pixels_out.bytes(); }

void ImageTransform::apply(std::span<const std::byte> encoded, const Key& key, void* out,
                           Scratch& scratch) const try {
  const DefaultFloatingMode mode;
  const Impl& self = *impl_;
  Scratch::Buffers& buffers = *scratch.buffers_;
  const ImageHeader header = buffers.decoder.open(encoded, self.limits);
  const Turn turn = turn_of(header.orientation);
  Size upright = header.stored;
  if (turn.swap) std::swap(upright.height, upright.width);
  const Crop crop = self.draw_crop(upright, key);

  // The crop as the image is stored; what is mirrored on the way costs nothing.
  Axis rows = turn.swap ? crop.columns : crop.rows;
  Axis columns = turn.swap ? crop.rows : crop.columns;
  if (turn.reverse_rows) rows = from_the_end(rows, static_cast<double>(header.stored.height));
  if (turn.reverse_columns) {
    columns = from_the_end(columns, static_cast<double>(header.stored.width));
  }
  const bool exact = self.options.exact_decode || header.format != ImageFormat::jpeg;
  const int eighths = exact ? 8 : smallest_eighths(rows, columns);
  rows = scaled(rows, eighths / 8.0);
  columns = scaled(columns, eighths / 8.0);

  const Interpolation interpolation = self.options.interpolation;
  const Extent tall = extent_of(rows, interpolation);
  const Extent wide = extent_of(columns, interpolation);
  const Region held = buffers.decoder.decode(
      {tall.first, wide.first, tall.last - tall.first, wide.last - wide.first}, eighths,
      buffers.decoded);
  buffers.resizer.resize(buffers.decoded, seen_through(rows, held.top, held.height),
                         seen_through(columns, held.left, held.width), interpolation,
                         buffers.resized, turn.swap);
  Image* result = &buffers.resized;
  if (turn.swap) {
    swap_sides(buffers.resized, buffers.turned);
    result = &buffers.turned;
  }
  self.finish(*result, crop, key, out, buffers);
  buffers.release();
} catch (...) {
  rethrow_as_error();
}

void ImageTransform::apply_pixels(const std::uint8_t* rgb, std::int64_t height, std::int64_t width,
                                  const Key& key, void* out, Scratch& scratch) const try {
  const DefaultFloatingMode mode;
  const Impl& self = *impl_;
  Scratch::Buffers& buffers = *scratch.buffers_;
  const Size size{height, width};
  check_pixels(size, self.limits);
  const Crop crop = self.draw_crop(size, key);
  buffers.resizer.resize(ImageView(rgb, size), crop.rows, crop.columns, self.options.interpolation,
                         buffers.resized);
  self.finish(buffers.resized, crop, key, out, buffers);
  buffers.release();
} catch (...) {
  rethrow_as_error();
}

}  // namespace helip
