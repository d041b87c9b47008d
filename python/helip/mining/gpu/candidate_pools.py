"""Candidates of every target of a band in host memory, until they are ranked in float64."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import numpy as np
import torch

from helip.pairs.blocks import Pools

# (targets [n], candidates [n, c]) -> the parts of Pools
Rerank = Callable[[np.ndarray, np.ndarray], Iterable[np.ndarray]]
Solve = Callable[[np.ndarray], Iterable[np.ndarray]]  # (targets [n]) -> likewise

_CUTS = 4  # exact cuts of a list before its target is left to the host


class CandidatePools:
    """Bounded lists of candidates (``cpp/torch/candidate_pools.h``) of targets first .. last - 1.

    A list that is full of candidates whose bounds cannot tell them apart is ranked exactly and cut
    to k; a target that needs that more than four times (thousands of equal scores) takes no more
    candidates and is solved by the host's exact miner. May be shared between threads.

    Args:
        k: pool size.
        rows: of the whole data set: no list is longer than ``rows - 1``.
        rerank: exact pools within candidate lists. solve: exact pools among all rows.
    """

    def __init__(
        self, first: int, last: int, k: int, rows: int, rerank: Rerank, solve: Solve
    ) -> None:
        self.first, self.last = first, last
        self._k = k
        self._rerank, self._solve = rerank, solve
        size, capacity = last - first, list_length(k, rows)
        self._ids = torch.empty((size, capacity), dtype=torch.int32)
        self._upper = torch.empty((size, capacity))
        self._lower = torch.empty((size, capacity))
        self._counts = torch.zeros(size, dtype=torch.int32)
        self._thresholds = torch.zeros(size)
        self._cuts = torch.zeros(size, dtype=torch.int8)
        self._lock = threading.Lock()
        self.candidates = 0  # ranked in float64
        self.cut = 0  # lists ranked and cut before the end
        self.solved = 0  # targets left to the host

    @staticmethod
    def bytes_per_target(k: int, rows: int) -> int:
        return 12 * list_length(k, rows) + 16

    def thresholds(self, first: int, last: int) -> torch.Tensor:
        """float32 [last - first]: infinity for rows that are no targets here."""
        values = torch.full((last - first,), torch.inf)
        begin, end = max(first, self.first), min(last, self.last)
        if begin < end:
            with self._lock:
                own = self._thresholds[begin - self.first : end - self.first]
                values[begin - first : end - first] = own
        return values

    def raise_thresholds(self, first: int, bounds: torch.Tensor) -> None:
        """Lower bounds of the k-th scores of targets from row ``first`` on; none twice at once."""
        with self._lock:
            own = self._thresholds[first - self.first : first - self.first + len(bounds)]
            torch.maximum(own, bounds, out=own)

    def offer(
        self,
        survivors: tuple[torch.Tensor, ...],
        row_span: tuple[int, int],
        column_span: tuple[int, int],
    ) -> None:
        """Takes in rows, columns, upper and lower bounds of a block, none of them a second time."""
        rows, columns = survivors[:2]
        position = 0
        with self._lock:
            while True:
                position = torch.ops.helip.pool_offer(
                    *self._lists(),
                    *survivors,
                    k=self._k,
                    first=self.first,
                    row_first=row_span[0],
                    column_first=column_span[0],
                    position=position,
                )
                if position == 2 * len(rows):
                    return
                full, odd = divmod(position, 2)
                target = int(columns[full] if odd else rows[full])
                self._make_room(target, column_span if odd else row_span)

    def finish(self, first: int, last: int) -> Pools:
        """Exact pools of targets ``first`` to ``last - 1``, once everything has been offered."""
        begin, end = first - self.first, last - self.first
        torch.ops.helip.pool_trim(*self._lists(), k=self._k, begin=begin, end=end)
        places = torch.arange(begin, end)
        pools = self._ranked(places)
        left = torch.nonzero(torch.isinf(self._thresholds[begin:end])).flatten().numpy()
        if len(left):
            self.solved += len(left)
            for array, other in zip(pools, self._solve(left + first), strict=True):
                array[left] = other
        return pools

    def _lists(self) -> tuple[torch.Tensor, ...]:
        return self._ids, self._upper, self._lower, self._counts, self._thresholds

    def _ranked(self, places: torch.Tensor) -> Pools:
        counts = self._counts[places]
        longest = max(1, int(counts.max()))
        ids = self._ids[places, :longest].long()
        ids[torch.arange(longest) >= counts[:, None]] = -1
        self.candidates += int(counts.sum())
        return Pools(*self._rerank((places + self.first).numpy(), ids.numpy()))

    def _make_room(self, target: int, span: tuple[int, int]) -> None:
        """Cuts the list of the target at place ``target`` of ``span`` and others nearly as full."""
        begin, end = max(span[0], self.first) - self.first, min(span[1], self.last) - self.first
        half = (self._k + self._ids.shape[1]) // 2
        crowded = self._counts[begin:end] > half
        crowded[span[0] + target - self.first - begin] = True
        places = begin + torch.nonzero(crowded).flatten()
        self._cuts[places] += 1
        hopeless = places[self._cuts[places] > _CUTS]
        self._thresholds[hopeless] = torch.inf
        self._counts[hopeless] = 0
        places = places[self._cuts[places] <= _CUTS]
        if not len(places):
            return
        self.cut += len(places)
        ids, scores, counts = (torch.from_numpy(a) for a in self._ranked(places))
        # A stored score is a float64 one rounded to nearest: its neighbours are bounds.
        scores = scores.float()
        width = min(self._k, self._ids.shape[1])
        below = torch.nextafter(scores, torch.tensor(-torch.inf))
        above = torch.nextafter(scores, torch.tensor(torch.inf))
        self._ids[places, :width] = ids[:, :width].int()
        self._lower[places, :width] = below[:, :width]
        self._upper[places, :width] = above[:, :width]
        self._counts[places] = counts.int()
        whole = counts == self._k
        least = torch.where(whole, below[:, self._k - 1], 0.0)
        self._thresholds[places] = torch.maximum(self._thresholds[places], least)


def list_length(k: int, rows: int) -> int:
    """Places of a list: room to spare, but not for more candidates than there are."""
    return max(1, min(k + max(k, 64), rows - 1))
