#include "support/failing_calls.h"

#include <atomic>

#include "support/system_calls.h"

namespace {

using Kind = FailingCalls::Kind;

std::atomic<Kind> failing_kind{Kind::none};
std::atomic<int> left{0};
std::atomic<int> failures{0};
int failing_error = EIO;
bool failing_once = false;

}  // namespace

FailingCalls::FailingCalls(Kind kind, int at, int error, bool once) {
  failing_error = error;
  failing_once = once;
  failures = 0;
  left = at;
  failing_kind = kind;
}

FailingCalls::~FailingCalls() { failing_kind = Kind::none; }

bool FailingCalls::happened() const noexcept { return failures > 0; }

bool fails(Kind kind) {
  if (failing_kind != kind || left-- > 0) return false;
  if (failing_once && failures > 0) return false;
  ++failures;
  errno = failing_error;
  return true;
}
