"""Rows of NumPy arrays, scaled to length 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def unit_array(rows: npt.NDArray[np.floating[Any]]) -> npt.NDArray[Any]:
    """Rows [n, d] scaled to length 1, in their dtype; rows of zeros stay."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    found: npt.NDArray[Any] = rows / np.where(norms == 0, 1, norms)
    return found
