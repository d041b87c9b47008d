#include "helip/version.h"

#define HELIP_TEXT_OF(value) #value
#define HELIP_TEXT(value) HELIP_TEXT_OF(value)

namespace helip {

const char* version() noexcept {
  return HELIP_TEXT(HELIP_VERSION_MAJOR) "." HELIP_TEXT(HELIP_VERSION_MINOR) "." HELIP_TEXT(
      HELIP_VERSION_PATCH);
}

}  // namespace helip
