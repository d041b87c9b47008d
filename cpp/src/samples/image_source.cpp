#include "helip/image_source.h"

namespace helip {

ImageSource::~ImageSource() = default;

void ImageSource::will_need(std::span<const std::int64_t>) const noexcept {}

std::int64_t ImageSource::rows_ahead() const noexcept { return 16; }

}  // namespace helip
