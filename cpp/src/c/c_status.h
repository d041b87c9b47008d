// The border of the C interface: exceptions become status codes and a message of the thread.
#pragma once

#include <helip.h>

#include "base/refuse.h"

namespace helip::c {

// Of the exception that is being handled. Keeps its message for helip_last_error().
helip_status status_of_exception() noexcept;

// What every function that can fail runs in.
template <typename Body>
helip_status run(const Body& body) noexcept {
  try {
    body();
    return HELIP_OK;
  } catch (...) {
    return status_of_exception();
  }
}

template <typename Value>
Value& required(Value* pointer, const char* name) {
  if (pointer == nullptr) refuse(name, " is NULL; give what it points to");
  return *pointer;
}

}  // namespace helip::c
