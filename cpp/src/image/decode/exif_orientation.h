// How a stored image must be turned to stand upright.
#pragma once

#include <cstddef>
#include <span>

#include "image/decode/image_format.h"

namespace helip::image {

// The orientation of EXIF 2.32 (tag 0x0112), 1 .. 8: from EXIF data, else from XMP, as Pillow
// looks. 1 (upright) where there is none, or where the metadata are damaged: such an image is
// still one.
int exif_orientation(std::span<const std::byte> encoded, ImageFormat format) noexcept;

// What an orientation asks for: a stored image whose rows and columns are reversed as said, then
// swapped, stands upright.
struct Turn {
  bool reverse_rows = false;
  bool reverse_columns = false;
  bool swap = false;
};

Turn turn_of(int orientation) noexcept;

}  // namespace helip::image
