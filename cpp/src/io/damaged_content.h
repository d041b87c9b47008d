// What a file holds that is damaged, told as the damage of the whole that it is a part of.
#pragma once

#include "helip/error.h"
#include "io/json.h"

namespace helip {

// What `read` gives. Where it finds damage or other JSON than it expects, `damaged(what)` throws.
template <typename Read, typename Damaged>
auto read_or_damaged(const Read& read, const Damaged& damaged) {
  try {
    return read();
  } catch (const Json::exception& error) {
    damaged(error.what());
  } catch (const Error& error) {
    if (error.code() != ErrorCode::corrupt) throw;
    damaged(error.what());
  }
  __builtin_unreachable();
}

}  // namespace helip
