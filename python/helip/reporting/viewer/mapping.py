"""A map of all rows in two dimensions, made once: what lies near each other is alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError
from helip.reporting.viewer.cache import ViewCache

OF = ("joint", "image", "text")
_SAMPLE = 20_000  # rows from which the two directions are computed
_BLOCK = 16_384
_CORNERS = 64


class Maps:
    """Positions of rows: the first two principal components of unit embeddings, scaled to -1 … 1.

    ``joint`` are both embeddings side by side. Rows of zeros lie in the middle.
    """

    def __init__(self, store: Any, cache: ViewCache) -> None:
        self._store, self._cache = store, cache

    @property
    def there(self) -> bool:
        """Whether there is a store to draw a map of."""
        return self._store is not None

    def points(self, of: str) -> np.ndarray:
        """float32 [N, 2] of ``joint``, ``image`` or ``text``."""
        if of not in OF:
            raise InvalidArgumentError(f"of is {of[:40]!r}, must be one of {', '.join(OF)}")
        return self._cache.arrays(f"map-{of}", lambda: {"points": self._made(of)})["points"]

    def inside(self, region: str) -> np.ndarray:
        """Rows int64 [m], ascending, in a region as an address has it: ``joint:x,y;x,y;x,y``."""
        of, corners = parse_region(region)
        return np.flatnonzero(inside(self.points(of), corners))

    def _made(self, of: str) -> np.ndarray:
        count = len(self._store)
        some = np.random.default_rng(0).choice(count, min(count, _SAMPLE), replace=False)
        sample = self._units(np.sort(some), of)
        middle = sample.mean(axis=0)
        _, _, directions = np.linalg.svd(
            (sample - middle).T @ (sample - middle) / len(sample), hermitian=True
        )
        axes = np.zeros((2, len(middle)))
        axes[: min(2, len(directions))] = directions[:2]
        # A direction has two signs; the greatest entry decides, so that the map is always the same.
        axes *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], 1) + 1e-30)
        found = np.empty((count, 2), dtype=np.float32)
        for start in range(0, count, _BLOCK):
            rows = self._units(slice(start, min(start + _BLOCK, count)), of)
            zero = ~rows.any(axis=1)
            found[start : start + len(rows)] = (rows - middle) @ axes.T
            found[start : start + len(rows)][zero] = 0
        return found / max(float(np.abs(found).max()), 1e-30)

    def _units(self, rows: Any, of: str) -> np.ndarray:
        both = self._store.rows(rows if isinstance(rows, slice) else rows.tolist())
        sides = {"image": both[:1], "text": both[1:], "joint": both}[of]
        parts = []
        for side in sides:
            block = side.numpy().astype(np.float64)
            norms = np.linalg.norm(block, axis=1, keepdims=True)
            parts.append(block / np.where(norms == 0, 1, norms))
        return np.concatenate(parts, axis=1)


def parse_region(region: str) -> tuple[str, np.ndarray]:
    """(of, corners float64 [m, 2]); InvalidArgumentError for anything but 3 to 64 corners."""
    of, _, rest = region.partition(":")
    try:
        corners = np.array([each.split(",") for each in rest.split(";")], dtype=np.float64)
    except ValueError:
        corners = np.empty((0, 0))
    right = corners.ndim == 2 and corners.shape[1:] == (2,) and 3 <= len(corners) <= _CORNERS
    if of not in OF or not right or not np.isfinite(corners).all():
        raise InvalidArgumentError(
            f"region is {region[:60]!r}, must be such as joint:0,0;1,0;1,1 with 3 to {_CORNERS} "
            "corners"
        )
    return of, corners


def inside(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """bool [N]: which points lie in a polygon, by the number of its sides to their right."""
    x, y = points[:, 0], points[:, 1]
    found = np.zeros(len(points), dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            found ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return found
