#include "helip/version.h"

#include <string>

#include "base/refuse.h"
#include "base/release.h"

const char HELIP_RELEASE = 0;

namespace helip {
namespace {

std::string text_of(int version) {
  return std::to_string(version / 1000000) + "." + std::to_string(version / 1000 % 1000) + "." +
         std::to_string(version % 1000);
}

// Before 1.0 a minor version may change anything; from then on it only adds.
bool serves(int library, int headers) {
  if (library / 1000000 != headers / 1000000) return false;
  const int ours = library / 1000 % 1000, theirs = headers / 1000 % 1000;
  return library < 1000000 ? ours == theirs : ours >= theirs;
}

}  // namespace

const char* version() noexcept { return HELIP_VERSION_STRING; }

void check_version(int headers) {
  if (serves(HELIP_VERSION, headers)) return;
  fail(ErrorCode::mismatch, "this program was compiled with headers of helip ", text_of(headers),
       ", but the library that is loaded is ", version(),
       "; compile it with the headers of that library, or load "
       "the library of its headers");
}

}  // namespace helip
