"""Rows that stand for embeddings that are not there yet, so that a job can be planned without them.

A plan reads a sample of the rows and nothing else, yet the core asks for all of them. So blocks of
random rows are mapped into memory one after another: the address space is that of all rows, the
memory that of a block.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from collections.abc import Iterator

import numpy as np

from helip import _core
from helip.common.errors import OutOfMemoryError

_STEP = 2048  # rows of two bytes an element that fill whole pages, whatever the dimensions
_BLOCKS = (16, 17)  # steps of a block of images and of texts: no pair repeats for 557,056 rows
_MOST_MAPS = 8192  # of a matrix; a process may have 65,530
_SHARED = 48  # directions that both modalities have
_GROUPS = 4000  # of rows that look and read alike
_FAILED = ctypes.c_void_p(-1).value
_FIXED, _NORESERVE = 0x10, 0x4000  # of mmap(2) on Linux; Python's module does not name them


@contextlib.contextmanager
def stand_in_matrices(
    rows: int, image_dim: int, text_dim: int
) -> Iterator[tuple[_core.MatrixView, _core.MatrixView]]:
    """Two float16 matrices [rows, image_dim] and [rows, text_dim], for use inside the block.

    Rows lie in groups with directions of falling variance, about a common mean, as embeddings of
    trained encoders do. Their values repeat after some ten thousand rows.

    Raises:
        OutOfMemoryError: the system gives no address space for so many rows.
    """
    more = -(-rows // (_MOST_MAPS * _STEP * _BLOCKS[0]))
    most = -(-rows // _STEP)
    with contextlib.ExitStack() as stack:
        views = [
            stack.enter_context(_repeated(_block(min(steps * more, most) * _STEP, dim, side), rows))
            for side, (steps, dim) in enumerate(zip(_BLOCKS, (image_dim, text_dim), strict=True))
        ]
        yield views[0], views[1]


def _block(rows: int, dim: int, side: int) -> np.ndarray:
    """float16 [rows, dim]; both sides have the same groups."""
    random = np.random.default_rng([side, dim])
    variance = 1 / np.sqrt(1 + np.arange(dim, dtype=np.float32))
    latent = np.random.default_rng(0).normal(size=(_GROUPS, _SHARED)).astype(np.float32)
    lift = random.normal(size=(_SHARED, dim)).astype(np.float32) / np.sqrt(_SHARED)
    centres = latent @ lift
    mean = 0.5 * random.normal(size=dim).astype(np.float32)
    block = np.empty((rows, dim), np.float16)
    for first in range(0, rows, _STEP):
        group = np.arange(first, first + _STEP) % _GROUPS
        noise = random.standard_normal((_STEP, dim), dtype=np.float32)
        block[first : first + _STEP] = (centres[group] + noise) * variance + mean * variance.mean()
    return block


@contextlib.contextmanager
def _repeated(block: np.ndarray, rows: int) -> Iterator[_core.MatrixView]:
    """A view of ``rows`` rows that are those of ``block`` again and again."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
    ]  # fmt: skip
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    times = -(-rows // len(block))
    size = times * block.nbytes
    descriptor = os.memfd_create("helip-plan")
    try:
        os.truncate(descriptor, block.nbytes)
        with mmap.mmap(descriptor, block.nbytes) as filled:
            filled.write(block)  # type: ignore[arg-type]
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
        start = libc.mmap(None, size, 0, private, -1, 0)
        if start == _FAILED:
            raise _refused(rows, size)
        try:
            for turn in range(times):
                at = start + turn * block.nbytes
                kind = mmap.MAP_SHARED | _FIXED
                if libc.mmap(at, block.nbytes, mmap.PROT_READ, kind, descriptor, 0) == _FAILED:
                    raise _refused(rows, size)
            width = block.shape[1]
            yield _core.MatrixView(start, rows, width, "float16", 2 * width, None)
        finally:
            libc.munmap(start, size)
    finally:
        os.close(descriptor)


def _refused(rows: int, size: int) -> OutOfMemoryError:
    reason = os.strerror(ctypes.get_errno())
    return OutOfMemoryError(
        f"a plan of {rows:,} rows needs {size:,} bytes of address space, which the system refuses "
        f"({reason}); plan fewer rows"
    )
