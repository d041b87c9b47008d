#include "image/gaussian_blur.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace helip::image {
namespace {

constexpr int kPasses = 3;

// The radius, with its fraction, of boxes that together have the variance of the Gaussian. Float
// and double alternate as in Pillow, whose bytes this gives.
float box_radius(float sigma) {
  const float variance = sigma * sigma / kPasses;
  const auto length = static_cast<float>(std::sqrt(12.0 * static_cast<double>(variance) + 1.0));
  const auto whole = static_cast<float>(std::floor((static_cast<double>(length) - 1.0) / 2.0));
  float fraction = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);
  fraction /= 6 * (variance - (whole + 1) * (whole + 1));
  return whole + fraction;
}

}  // namespace

void GaussianBlur::apply(Image& image, double sigma) {
  const float radius = box_radius(static_cast<float>(sigma));
  if (radius <= 0.0F) return;
  radius_ = static_cast<int64_t>(radius);
  near_ = static_cast<std::uint32_t>(static_cast<float>(1 << 24) / (radius * 2 + 1));
  far_ = ((std::uint32_t{1} << 24) - static_cast<std::uint32_t>(radius_ * 2 + 1) * near_) / 2;
  taps_.resize(static_cast<std::size_t>(2 * radius_ + 3));
  for (int pass = 0; pass < kPasses; ++pass) along_rows(image);
  for (int pass = 0; pass < kPasses; ++pass) across_rows(image);
}

void GaussianBlur::along_rows(Image& image) {
  const int64_t edge = (radius_ + 1) * kChannels;
  uint8_t* line = line_.reserve(static_cast<std::size_t>(image.stride() + 2 * edge));
  for (std::size_t i = 0; i < taps_.size(); ++i) {
    taps_[i] = line + static_cast<int64_t>(i) * kChannels;
  }
  for (int64_t y = 0; y < image.height(); ++y) {
    uint8_t* row = image.row(y);
    std::memcpy(line + edge, row, static_cast<std::size_t>(image.stride()));
    for (int64_t i = 0; i < edge; i += kChannels) {
      std::memcpy(line + i, row, kChannels);
      std::memcpy(line + edge + image.stride() + i, row + image.stride() - kChannels, kChannels);
    }
    kernel_->blur(taps_.data(), static_cast<int64_t>(taps_.size()), near_, far_, image.stride(),
                  row);
  }
}

void GaussianBlur::across_rows(Image& image) {
  // Rows above the current one are needed as they were: a ring keeps the last ones.
  const int64_t kept = radius_ + 2;
  const int64_t stride = image.stride();
  uint8_t* ring = line_.reserve(static_cast<std::size_t>(kept * stride));
  const int64_t last = image.height() - 1;
  for (int64_t y = 0; y <= last; ++y) {
    std::memcpy(ring + y % kept * stride, image.row(y), static_cast<std::size_t>(stride));
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      const int64_t at = std::clamp<int64_t>(y + static_cast<int64_t>(i) - radius_ - 1, 0, last);
      taps_[i] = at <= y ? ring + at % kept * stride : image.row(at);
    }
    kernel_->blur(taps_.data(), static_cast<int64_t>(taps_.size()), near_, far_, stride,
                  image.row(y));
  }
}

}  // namespace helip::image
