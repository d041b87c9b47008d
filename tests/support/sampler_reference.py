"""Batches as the native sampler makes them, in plain Python: slow, and easy to read.

Random numbers are those of cpp/src/base/counter_random.h: batches are compared number by number.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

MASK = 2**64 - 1
ORDER, FRACTION, DRAW, FILL, WALK, COMMUNITY, COMMUNITY_ORDER, PLAIN_ORDER = range(1, 9)
ARRANGED = ("walk", "communities")


def mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def logarithm(value: float) -> float:
    (bits,) = struct.unpack("<Q", struct.pack("<d", value))
    exponent = (bits >> 52) - 1023
    (mantissa,) = struct.unpack("<d", struct.pack("<Q", bits & (2**52 - 1) | 0x3FF << 52))
    if mantissa > 1.4142135623730951:
        mantissa, exponent = mantissa * 0.5, exponent + 1
    s = (mantissa - 1.0) / (mantissa + 1.0)
    series = 0.0
    for power in range(21, 2, -2):
        series = (series + 1.0 / power) * (s * s)
    high, low = 6.93147180369123816490e-01, 1.90821492927058770002e-10
    return exponent * high + (2.0 * s * series + exponent * low + 2.0 * s)


class Random:
    def __init__(self, *words: int) -> None:
        self.state = 0
        for word in words:
            self.state = mix(((self.state + 0x9E3779B97F4A7C15) & MASK) ^ word)

    def next(self) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        return mix(self.state)

    def below(self, bound: int) -> int:
        if bound == 1:
            return 0
        spare = 64 - (bound - 1).bit_length()
        drawn = self.next() >> spare
        while drawn >= bound:
            drawn = self.next() >> spare
        return drawn

    def unit(self) -> float:
        return ((self.next() >> 12) + 0.5) * 2.0**-52

    def gumbel(self) -> float:
        return -logarithm(-logarithm(self.unit()))

    def shuffle(self, values: list[Any]) -> None:
        for last in range(len(values) - 1, 0, -1):
            other = self.below(last + 1)
            values[last], values[other] = values[other], values[last]


@dataclasses.dataclass
class Batch:
    index: list[int]
    target: list[int]
    targets: int
    counts: dict[str, int]


class Sampler:
    """``pools[row]`` is a list of (row, score), best first; options are those of HardPairLoader."""

    def __init__(
        self, pools: Sequence[Sequence[tuple[int, float]]], k: int, **options: Any
    ) -> None:
        self.pools, self.k = pools, k
        self.batch_size: int = options.get("batch_size", 256)
        self.p: int = options.get("hard_per_target", 1)
        self.seed: int = options.get("seed", 0)
        self.rank: int = options.get("rank", 0)
        self.world: int = options.get("world_size", 1)
        self.start = (
            options.get("rank_min", 0),
            options.get("rank_max") or k,
            options.get("draw_temperature") or 0.0,
            options.get("fraction", 1.0),
        )
        self.schedule: Mapping[str, Any] | None = options.get("schedule")
        self.strategy: str = options.get("strategy", "auto")
        self.short: str = options.get("short", "keep" if self.strategy in ARRANGED else "skip")
        self.order: str = options.get("order", "rows")
        self.block: int = options.get("block", 1024)
        self.walk_rows: int = options.get("walk_rows", 256)
        self.restart: float = options.get("restart", 0.1)
        self.community_rows: int = options.get("community_rows", 8)
        self.groups: list[set[Any]] = options.get("groups") or [set() for _ in pools]
        own = self.batch_size if self.strategy in ARRANGED else self.batch_size // (1 + self.p)
        self.per_batch: int = options.get("targets_per_batch") or own
        self.eligible = [row for row in range(len(pools)) if self._is_eligible(row)]

    def _is_eligible(self, row: int) -> bool:
        if self.p == 0 or self.short in ("random", "keep"):
            return True
        first, last, *_ = self.start
        if self.schedule:
            end = self.schedule.get("rank_min")
            first, last = max(first, first if end is None else end), self.k
        return min(len(self.pools[row]), last) - first >= self.p

    def hardness(self, epochs: float) -> tuple[int, int, float, float]:
        if not self.schedule:
            return self.start
        if self.strategy == "communities":
            epochs = math.floor(epochs)
        way = min(1.0, epochs / self.schedule["epochs"])
        if self.schedule.get("shape", "linear") == "cosine":
            way = (1 - math.cos(math.pi * way)) / 2
        names = ("rank_min", "rank_max", "draw_temperature", "fraction")
        ends = [self.schedule.get(name) for name in names]
        values = [
            start if end is None else start + (end - start) * way
            for start, end in zip(self.start, ends, strict=True)
        ]
        first = math.floor(values[0] + 0.5)
        return first, max(math.floor(values[1] + 0.5), first + self.p), values[2], values[3]

    def order_of(self, epoch: int) -> list[int]:
        rows = list(self.eligible)
        random = Random(self.seed, ORDER, epoch, 0)
        if self.strategy == "communities":
            return self._mixed(rows, epoch)
        if self.strategy == "walk":
            random.shuffle(rows)
            return self._walks(rows, Random(self.seed, WALK, epoch, 0))
        if self.order == "rows":
            random.shuffle(rows)
            return rows
        blocks: dict[int, list[int]] = {}
        for row in rows:
            blocks.setdefault(row // self.block, []).append(row)
        shuffled = list(blocks.values())
        random.shuffle(shuffled)
        order = []
        for first in range(0, len(shuffled), 4):
            mixed = [row for block in shuffled[first : first + 4] for row in block]
            random.shuffle(mixed)
            order += mixed
        return order

    def _walks(self, starts: list[int], random: Random) -> list[int]:
        first, last, *_ = self.start
        waiting, order = set(starts), []
        for start in starts:
            if start not in waiting:
                continue
            waiting.remove(start)
            walk, here, idle = [start], start, 0
            stuck = len(self.pools[start][first:last]) == 0
            while not stuck and len(walk) < self.walk_rows and idle < 64:
                idle += 1
                window = self.pools[here][first:last]
                if not window or random.unit() < self.restart:
                    here = start
                    continue
                here = window[random.below(len(window))][0]
                if here in waiting:
                    waiting.remove(here)
                    walk.append(here)
                    idle = 0
            order += walk
        return order

    def _mixed(self, rows: list[int], epoch: int) -> list[int]:
        """Communities, and plain rows evenly among them."""
        plain, together = [], []
        for row in rows:
            is_plain = Random(self.seed, FRACTION, epoch, row).unit() >= self.hardness(epoch)[3]
            (plain if is_plain else together).append(row)
        Random(self.seed, PLAIN_ORDER, epoch, 0).shuffle(plain)
        inside = [row for part in self._communities(together, epoch) for row in part]
        mixed: list[int] = []
        used = 0
        for place in range(len(rows)):
            if (place + 1) * len(plain) // len(rows) > used:
                mixed.append(plain[used])
                used += 1
            else:
                mixed.append(inside[place - used])
        return mixed

    def _communities(self, rows: list[int], epoch: int) -> list[list[int]]:
        first, last, *_ = self.hardness(epoch)
        draws = Random(self.seed, COMMUNITY, epoch, 0)
        centres = list(rows)
        Random(self.seed, ORDER, epoch, 0).shuffle(centres)
        waiting = set(rows)
        formed = []
        for centre in centres:
            if centre not in waiting:
                continue
            waiting.remove(centre)
            members = [centre]
            for member in members:  # which grows meanwhile
                window = [row for row, _ in self.pools[member][first:last] if row in waiting]
                while window and len(members) < self.community_rows:
                    at = draws.below(len(window))
                    window[at], window[-1] = window[-1], window[at]
                    row = window.pop()
                    if not any(self.groups[row] & self.groups[other] for other in members):
                        waiting.remove(row)
                        members.append(row)
            formed.append(members)
        small = [members for members in formed if 4 * len(members) < self.community_rows]
        kept = [members for members in formed if 4 * len(members) >= self.community_rows]
        place = {row: members for members in kept for row in members}
        alone = []
        for row in [row for members in small for row in members]:
            for other, _ in self.pools[row][first:last]:
                members = place.get(other)
                if members is None or 2 * len(members) >= 3 * self.community_rows:
                    continue
                if not any(self.groups[row] & self.groups[member] for member in members):
                    members.append(row)
                    place[row] = members
                    break
            else:
                alone.append([row])
        parts = kept + alone
        Random(self.seed, COMMUNITY_ORDER, epoch, 0).shuffle(parts)
        return parts

    def steps_after(self, gone: int) -> int:
        per_rank = -(-(len(self.eligible) - gone) // self.world)
        return -(-per_rank // self.per_batch)

    def _begin(self, number: int, gone: int) -> int:
        left, batches = len(self.eligible) - gone, self.steps_after(gone) * self.world
        return gone + number * (left // batches) + number * (left % batches) // batches

    def targets_before(self, step: int, gone: int = 0) -> int:
        return self._begin(step * self.world, gone)

    def batch(self, epoch: int, step: int, gone: int = 0) -> Batch:
        number = step * self.world + self.rank
        place = slice(self._begin(number, gone), self._begin(number + 1, gone))
        targets = self.order_of(epoch)[place]
        self._batch = batch = Batch(
            list(targets), list(range(len(targets))), len(targets),
            dict.fromkeys(("hard_pairs", "shared", "replaced", "random_fills", "unfilled"), 0),
        )  # fmt: skip
        if self.p == 0:
            return batch
        progress = epoch + self.targets_before(step, gone) / len(self.eligible)
        fill = self._share if self.strategy in ("shared", *ARRANGED) else self._own
        for at, row in enumerate(targets):
            hardness = self.hardness(progress)
            if Random(self.seed, FRACTION, epoch, row).unit() < hardness[3]:
                window = self._drawn(row, epoch, hardness[:3])
                fill(at, window, Random(self.seed, FILL, epoch, row))
        return batch

    def _drawn(self, row: int, epoch: int, hardness: tuple[int, int, float]) -> list[int]:
        """The rows of the window in the order in which they are offered."""
        first, last, temperature = hardness
        pool = self.pools[row][first:last]
        random = Random(self.seed, DRAW, epoch, row)
        if temperature == 0.0:
            left, drawn = list(pool), []
            while left:
                at = random.below(len(left))
                left[at], left[-1] = left[-1], left[at]
                drawn.append(left.pop())
            return [id for id, _ in drawn]
        best = pool[0][1] if pool else 0.0
        keys = [(score - best) / temperature + random.gumbel() for _, score in pool]
        return [pool[rank][0] for rank in sorted(range(len(pool)), key=lambda r: (-keys[r], r))]

    def _own(self, at: int, window: list[int], fill: Random) -> None:
        batch, left = self._batch, list(window)
        for _ in range(self.p):
            met = 0
            while left and left[0] in batch.index:
                left.pop(0)
                met += 1
            if left:
                self._add(left.pop(0), at, "hard_pairs")
                batch.counts["replaced"] += met > 0
            else:
                self._fill(at, fill)

    def _share(self, at: int, window: list[int], fill: Random) -> None:
        batch, missing = self._batch, self.p
        inside = [batch.index.index(row) for row in window if row in batch.index]
        free = [place for place in inside if batch.target[place] == place][:missing]
        for place in free:
            batch.target[place] = at
        shared = min(missing, len(inside))
        batch.counts["shared"] += shared
        for row in [row for row in window if row not in batch.index][: missing - shared]:
            if len(batch.index) < self._most_rows():
                self._add(row, at, "hard_pairs")
                shared += 1
        for _ in range(missing - shared):
            self._fill(at, fill)

    def _most_rows(self) -> int:
        if self.strategy in ARRANGED:
            return self._batch.targets + self.batch_size - self.per_batch
        return self.batch_size

    def _fill(self, at: int, random: Random) -> None:
        batch, rows = self._batch, len(self.pools)
        room = len(batch.index) < min(rows, self._most_rows())
        if self.short != "random" or not room:
            batch.counts["unfilled"] += 1
            return
        row = random.below(rows)
        for _ in range(64):
            if row not in batch.index:
                break
            row = random.below(rows)
        while row in batch.index:
            row = (row + 1) % rows
        self._add(row, at, "random_fills")

    def _add(self, row: int, at: int, count: str) -> None:
        self._batch.index.append(row)
        self._batch.target.append(at)
        self._batch.counts[count] += 1
