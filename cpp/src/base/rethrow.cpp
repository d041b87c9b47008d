#include "base/rethrow.h"

#include <new>
#include <stdexcept>

#include "helip/error.h"

namespace helip {
namespace {

constexpr const char* kMessage =
    "an allocation failed; give the process more memory, or end what else takes it";

}  // namespace

void rethrow_as_error() {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory, kMessage);
  } catch (const std::length_error&) {
    throw Error(ErrorCode::out_of_memory, kMessage);
  }
}

}  // namespace helip
