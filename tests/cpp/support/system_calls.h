// What the test program's own functions of the C library's names ask before they call the system.
#pragma once

#include <cstdint>

#include "support/disk_changes.h"
#include "support/failing_calls.h"

// Whether a call of this kind fails now; errno is then set.
bool fails(FailingCalls::Kind kind);

// Who is told of changes, or null.
DiskWatch* watching() noexcept;

// By which changes name a file. A new file has the inode of one that was removed at times, but
// never its number.
std::uint64_t number_of(int file, bool is_new = false);
