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

__all__ = [
    "CancelledError",
    "CorruptError",
    "Error",
    "InvalidArgumentError",
    "MismatchError",
    "OutOfMemoryError",
    "SampleError",
    "StorageError",
    "UnsupportedError",
    "join_processes",
]
