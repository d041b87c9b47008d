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
_BLOCK_BYTES = 400_000_000  # of a block at most, in memory
_FILLED = 1 << 22  # elements that are drawn at a time
_LIFTED = 1 << 24  # elements that shared directions may take
_PAGE = 4096
_MOST_MAPS = 24_576  # of a matrix; a process may have 65,530
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
    trained encoders do. Their values repeat after some ten thousand rows, of more than 5,000
    dimensions sooner. Both take less than 1 GB of memory.

    Raises:
        OutOfMemoryError: so many rows need more memory, or more address space than there is.
    """
    with contextlib.ExitStack() as stack:
        try:
            views = [
                stack.enter_context(_repeated(rows, dim, side))
                for side, dim in enumerate((image_dim, text_dim))
            ]
        except OutOfMemoryError:
            raise
        except (MemoryError, OSError) as error:
            raise OutOfMemoryError(
                f"a plan of {rows:,} rows of {image_dim:,} and {text_dim:,} dimensions found too "
                f"little memory ({str(error) or 'it is used up'}); free some, or plan smaller ones"
            ) from error
        yield views[0], views[1]


def _shape(rows: int, dim: int, side: int) -> tuple[int, int, int]:
    """(rows that are drawn, how often they follow each other in a block, bytes of a row).

    Long rows lie at pages, so that fewer of them fill whole ones too.
    """
    stride, step, steps = 2 * dim, _STEP, _BLOCKS[side]
    if step * stride * max(_BLOCKS) > _BLOCK_BYTES:
        stride = -(-stride // _PAGE) * _PAGE
        step = min(step, _BLOCK_BYTES // (stride * max(_BLOCKS)))
    drawn = step * min(steps, -(-rows // step))
    times = -(-rows // (_MOST_MAPS * drawn))
    if drawn * times * stride > _BLOCK_BYTES:
        most = _BLOCK_BYTES // (drawn * stride) * drawn * _MOST_MAPS
        raise OutOfMemoryError(
            f"rows is {rows:,} and dims has {dim:,}: the rows that stand for them would take "
            f"{drawn * times * stride:,} bytes of memory, more than {_BLOCK_BYTES:,}; plan "
            f"{most:,} rows at most"
        )
    return drawn, times, stride


def _fill(block: np.ndarray, side: int) -> None:
    """Draw the rows of ``block`` float16 [b, dim]; both sides have the same groups."""
    dim = block.shape[1]
    random = np.random.default_rng([side, dim])
    variance = 1 / np.sqrt(1 + np.arange(dim, dtype=np.float32))
    shared = min(_SHARED, _LIFTED // dim)
    latent = np.random.default_rng(0).normal(size=(_GROUPS, _SHARED)).astype(np.float32)
    latent = np.ascontiguousarray(latent[:, :shared])
    lift = random.standard_normal((shared, dim), dtype=np.float32) / np.float32(np.sqrt(shared))
    mean = 0.5 * random.standard_normal(dim, dtype=np.float32) * variance.mean()
    step = max(1, _FILLED // dim)
    for first in range(0, len(block), step):
        part = block[first : first + step]
        values = latent[np.arange(first, first + len(part)) % _GROUPS] @ lift
        values += random.standard_normal(values.shape, dtype=np.float32)
        values *= variance
        values += mean
        part[:] = values


def _write_block(descriptor: int, rows: int, dim: int, side: int) -> tuple[int, int]:
    """Put a block into a file in memory; (its rows, bytes of a row)."""
    drawn, times, stride = _shape(rows, dim, side)
    size = drawn * stride
    os.truncate(descriptor, times * size)
    filled = mmap.mmap(descriptor, times * size)  # goes with the last that refers to it
    elements = np.frombuffer(filled, np.float16, size // 2).reshape(drawn, stride // 2)
    _fill(elements[:, :dim], side)
    for turn in range(1, times):
        filled.move(turn * size, 0, size)
    return drawn * times, stride


@contextlib.contextmanager
def _repeated(rows: int, dim: int, side: int) -> Iterator[_core.MatrixView]:
    """A view of ``rows`` rows that are those of a block again and again."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
    ]  # fmt: skip
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    descriptor = os.memfd_create("helip-plan")
    try:
        block_rows, stride = _write_block(descriptor, rows, dim, side)
        block_bytes = block_rows * stride
        times = -(-rows // block_rows)
        size = times * block_bytes
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
        start = libc.mmap(None, size, 0, private, -1, 0)
        if start == _FAILED:
            raise _refused(rows, size)
        try:
            for turn in range(times):
                at = start + turn * block_bytes
                kind = mmap.MAP_SHARED | _FIXED
                if libc.mmap(at, block_bytes, mmap.PROT_READ, kind, descriptor, 0) == _FAILED:
                    raise _refused(rows, size)
            yield _core.MatrixView(start, rows, dim, "float16", stride, None)
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
