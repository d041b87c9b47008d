from .array_cache import ArrayCache
from .errors import (
    CancelledError,
    CorruptError,
    Error,
    InvalidArgumentError,
    MismatchError,
    OutOfMemoryError,
    SampleError,
    StorageError,
    UnsupportedError,
)
from .processes import join_processes
from .remote.copying import CopyOptions, copy

__all__ = [
    "ArrayCache",
    "CancelledError",
    "CopyOptions",
    "CorruptError",
    "Error",
    "InvalidArgumentError",
    "MismatchError",
    "OutOfMemoryError",
    "SampleError",
    "StorageError",
    "UnsupportedError",
    "copy",
    "join_processes",
]
