#include "c/c_status.h"

#include <exception>
#include <new>
#include <stdexcept>
#include <string>

#include "helip/error.h"
#include "helip/version.h"

namespace helip::c {
namespace {

constexpr const char* kNoMemory =
    "an allocation failed; give the process more memory, or end what else takes it";

struct LastError {
  std::string text;
  const char* shown = "";  // `text`, or what needs no memory
  int system_errno = 0;
};
thread_local LastError last_error;

helip_status keep(helip_status status, const char* message, int system_errno = 0) noexcept {
  last_error.system_errno = system_errno;
  try {
    last_error.text = message;
    last_error.shown = last_error.text.c_str();
  } catch (...) {  // no memory for the message
    last_error.shown = kNoMemory;
  }
  return status;
}

helip_status status_of(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument: return HELIP_ERROR_INVALID_ARGUMENT;
    case ErrorCode::corrupt: return HELIP_ERROR_CORRUPT;
    case ErrorCode::mismatch: return HELIP_ERROR_MISMATCH;
    case ErrorCode::io: return HELIP_ERROR_IO;
    case ErrorCode::cancelled: return HELIP_ERROR_CANCELLED;
    case ErrorCode::unsupported: return HELIP_ERROR_UNSUPPORTED;
    case ErrorCode::out_of_memory: return HELIP_ERROR_OUT_OF_MEMORY;
    case ErrorCode::sample: break;  // nothing here reads samples
  }
  return HELIP_ERROR_INTERNAL;
}

}  // namespace

helip_status status_of_exception() noexcept {
  try {
    throw;
  } catch (const Error& error) {
    return keep(status_of(error.code()), error.what(), error.system_errno());
  } catch (const std::bad_alloc&) {
    return keep(HELIP_ERROR_OUT_OF_MEMORY, kNoMemory);
  } catch (const std::length_error&) {
    return keep(HELIP_ERROR_OUT_OF_MEMORY, kNoMemory);
  } catch (const std::exception& error) {
    return keep(HELIP_ERROR_INTERNAL, error.what());
  } catch (...) {
    return keep(HELIP_ERROR_INTERNAL, "a callback threw what is no std::exception");
  }
}

}  // namespace helip::c

int32_t helip_version_number(void) { return HELIP_VERSION; }

const char* helip_version(void) { return helip::version(); }

helip_status helip_check_version(int32_t header) {
  return helip::c::run([&] { helip::check_version(header); });
}

const char* helip_status_name(helip_status status) {
  switch (status) {
    case HELIP_OK: return "ok";
    case HELIP_ERROR_INVALID_ARGUMENT: return "invalid_argument";
    case HELIP_ERROR_CORRUPT: return "corrupt";
    case HELIP_ERROR_MISMATCH: return "mismatch";
    case HELIP_ERROR_IO: return "io";
    case HELIP_ERROR_CANCELLED: return "cancelled";
    case HELIP_ERROR_UNSUPPORTED: return "unsupported";
    case HELIP_ERROR_OUT_OF_MEMORY: return "out_of_memory";
    case HELIP_ERROR_INTERNAL: return "internal";
    default: return "unknown";
  }
}

const char* helip_last_error(void) { return helip::c::last_error.shown; }

int32_t helip_last_errno(void) { return helip::c::last_error.system_errno; }
