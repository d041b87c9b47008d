// XXH3-128 digests: detection of damage, not of malice.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "helip/export.h"

namespace helip {

class HELIP_FOR_DATA Digest {
 public:
  Digest();
  ~Digest();
  Digest(const Digest&);
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;

  void update(const void* data, std::size_t bytes);
  // Length-prefixed, so that ("ab", "c") and ("a", "bc") differ.
  void update_field(std::string_view field);
  std::string hex() const;  // 32 lower-case digits; may be called at any time

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string digest_hex(const void* data, std::size_t bytes);

}  // namespace helip
