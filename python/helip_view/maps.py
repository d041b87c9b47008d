"""A map of all rows in two dimensions, made once: what lies near each other is alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from helip import Error, InvalidArgumentError
from helip.common import ArrayCache
from helip.common.errors import needed

OF = ("joint", "image", "text")
LAYOUTS = ("pca", "umap")
#: Names of maps in addresses: ``joint``, or ``joint-umap``.
MAPS = tuple(of if layout == "pca" else f"{of}-{layout}" for layout in LAYOUTS for of in OF)
SAMPLE = 20_000  # rows from which directions are computed, and that UMAP is fitted on
_DIRECTIONS = 50  # principal components that UMAP sees
_NEIGHBORS, _MIN_DIST = 15, 0.1  # umap-learn's defaults
_PATIENCE = 2.0  # seconds after which a map is told to be on its way
_BLOCK = 16_384
_CORNERS = 64


class Maps:
    """Positions of rows, scaled to -1 … 1: the first two principal components of unit embeddings,
    or UMAP (arXiv 1802.03426) of the first 50, fitted on at most ``SAMPLE`` rows, into which the
    others are placed by its transform.

    ``joint`` are both embeddings side by side. Rows of zeros lie in the middle. Safe to use from
    threads.
    """

    def __init__(self, store: Any, cache: ArrayCache) -> None:
        self._store, self._cache = store, cache
        self._lock = threading.Lock()
        self._making: dict[str, _Making] = {}
        self._stop = threading.Event()

    @property
    def there(self) -> bool:
        """Whether there is a store to draw a map of."""
        return self._store is not None

    def points(self, name: str) -> np.ndarray:
        """float32 [N, 2] of a map, one of ``MAPS``; waits until it is made.

        UnsupportedError where it is made by UMAP, and umap-learn is absent.
        """
        while (share := self.begin(name)) < 1:
            if self._stop.is_set():
                raise InvalidArgumentError(f"the viewer ends, and the map is made to {share:.0%}")
        return self._making[name].points

    def begin(self, name: str) -> float:
        """How much of a map is made, 1 for all; it is begun where it is not, and waited for a
        moment. A map that failed raises, and is begun anew when it is asked for again."""
        if name not in MAPS:
            raise InvalidArgumentError(f"of is {name[:40]!r}, must be one of {', '.join(MAPS)}")
        with self._lock:
            if name not in self._making:
                self._making[name] = _Making(lambda making: self._kept(name, making))
            making = self._making[name]
        if not making.ended.wait(_PATIENCE):
            return min(making.share, 0.99)
        if making.failure is not None:
            with self._lock:
                if self._making.get(name) is making:
                    del self._making[name]
            raise making.failure
        return 1.0

    def close(self) -> None:
        """Stop making maps."""
        self._stop.set()

    def _kept(self, name: str, making: _Making) -> np.ndarray:
        of, _, layout = name.partition("-")
        make = self._by_umap if layout == "umap" else self._by_directions
        return self._cache.arrays(f"map-{name}", lambda: {"points": make(of, making)})["points"]

    def inside(self, region: str) -> np.ndarray:
        """Rows int64 [m], ascending, in a region as an address has it: ``joint:x,y;x,y;x,y``."""
        of, corners = parse_region(region)
        return np.flatnonzero(inside(self.points(of), corners))

    def _by_directions(self, of: str, making: _Making) -> np.ndarray:
        middle, axes, _ = self._directions(of, 2)
        found = np.zeros((len(self._store), 2), dtype=np.float32)
        for start, rows, real in self._unit_rows(of, making):
            found[start : start + len(rows)][real] = (rows[real] - middle) @ axes.T
        return _scaled(found)

    def _by_umap(self, of: str, making: _Making) -> np.ndarray:
        with needed("a map by UMAP needs umap-learn", "'helip[umap]'"):
            from umap import UMAP
        middle, axes, sample = self._directions(of, _DIRECTIONS)
        if len(sample) < 3:
            raise InvalidArgumentError(
                f"UMAP needs 3 rows or more, and the store has {len(sample)}"
            )
        # A fixed state makes it slower, and the map is always the same.
        fitted = UMAP(
            n_neighbors=min(_NEIGHBORS, len(sample) - 1), min_dist=_MIN_DIST, random_state=0,
            n_jobs=1,
        ).fit((sample - middle) @ axes.T)  # fmt: skip
        found = np.zeros((len(self._store), 2), dtype=np.float32)
        known = self._sampled()
        found[known] = fitted.embedding_
        others = np.ones(len(found), dtype=bool)
        others[known] = False
        zero = np.zeros(len(found), dtype=bool)
        for start, rows, real in self._unit_rows(of, making):
            zero[start : start + len(rows)] = ~real
            wanted = real & others[start : start + len(rows)]
            if wanted.any():
                reduced = (rows[wanted] - middle) @ axes.T
                found[start : start + len(rows)][wanted] = fitted.transform(reduced)
        found -= found[~zero].mean(axis=0) if not zero.all() else 0
        found[zero] = 0
        return _scaled(found)

    def _sampled(self) -> np.ndarray:
        """Rows that a map is computed from, ascending."""
        count = len(self._store)
        return np.sort(np.random.default_rng(0).choice(count, min(count, SAMPLE), replace=False))

    def _directions(self, of: str, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The mean [d] of the sampled rows, their first principal components [count, d], and the
        rows [n, d]."""
        sample = self._units(self._sampled(), of)
        middle = sample.mean(axis=0)
        _, _, directions = np.linalg.svd(
            (sample - middle).T @ (sample - middle) / len(sample), hermitian=True
        )
        axes = np.zeros((count, len(middle)))
        axes[: min(count, len(directions))] = directions[:count]
        # A direction has two signs; the greatest entry decides, so that the map is always the same.
        axes *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], 1) + 1e-30)
        return middle, axes, sample

    def _unit_rows(self, of: str, making: _Making) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(first row, unit rows float64 [b, d], which of them are not zeros)."""
        count = len(self._store)
        for start in range(0, count, _BLOCK):
            if self._stop.is_set():
                raise Error("the viewer has ended")
            rows = self._units(slice(start, min(start + _BLOCK, count)), of)
            real = np.asarray(rows.any(axis=1))
            yield start, rows, real
            making.share = (start + len(rows)) / count

    def _units(self, rows: Any, of: str) -> np.ndarray:
        both = self._store.rows(rows if isinstance(rows, slice) else rows.tolist())
        sides = {"image": both[:1], "text": both[1:], "joint": both}[of]
        parts = [_unit(side.numpy().astype(np.float64)) for side in sides]
        return np.concatenate(parts, axis=1)


class _Making:
    """A map that a thread makes."""

    def __init__(self, make: Callable[[_Making], np.ndarray]) -> None:
        self.share = 0.0
        self.ended = threading.Event()
        self.failure: Exception | None = None
        self.points = np.empty((0, 2), dtype=np.float32)
        thread = threading.Thread(target=self._run, args=(make,), name="helip-map", daemon=True)
        thread.start()

    def _run(self, make: Callable[[_Making], np.ndarray]) -> None:
        try:
            self.points = make(self)
        except Exception as error:  # raised anew where the map is asked for
            self.failure = error
        finally:
            self.ended.set()


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; rows of zeros stay."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    found: np.ndarray = rows / np.where(norms == 0, 1, norms)
    return found


def _scaled(points: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = points / max(float(np.abs(points).max(initial=0)), 1e-30)
    return scaled


def parse_region(region: str) -> tuple[str, np.ndarray]:
    """(map, corners float64 [m, 2]); InvalidArgumentError for anything but 3 to 64 corners."""
    of, _, rest = region.partition(":")
    try:
        corners = np.array([each.split(",") for each in rest.split(";")], dtype=np.float64)
    except ValueError:
        corners = np.empty((0, 0))
    right = corners.ndim == 2 and corners.shape[1:] == (2,) and 3 <= len(corners) <= _CORNERS
    if of not in MAPS or not right or not np.isfinite(corners).all():
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
