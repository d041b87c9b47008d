"""Files that become shorter while they are mapped."""

from __future__ import annotations

from helip import _core


def guard_mapped_files() -> None:
    """Let a mapped file that becomes shorter be an error, not the end of the process.

    Stores, tables and indexes are mapped into memory. Where somebody cuts one of their files short
    meanwhile, touching what is gone raises SIGBUS, which ends the process. After this call it reads
    as zeros, and what the object is asked for next raises CorruptError: a table that was mined from
    it is not written, a batch not made. NumPy views and tensors over a store show the zeros. A cut
    within the last page raises no signal; it is the same error without this call.

    A handler of SIGBUS is installed for the process; faults anywhere else are left to the one
    before it. A library does not do that unasked: call it once, early, in a program of your own.
    ``helip`` commands do. Where another library takes its place, it comes back when a file is
    mapped or looked at.
    """
    _core.guard_mapped_files()
