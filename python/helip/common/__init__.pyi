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
]
