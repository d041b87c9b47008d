#include "helip/picture_source.h"

namespace helip {

PictureSource::~PictureSource() = default;

void PictureSource::will_need(std::int64_t) const noexcept {}

}  // namespace helip
