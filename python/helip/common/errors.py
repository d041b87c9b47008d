"""The exceptions of helip: one base class, one subclass a code.

Every message gives the value, the bound it broke, and what to do about it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class Error(Exception):
    """Base of all errors that helip raises; ``code`` names the kind."""

    code = "error"


class InvalidArgumentError(Error, ValueError):
    """An argument is outside its documented bound."""

    code = "invalid_argument"


class CorruptError(Error, ValueError):
    """Bytes on disk are not what their manifest says."""

    code = "corrupt"


class MismatchError(Error, ValueError):
    """Two things that must belong together do not, such as a table and a data set."""

    code = "mismatch"


class StorageError(Error, OSError):
    """The operating system refused a read or a write; ``errno`` is set where it is known."""

    code = "io"


class CancelledError(Error):
    """The job was asked to stop and did; what was committed stays."""

    code = "cancelled"


class UnsupportedError(Error, NotImplementedError):
    """This build, machine or installation cannot do it; the message names what to install."""

    code = "unsupported"


@contextlib.contextmanager
def needed(words: str, install: str) -> Iterator[None]:
    """Turn an ImportError inside into an UnsupportedError: what needs what, and how it comes."""
    try:
        yield
    except ImportError as error:
        raise UnsupportedError(
            f"{words}, which is absent ({error}); pip install {install}"
        ) from error


class OutOfMemoryError(Error, MemoryError):
    """An allocation failed."""

    code = "out_of_memory"


class SampleError(Error):
    """One sample cannot be read; the others can.

    Attributes:
        key: the sample's key.
        reason: ``missing_image``, ``missing_caption``, ``unreadable_image``,
            ``unreadable_caption``, ``too_large``, ``too_slow``, ``outside_root``, ``io`` or
            ``source_error``.
    """

    code = "sample"

    # A worker's error is raised again from its message alone, hence the defaults.
    def __init__(self, message: str, *, key: str = "", reason: str = "io") -> None:
        super().__init__(message)
        self.key = key
        self.reason = reason

    @classmethod
    def of(cls, key: str, reason: str, detail: str) -> SampleError:
        """The error of the sample with that key; ``detail`` says what is wrong with it."""
        return cls(f"sample {key!r}: {detail}", key=key, reason=reason)


@contextlib.contextmanager
def errors_of_paths() -> Iterator[None]:
    """Turn an OSError inside that names a path into a StorageError of the same errno."""
    try:
        yield
    except Error:
        raise
    except OSError as error:
        if error.filename is None:
            raise
        name, reason = str(error.filename), error.strerror or str(error)
        raise StorageError(error.errno, f"cannot use {name[:200]!r}: {reason}") from error
