// Which format encoded bytes have, told by their content alone.
#pragma once

#include <cstddef>
#include <span>

namespace helip::image {

// Those that a data set may hold. The last three are read by Pillow alone.
enum class ImageFormat { unknown, jpeg, png, webp, ppm, gif, bmp, tiff };

ImageFormat format_of(std::span<const std::byte> encoded) noexcept;
const char* name_of(ImageFormat format) noexcept;  // "JPEG", ...

}  // namespace helip::image
