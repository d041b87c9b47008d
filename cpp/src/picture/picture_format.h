// Which format encoded bytes have, told by their content alone.
#pragma once

#include <cstddef>
#include <span>

namespace helip::picture {

// Those that a data set may hold. The last three are read by Pillow alone.
enum class PictureFormat { unknown, jpeg, png, webp, gif, bmp, tiff };

PictureFormat format_of(std::span<const std::byte> encoded) noexcept;
const char* name_of(PictureFormat format) noexcept;  // "JPEG", ...

}  // namespace helip::picture
