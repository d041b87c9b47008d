"""GrowingPairs: a table of hard pairs that is still being found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError, MismatchError
from helip.pairs.blocks import Pools
from helip.pairs.hard_pairs import HardPairs


class GrowingPairs:
    """For each of ``rows`` rows the ``k`` best hard pairs that were offered so far.

    A loader draws from it while it grows. Takes rows · (8·k + 4) bytes, of which pools that no pair
    was put into are not touched. Threads may share it: its calls come one after the other.

    Raises:
        InvalidArgumentError: rows outside 0 .. 2^31 - 1, k below 1. OutOfMemoryError.
    """

    def __init__(self, rows: int, k: int) -> None:
        self._core = _core.GrowingPairs(rows, k)

    def table_for(self, rows: int) -> GrowingPairs:
        """Itself: what a loader asks of whatever gives it hard pairs; the rows are its own."""
        return self

    def __len__(self) -> int:
        return len(self._core)

    def __repr__(self) -> str:
        return f"GrowingPairs(targets={len(self):,}, known={self.known:,}, k={self.k})"

    @property
    def k(self) -> int:
        """Pairs that a pool holds at most."""
        return self._core.k

    @property
    def known(self) -> int:
        """Targets with at least one hard pair."""
        return self._core.known

    @property
    def mean_pool(self) -> float:
        """Hard pairs of a known target, on average."""
        return self._core.pairs / max(self._core.known, 1)

    def offer(self, targets: Any, found: Pools) -> None:
        """Takes what a miner found for ``targets`` [b]: each pair is offered to both of its rows.

        A pair that is there already takes the new score.

        Raises:
            InvalidArgumentError: a row that is none of this table; then nothing is changed.
        """
        self._core.offer(row_numbers(targets, "targets"), *found)

    def pools(self, targets: Any) -> Pools:
        """What is known of ``targets`` [b]."""
        return Pools(*self._core.pools(row_numbers(targets, "targets")))

    def table(
        self, *, data_fingerprint: str = "", options: dict[str, Any] | None = None
    ) -> HardPairs:
        """What is known now, as a table that can be saved; ``data_fingerprint`` of the data set."""
        options = {"method": "streaming", "k": self.k, **(options or {})}
        return HardPairs(
            self._core.table(data_fingerprint=data_fingerprint, options_json=json.dumps(options))
        )

    def clear(self) -> None:
        """Forgets every pair."""
        self._core.clear()

    def state_dict(self) -> dict[str, np.ndarray]:
        """The pools of known targets, as arrays."""
        targets = self._core.known_targets()
        pools = self.pools(targets)
        return {
            "rows": np.array([len(self)], dtype=np.int64),
            "targets": targets,
            "pool_ids": pools.ids.astype(np.int32),
            "pool_scores": pools.scores,
            "pool_counts": pools.counts,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts the pools of ``state`` in place of those that are here.

        Raises:
            InvalidArgumentError: not a state of a growing table. MismatchError: of another number
                of rows. Nothing is changed then.
        """
        rows = array_of_state(state, "rows", np.int64, 1)
        targets = array_of_state(state, "targets", np.int64, 1)
        ids = array_of_state(state, "pool_ids", np.int32, 2).astype(np.int64)
        scores = array_of_state(state, "pool_scores", np.float32, 2)
        counts = array_of_state(state, "pool_counts", np.int32, 1)
        if rows.tolist() != [len(self)]:
            raise MismatchError(
                f"the state is of a table of {', '.join(map(str, rows.tolist()))} rows, this one "
                f"has {len(self)}; it belongs to another data set"
            )
        others = np.setdiff1d(self._core.known_targets(), targets)
        self._core.assign(targets, ids, scores, counts)  # checks all of it before it changes any
        empty = np.full((len(others), 1), -1), np.zeros((len(others), 1), dtype=np.float32)
        self._core.assign(others, *empty, np.zeros(len(others), dtype=np.int32))


def row_numbers(rows: Any, name: str) -> np.ndarray:
    """Row numbers as int64 [b]; from an array, a tensor on any device, or a sequence."""
    if hasattr(rows, "detach"):
        rows = rows.detach().cpu().numpy()
    numbers = np.asarray(rows)
    if numbers.ndim == 1 and numbers.size == 0:
        return np.zeros(0, dtype=np.int64)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise InvalidArgumentError(
            f"{name} are {numbers.dtype} of shape {numbers.shape}; give whole numbers of shape [b]"
        )
    return np.ascontiguousarray(numbers, dtype=np.int64)


def array_of_state(state: Mapping[str, Any], name: str, dtype: Any, dimensions: int) -> np.ndarray:
    """``state[name]`` in this dtype and number of dimensions; InvalidArgumentError otherwise."""
    array: Any = state.get(name)
    if hasattr(array, "detach"):
        array = array.detach().cpu().numpy()
    wanted = f"{np.dtype(dtype)} of {dimensions} dimensions"
    found = f"a {type(array).__name__}"
    if isinstance(array, np.ndarray):
        found = f"{array.dtype} of {array.ndim} dimensions"
    if found != wanted:
        raise InvalidArgumentError(
            f"{name} of the state is {found}, must be {wanted}; pass what state_dict() returned"
        )
    return np.ascontiguousarray(array)
