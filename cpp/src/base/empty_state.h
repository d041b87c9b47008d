// For classes that share an immutable state.
#pragma once

#include <memory>

namespace helip {

// The state of an object that holds nothing, also of one that was moved from. Never null, so that
// no method has to ask, and not allocated, so that moving cannot fail.
template <typename State>
std::shared_ptr<const State> empty_state() noexcept {
  static const State empty;
  return {std::shared_ptr<const State>(), &empty};
}

}  // namespace helip
