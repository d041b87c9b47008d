"""Of how many targets each row is a hard pair."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_ROWS = 1 << 16


def in_degrees(pairs: Any) -> npt.NDArray[np.int32]:
    """int32 [N]: the pools of a table that each row is in; reads them block by block."""
    counts = np.zeros(len(pairs), dtype=np.int64)
    for start in range(0, len(pairs), _ROWS):
        ids = np.asarray(pairs.ids[start : start + _ROWS]).ravel()
        counts += np.bincount(ids[ids >= 0], minlength=len(pairs))
    return counts.astype(np.int32)
