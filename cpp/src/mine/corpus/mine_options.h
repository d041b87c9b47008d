// What every entry point of mining begins with: the checks of what is asked, once, at the border,
// and the way errors leave.
#pragma once

#include <cstdint>
#include <new>
#include <stdexcept>

#include "base/floating_mode.h"
#include "helip/embedding_store.h"
#include "helip/error.h"
#include "helip/matrix.h"
#include "helip/mine_options.h"
#include "mine/corpus/corpus.h"

namespace helip::mining {

inline constexpr std::int64_t kMaxRows = 0x7fffffff;  // have places of 31 bits while they are mined

// Throws invalid_argument for a channel that the store has not.
Matrices matrices_of(const EmbeddingStore& store, const MineOptions& options);

// Checks every option and that the matrices fit them and each other. Throws invalid_argument.
// Values are checked later, in the pass that measures the rows.
void validate(const Matrices& matrices, const MineOptions& options);

// Number of pairs: rows of the matrices that are used.
std::int64_t row_count(const Matrices& matrices, const MineOptions& options) noexcept;

// Rounds to nearest. Allocations that fail in the calling thread become Errors; those of a team's
// threads are already.
template <typename Body>
auto entry_point(const Body& body) {
  constexpr const char* kMessage =
      "there is not enough memory for the pools; lower k, memory= or the number of threads";
  const DefaultFloatingMode mode;
  try {
    return body();
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory, kMessage);
  } catch (const std::length_error&) {
    throw Error(ErrorCode::out_of_memory, kMessage);
  }
}

}  // namespace helip::mining
