// An encoded image becomes the numbers that a model takes: decoded, cropped, resized, augmented
// and normalised. The same for the same (bytes, options, key), on every machine and thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "helip/export.h"
#include "helip/matrix.h"

namespace helip {

// Which part of an image is taken. Sizes and rounding are those of torchvision and open_clip.
enum class CropKind {
  random,    // RandomResizedCrop: a random area and aspect ratio
  shortest,  // the shorter side to the size, or to `resize`, then the centre
  longest,   // the longer side to the size, the rest filled with `fill`
  squash,    // both sides to the size, whatever the aspect ratio
};

// Antialiased as in Pillow: when an image shrinks, the filter widens by as much.
enum class Interpolation { bilinear, bicubic };

enum class PixelLayout { nhwc, nchw };  // of one image: height x width x 3, or 3 x height x width

[[nodiscard]] HELIP_EXPORT const char* name_of(CropKind kind) noexcept;  // "random", ...
[[nodiscard]] HELIP_EXPORT const char* name_of(Interpolation interpolation) noexcept;
[[nodiscard]] HELIP_EXPORT const char* name_of(PixelLayout layout) noexcept;
[[nodiscard]] HELIP_EXPORT CropKind
crop_kind_from_name(const std::string& name);  // throws invalid_argument
[[nodiscard]] HELIP_EXPORT Interpolation interpolation_from_name(const std::string& name);
[[nodiscard]] HELIP_EXPORT PixelLayout pixel_layout_from_name(const std::string& name);

using DrawRange = std::array<double, 2>;  // low, high; both may be drawn

struct ImageTransformOptions {
  std::int64_t height = 224;  // of the result, 1 .. 16384
  std::int64_t width = 224;
  CropKind crop = CropKind::random;
  DrawRange scale{0.08, 1.0};  // CropKind::random: share of the area, 0 < low <= high <= 1
  DrawRange ratio{3.0 / 4.0, 4.0 / 3.0};  // CropKind::random: width / height, drawn log-uniformly
  std::int64_t resize = 0;  // CropKind::shortest: what the shorter side becomes; 0: the size
  std::array<std::uint8_t, 3> fill{};  // where there is no image
  Interpolation interpolation = Interpolation::bicubic;

  // Augmentations, in the order in which they are applied. Probabilities are 0 .. 1.
  double jitter_probability = 0.0;
  double brightness = 0.0;  // strengths, as torchvision.transforms.ColorJitter takes them:
  double contrast = 0.0;    // a factor of 1 - s .. 1 + s, not below 0
  double saturation = 0.0;
  double hue = 0.0;  // 0 .. 0.5: a shift of -hue .. hue turns of the colour circle
  double grayscale_probability = 0.0;
  double blur_probability = 0.0;
  DrawRange blur_sigma{0.1,
                       2.0};  // of PIL.ImageFilter.GaussianBlur, in pixels of the result; 0 .. 8
  double flip_probability = 0.0;  // left to right

  // float32, float16 or bfloat16: (value / 255 - mean) / stddev. uint8: the pixels as they are.
  DType dtype = DType::float32;
  PixelLayout layout = PixelLayout::nchw;
  std::array<double, 3> mean{0.48145466, 0.4578275, 0.40821073};  // of open_clip
  std::array<double, 3> stddev{0.26862954, 0.26130258, 0.27577711};

  // A JPEG of twice the size that is needed, or more, is decoded to a half, a quarter or an eighth,
  // never below the result's; true takes every pixel, as Pillow does. docs/images-in.md has the
  // difference.
  bool exact_decode = false;
  std::int64_t max_pixels = 178'956'970;           // of an image; more is "too_large"
  std::int64_t max_bytes = std::int64_t{1} << 30;  // of an encoded image
  // Of the clock, to decode an image once its bytes are there; more is "too_slow". What is near it
  // is decoded or not as the machine is busy. Infinity: no limit.
  double max_seconds = 10.0;
  double max_aspect = 0.0;  // of an image: its longer side over its shorter; 0: any
};

// Whether the library was built to decode a format ("JPEG", "PNG", "WEBP", "PPM").
[[nodiscard]] HELIP_EXPORT bool decodes_format(const std::string& format) noexcept;

// Immutable, so that threads may share it. What was moved from can be assigned to or destroyed, and
// nothing else; so can a Scratch.
class HELIP_EXPORT ImageTransform {
 public:
  // What chance depends on. Views of a row differ in `view` alone.
  struct Key {
    std::uint64_t seed = 0;
    std::uint64_t epoch = 0;
    std::uint64_t row = 0;
    std::uint64_t view = 0;
  };

  // Buffers and decoders, kept from call to call. One for each thread; serves any transform.
  class HELIP_EXPORT Scratch {
   public:
    Scratch();
    ~Scratch();
    Scratch(Scratch&&) noexcept;
    Scratch& operator=(Scratch&&) noexcept;

   private:
    friend class ImageTransform;
    struct Buffers;
    std::unique_ptr<Buffers> buffers_;
  };

  // Throws invalid_argument.
  explicit ImageTransform(ImageTransformOptions options);
  ~ImageTransform();
  ImageTransform(ImageTransform&&) noexcept;
  ImageTransform& operator=(ImageTransform&&) noexcept;

  [[nodiscard]] const ImageTransformOptions& options() const noexcept;
  [[nodiscard]] std::vector<std::int64_t> shape()
      const;                                         // {3, height, width} or {height, width, 3}
  [[nodiscard]] std::size_t bytes() const noexcept;  // of one result

  // Writes bytes() bytes at `out`, which needs no alignment beyond its element's. Throws
  // SampleError "unreadable_image" (unknown, damaged, truncated), "too_large" (bytes, pixels,
  // scans), "too_slow", "extreme_aspect", or "unsupported_format" (an image that Pillow may read
  // and this build does not: GIF, BMP, TIFF, CMYK, 16 bits, animations); `out` is then undefined.
  void apply(std::span<const std::byte> encoded, const Key& key, void* out, Scratch& scratch) const;

  // The same from upright RGB pixels, height x width x 3 without gaps.
  void apply_pixels(const std::uint8_t* rgb, std::int64_t height, std::int64_t width,
                    const Key& key, void* out, Scratch& scratch) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace helip
