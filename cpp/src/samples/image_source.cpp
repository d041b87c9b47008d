#include "helip/image_source.h"

namespace helip {

ImageSource::~ImageSource() = default;

void ImageSource::will_need(std::int64_t) const noexcept {}

}  // namespace helip
