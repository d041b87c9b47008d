"""Rows of two matrices, appended to a store block by block."""

from __future__ import annotations

from typing import Any

import numpy as np

BLOCK = 8192


def append_rows(
    writer: Any, image: np.ndarray, text: np.ndarray, first: int = 0, last: int | None = None
) -> None:
    """Rows [first, last), all without ``last``; the key of a row is its number."""
    last = len(image) if last is None else last
    for begin in range(first, last, BLOCK):
        part = slice(begin, min(begin + BLOCK, last))
        writer.append([str(row) for row in range(part.start, part.stop)], image[part], text[part])
