// Structures that grow at their end: each side knows as much of them as it was compiled with.
#pragma once

#include <cstddef>
#include <cstring>

#include "c/c_status.h"

namespace helip::c {

// `least`: bytes of the first version, which every caller has.
template <typename Struct>
std::size_t checked_size(std::size_t size, std::size_t least, const char* name) {
  if (size < least) {
    refuse(name, ".struct_size is ", size, ", but must be at least ", least,
           "; set it to the size of the structure");
  }
  if (size > sizeof(Struct)) {
    fail(ErrorCode::unsupported, name, ".struct_size is ", size, ", but this library, helip ",
         helip_version(), ", knows ", sizeof(Struct),
         " bytes; the program was compiled for a newer one, load that");
  }
  return size;
}

// Writes what the caller knows of `values`.
template <typename Struct>
void write_struct(const Struct& values, Struct* out, std::size_t size, std::size_t least,
                  const char* name) {
  checked_size<Struct>(size, least, name);
  required(out, name);
  std::memcpy(out, &values, size);
  out->struct_size = size;
}

// What every helip_*_options_init() does: the defaults, as far as the caller knows them.
template <typename Struct>
helip_status init_options(Struct (*defaults)(), Struct* options, std::size_t size,
                          std::size_t least) noexcept {
  return run([&] { write_struct(defaults(), options, size, least, "options"); });
}

// What the caller gave, and the defaults of the fields that it does not know; NULL: the defaults.
template <typename Struct>
Struct read_struct(const Struct* given, Struct defaults, std::size_t least, const char* name) {
  if (given != nullptr) {
    std::memcpy(&defaults, given, checked_size<Struct>(given->struct_size, least, name));
  }
  return defaults;
}

}  // namespace helip::c
