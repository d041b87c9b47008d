#include "helip/image_source.h"

#include "base/release.h"

// Asked for by the loader, and by nothing else.
[[gnu::used]] static const char* const helip_release = &HELIP_RELEASE;

namespace helip {

ImageSource::~ImageSource() = default;

void ImageSource::will_need(std::span<const std::int64_t>) const noexcept {}

std::int64_t ImageSource::rows_ahead() const noexcept { return 16; }

}  // namespace helip
