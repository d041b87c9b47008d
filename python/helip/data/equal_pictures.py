"""Which rows of a data set show the same picture, whatever their captions."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from helip.common.errors import SampleError
from helip.common.progress import ProgressBar
from helip.data.dataset import Dataset, read_ahead

Ints = npt.NDArray[np.int64]


def equal_pictures(
    data: Dataset, rows: Ints, *, pixels: bool, progress: bool = False
) -> tuple[Ints, int]:
    """int64 [n]: of each of ``rows`` [n] the place of the first that has the same picture, -1 where
    it cannot be read; and how many those are.

    Pictures are equal whose files have the same bytes and, with ``pixels``, those of the same size
    and the same pixels. Reads each file once; with ``pixels`` it decodes each distinct one.
    """
    found = np.full(len(rows), -1, dtype=np.int64)
    first: dict[bytes, int] = {}
    with ProgressBar(len(rows), label="equal pictures", unit="rows", enabled=progress) as bar:
        for place, row in enumerate(read_ahead(data, rows.tolist())):
            bar.update(1)
            try:
                compressed = data._image_bytes(row)
                digest = None if compressed is None else hashlib.blake2b(compressed).digest()
                known = None if digest is None else first.get(digest)
                if known is None and (pixels or digest is None):
                    image = data.image(row)
                    shape = f"{image.mode} {image.size}".encode()
                    shown = hashlib.blake2b(image.tobytes(), person=b"pixels").digest() + shape
                    known = first.setdefault(shown, place)
            except SampleError:
                continue
            if digest is not None:
                known = first.setdefault(digest, place if known is None else known)
            assert known is not None
            found[place] = known
    return found, int((found < 0).sum())


def equal_files(data: Dataset, most: int, seed: int) -> tuple[int, int] | None:
    """How many rows have a picture with the bytes of another row's, each group counted but for one,
    and among how many rows; None where the sizes of pictures are not known at a look.

    Of larger data it looks at ``most`` random rows. Reads the files whose size is that of another.
    """
    if data._is_remote():
        return None
    rows = np.arange(len(data), dtype=np.int64)
    if len(rows) > most:
        rows = np.sort(np.random.default_rng([seed, 2]).choice(len(data), most, replace=False))
    digests = data.row_digests(rows)[0]
    _, number, times = np.unique(digests, return_inverse=True, return_counts=True)
    if not digests.any():
        return None
    groups = data.image_groups()
    alike = rows[(times[number] > 1) & (digests != 0)]
    found, _ = equal_pictures(data, alike, pixels=False)
    known = found >= 0
    one = alike if groups is None else groups[alike]  # rows of one picture count once
    heads, others = one[found[known]], one[known]
    return len(np.unique(others[heads != others])), len(rows)
