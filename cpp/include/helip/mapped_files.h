// Files that become shorter while they are mapped.
#pragma once

#include "helip/export.h"

namespace helip {

// Stores, tables and indexes are mapped into memory. Where somebody cuts one of their files short
// meanwhile, touching what is gone raises SIGBUS, which ends the process. After this call it reads
// as zeros instead, and what the object is asked for next throws Error(corrupt): a table that was
// mined from it is not written, a batch not made. A cut within the last page raises no signal; it
// is the same error without this call.
//
// It installs a handler of SIGBUS for the process, which hands faults anywhere else to the handler
// before it. A library does not do that unasked: call it once, early, in a program of your own.
// `helip` commands do. Where another library takes its place, it comes back when a file is mapped
// or looked at. Views of a store that are read without another call show the zeros.
HELIP_EXPORT void guard_mapped_files();

}  // namespace helip
