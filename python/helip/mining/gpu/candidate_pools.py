"""Candidates of every target of a band, on the devices that find them, until the host ranks them.

A list has room for some more candidates than a pool. A candidate whose upper bound is below the
threshold of its target, a lower bound of the k-th score, cannot be in the pool and is not kept. The
threshold rises to the k-th largest lower bound of a list.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from helip.pairs.blocks import Pools

# (targets [n], candidates [n, c]) -> the parts of Pools
Rerank = Callable[[np.ndarray, np.ndarray], Iterable[np.ndarray]]
Solve = Callable[[np.ndarray], Iterable[np.ndarray]]  # (targets [n]) -> likewise

OFFERED = 1 << 18  # survivors that are taken in at a time
OFFERED_BYTES = 224  # of each, beside the lists
_CUTS = 4  # exact cuts of a list before its target is left to the host


class CandidatePools:
    """Bounded lists of candidates of targets first .. last - 1, one for each target and device.

    A list that is full of candidates whose bounds cannot tell them apart is ranked exactly and cut
    to k; a target that needs that more than four times (thousands of equal scores) takes no more
    candidates and is solved by the host's exact miner. May be shared between threads.

    Args:
        k: pool size.
        rows: of the whole data set: no list is longer than ``rows - 1``.
        rerank: exact pools within candidate lists. solve: exact pools among all rows.
        devices: that offer candidates.
    """

    def __init__(
        self,
        first: int,
        last: int,
        k: int,
        rows: int,
        rerank: Rerank,
        solve: Solve,
        devices: Iterable[torch.device],
    ) -> None:
        self.first, self.last = first, last
        self._k = k
        self._rerank, self._solve = rerank, solve
        size, length = last - first, list_length(k, rows)
        self._lists = {device: _Lists.empty(size, length, device) for device in {*devices}}
        self._lock = threading.Lock()  # of the counts; no other is waited for under it
        self.candidates = 0  # ranked in float64
        self.cut = 0  # lists ranked and cut before the end
        self.solved = 0  # targets left to the host

    def thresholds(self, first: int, last: int, device: torch.device) -> torch.Tensor:
        """float32 [last - first] on the device: infinity for rows that are no targets here."""
        values = torch.full((last - first,), torch.inf, device=device)
        begin, end = max(first, self.first), min(last, self.last)
        if begin < end:
            lists = self._lists[device]
            with lists.lock:
                own = lists.thresholds[begin - self.first : end - self.first]
                values[begin - first : end - first] = own
        return values

    def raise_thresholds(self, first: int, bounds: torch.Tensor) -> None:
        """Lower bounds of the k-th scores of targets from row ``first`` on, for their device."""
        lists = self._lists[bounds.device]
        with lists.lock:
            own = lists.thresholds[first - self.first : first - self.first + len(bounds)]
            torch.maximum(own, bounds, out=own)

    def share_thresholds(self) -> None:
        """What one device knows of a threshold holds for the others."""
        if len(self._lists) > 1:
            best = self._best_thresholds(slice(None))  # of a moment ago are lower, and bounds too
            for lists in self._lists.values():
                with lists.lock:
                    own = lists.thresholds
                    torch.maximum(own, best.to(own.device), out=own)

    def offer(
        self,
        survivors: tuple[torch.Tensor, ...],
        row_span: tuple[int, int],
        column_span: tuple[int, int],
    ) -> None:
        """Takes in rows, columns, upper and lower bounds of a block, none of them a second time."""
        for some in zip(*(each.split(OFFERED) for each in survivors), strict=True):
            self._offer(some, row_span[0], column_span[0])

    def _offer(self, survivors: tuple[torch.Tensor, ...], row: int, column: int) -> None:
        rows, columns = survivors[0] + row, survivors[1] + column
        targets = torch.cat([rows, columns]).long() - self.first
        offered = (torch.cat([columns, rows]), *(bounds.repeat(2) for bounds in survivors[2:]))
        inside = (targets >= 0) & (targets < self.last - self.first)
        lists = self._lists[rows.device]
        with lists.lock:
            self._take(lists, targets[inside], *(each[inside] for each in offered))

    def finish(self, first: int, last: int) -> Pools:
        """Exact pools of targets ``first`` to ``last - 1``, once everything has been offered."""
        own = slice(first - self.first, last - self.first)
        every = zip(*(each.rows(own) for each in self._lists.values()), strict=True)
        ids, upper, lower = (torch.cat([part.cpu() for part in parts], 1) for parts in every)
        thresholds = self._best_thresholds(own)
        torch.maximum(thresholds, _kth(lower, self._k), out=thresholds)
        ids[upper < thresholds[:, None]] = -1
        pools = self._ranked(torch.arange(own.start, own.stop), ids)
        left = torch.nonzero(torch.isinf(thresholds)).flatten().numpy()
        if len(left):
            self.solved += len(left)
            for array, other in zip(pools, self._solve(left + first), strict=True):
                array[left] = other
        return pools

    def _best_thresholds(self, own: slice) -> torch.Tensor:
        every = [lists.thresholds[own].cpu() for lists in self._lists.values()]
        return torch.stack(every).amax(0)

    def _take(
        self,
        lists: _Lists,
        targets: torch.Tensor,
        ids: torch.Tensor,
        upper: torch.Tensor,
        lower: torch.Tensor,
    ) -> None:
        """Candidates of each target, the best first, as many at a time as a list has places."""
        order = torch.argsort(lower, descending=True)
        order = order[torch.argsort(targets[order], stable=True)]
        width = lists.ids.shape[1]
        while True:
            # Thresholds rise with what is taken, so that most of the rest need not be.
            order = order[upper[order] >= lists.thresholds[targets[order]]]
            if not len(order):
                return
            each, sizes = torch.unique_consecutive(targets[order], return_counts=True)
            group = torch.arange(len(each), device=order.device).repeat_interleave(sizes)
            place = torch.arange(len(order), device=order.device)
            place -= (sizes.cumsum(0) - sizes)[group]
            now = place < width
            at, taken = (group[now], place[now]), order[now]
            new = _Lists.empty(len(each), min(width, int(sizes.max())), order.device)
            new.ids[at], new.upper[at], new.lower[at] = ids[taken], upper[taken], lower[taken]
            self._merge(lists, each, new)
            order = order[~now]

    def _merge(self, lists: _Lists, places: torch.Tensor, new: _Lists) -> None:
        both = zip(lists.rows(places), new.rows(slice(None)), strict=True)
        ids, upper, lower = (torch.cat(pair, 1) for pair in both)
        thresholds = torch.maximum(lists.thresholds[places], _kth(lower, self._k))
        lists.thresholds[places] = thresholds
        out = upper < thresholds[:, None]
        upper[out], ids[out] = -torch.inf, -1
        best = upper.topk(lists.ids.shape[1]).indices
        lists.ids[places] = ids.gather(1, best)
        lists.upper[places] = upper.gather(1, best)
        lists.lower[places] = lower.gather(1, best)
        full = (ids >= 0).sum(1) > lists.ids.shape[1]
        if bool(full.any()):
            self._cut(lists, places[full], ids[full])

    def _cut(self, lists: _Lists, places: torch.Tensor, ids: torch.Tensor) -> None:
        """Keeps the exact pools of lists that are too long."""
        lists.cuts[places] += 1
        hopeless = lists.cuts[places] > _CUTS
        lists.thresholds[places[hopeless]] = torch.inf
        lists.ids[places[hopeless]] = -1
        places, ids = places[~hopeless], ids[~hopeless]
        if not len(places):
            return
        pools = self._ranked(places.cpu(), ids.cpu())
        with self._lock:
            self.cut += len(places)
        width = min(self._k, lists.ids.shape[1])
        found, scores, counts = (torch.from_numpy(a).to(places.device) for a in pools)
        # A stored score is a float64 one rounded to nearest: its neighbours are bounds.
        scores = scores.float()[:, :width]
        none = found[:, :width] < 0
        below = torch.nextafter(scores, torch.full_like(scores, -torch.inf))
        above = torch.nextafter(scores, torch.full_like(scores, torch.inf))
        kept = _Lists.empty(len(places), lists.ids.shape[1], places.device)
        kept.ids[:, :width] = found[:, :width].int()
        kept.lower[:, :width] = below.masked_fill(none, -torch.inf)
        kept.upper[:, :width] = above.masked_fill(none, -torch.inf)
        lists.ids[places], lists.upper[places], lists.lower[places] = kept.rows(slice(None))
        whole = counts == self._k
        least = torch.where(whole, below[:, -1], 0.0)
        lists.thresholds[places] = torch.maximum(lists.thresholds[places], least)

    def _ranked(self, places: torch.Tensor, ids: torch.Tensor) -> Pools:
        """Exact pools within ids [n, c], -1 for none."""
        counts = (ids >= 0).sum(1)
        with self._lock:
            self.candidates += int(counts.sum())
        longest = max(1, int(counts.max()))
        candidates = ids.long().sort(1, descending=True).values[:, :longest].numpy()
        return Pools(*self._rerank((places + self.first).numpy(), candidates))


@dataclass(frozen=True)
class _Lists:
    """Of n targets, on one device, in no order; a place without a candidate has id -1."""

    ids: torch.Tensor  # int32 [n, length], no id twice in a row
    upper: torch.Tensor  # float32, bounds of their scores; -inf without a candidate
    lower: torch.Tensor  # float32
    thresholds: torch.Tensor  # float32 [n]; infinity: the target takes nothing
    cuts: torch.Tensor  # int8 [n], exact ones so far
    lock: threading.Lock = field(default_factory=threading.Lock)

    @staticmethod
    def empty(size: int, length: int, device: torch.device) -> _Lists:
        return _Lists(
            torch.full((size, length), -1, dtype=torch.int32, device=device),
            torch.full((size, length), -torch.inf, device=device),
            torch.full((size, length), -torch.inf, device=device),
            torch.zeros(size, device=device),
            torch.zeros(size, dtype=torch.int8, device=device),
        )

    def rows(self, own: slice | torch.Tensor) -> tuple[torch.Tensor, ...]:
        """ids, upper and lower of some targets."""
        return self.ids[own], self.upper[own], self.lower[own]


def _kth(lower: torch.Tensor, k: int) -> torch.Tensor:
    """The k-th largest of each row, -inf where there are fewer."""
    if lower.shape[1] < k:
        return torch.full((len(lower),), -torch.inf, device=lower.device)
    return lower.topk(k).values[:, -1]


def list_length(k: int, rows: int) -> int:
    """Places of a list: room to spare, but not for more candidates than there are."""
    return max(1, min(k + max(k, 64), rows - 1))


def list_bytes(k: int, rows: int) -> int:
    """Of a target's list on a device."""
    return 12 * list_length(k, rows) + 5
