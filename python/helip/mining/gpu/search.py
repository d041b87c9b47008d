"""One device at work: its blocks, its memory, and the survivors that it sends to the host."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from helip.common.errors import OutOfMemoryError
from helip.mining.gpu.blocks import BlockPair, Blocks
from helip.mining.gpu.candidate_pools import OFFERED, OFFERED_BYTES, CandidatePools
from helip.mining.gpu.kernel import NotLaunchedError, Survivors, filter_pairs, seed
from helip.mining.gpu.rows import STEP_ROWS, RowBlock, padded_width, read_block
from helip.mining.options import PairRules

_TILE_PAIRS = 2**24  # of a call that makes whole tiles: fewer would not fill a GPU
_TILE_BYTES = 24  # of scratch memory for each of its pairs
_SURVIVOR_BYTES = 16
_LEAST_BLOCK = 256  # below, steps would only be slow, so a budget under that is passed


@dataclass(frozen=True)
class DeviceMemory:
    """How a budget of bytes on a device is spent."""

    block_rows: int
    tile_pairs: int  # of a call of the operators of torch
    capacity: int  # survivors of a call
    resident: int  # blocks that stay, at least 2

    @staticmethod
    def plan(
        budget: int,
        widths: list[int],
        dtype: torch.dtype,
        *,
        rows: int,
        block_rows: int,
        list_bytes: int,
        capacity: int | None = None,
    ) -> DeviceMemory:
        """``list_bytes``: of a target's list of candidates, where as many may come."""
        size = max(1, min(block_rows, rows))
        row_bytes = sum(padded_width(w, dtype) * dtype.itemsize + 4 for w in widths)
        reading = 40 * max(widths) * min(STEP_ROWS, size)  # float64 while normalising
        while 4 * size * row_bytes + reading > budget // 2 and size > _LEAST_BLOCK:
            size = (size + 1) // 2
            reading = min(reading, 40 * max(widths) * size)
        tile_pairs = max(size, min(_TILE_PAIRS, size * size, budget // 4 // _TILE_BYTES))
        if capacity is None:
            capacity = min(2**22, size * size, budget // 8 // _SURVIVOR_BYTES)
        capacity = max(size, capacity)  # the survivors of one row always fit
        # Where a list is united with new candidates, its rows are copied some seven times.
        taking = OFFERED_BYTES * min(OFFERED, capacity) + 2 * size * 7 * list_bytes
        scratch = reading + tile_pairs * _TILE_BYTES + 2 * capacity * _SURVIVOR_BYTES + taking
        # Less one, for the sample that gives the first thresholds.
        resident = max(2, (budget - scratch) // (size * row_bytes) - 1)
        return DeviceMemory(size, tile_pairs, capacity, resident)


@dataclass
class Searcher:
    """Filters pairs of blocks on one device. Not thread-safe; one for each device."""

    inputs: dict[str, Any]  # the matrix of each modality that takes part
    blocks: Blocks
    rules: PairRules
    device: torch.device
    dtype: torch.dtype
    memory: DeviceMemory
    fused: bool
    forced: bool  # to the fused kernel: where a launch fails, so does the job
    progress: Callable[[int], None]  # called with the number of pairs filtered; may raise
    survivors: int = 0
    splits: int = 0  # calls that had more survivors than places
    not_launched: str = ""  # why the fused kernel was left for the operators of torch
    _resident: OrderedDict[int, RowBlock] = field(default_factory=OrderedDict)
    _sample: RowBlock | None = None

    def seed(self, number: int, sample: np.ndarray, k: int, pools: CandidatePools) -> None:
        """First thresholds of the rows of a block, from their scores with the sampled rows."""
        with self._out_of_memory_explained():
            if self._sample is None:
                self._sample = read_block(self.inputs, sample, self.device, self.dtype)
            rows = self._block(number)
            first, _ = self.blocks.span(number)
            step = max(1, self.memory.tile_pairs // len(sample))
            for a in range(0, len(rows), step):
                part = rows.part(a, min(a + step, len(rows)))
                # One more than k: a row may be in the sample itself.
                bounds = seed(part, self._sample, self.rules, k + 1)
                pools.raise_thresholds(first + a, bounds)

    def search(self, unit: list[BlockPair], pools: CandidatePools) -> None:
        """Offers to the pools what survives of each pair of blocks."""
        pools.share_thresholds()
        with self._out_of_memory_explained():
            # The device has the next blocks to filter while the host waits for the last.
            earlier: tuple[BlockPair, list[_Call]] | None = None
            for pair in unit:
                calls = self._calls(pair, 0, self._rows_of(pair.rows), pools)
                if earlier is not None:
                    self._finish(*earlier, pools)
                earlier = pair, calls
            if earlier is not None:
                self._finish(*earlier, pools)

    @contextlib.contextmanager
    def _out_of_memory_explained(self) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(
                f"{self.device} has too little memory for blocks of {self.blocks.size} rows; give "
                "a smaller memory= or block_rows="
            ) from error

    def _calls(self, pair: BlockPair, begin: int, end: int, pools: CandidatePools) -> list[_Call]:
        """Calls that take rows ``begin`` to ``end - 1`` of the block together.

        Where the fused kernel cannot be launched, the operators of torch go on in its place, unless
        it is forced.
        """
        if self.fused:
            try:
                return [self._call(pair, begin, end, pools)]
            except NotLaunchedError as error:
                if self.forced:
                    raise
                self.fused, self.not_launched = False, str(error)
        step = max(1, self.memory.tile_pairs // self._rows_of(pair.columns))
        return [self._call(pair, a, min(a + step, end), pools) for a in range(begin, end, step)]

    def _rows_of(self, number: int) -> int:
        first, last = self.blocks.span(number)
        return last - first

    def _call(self, pair: BlockPair, begin: int, end: int, pools: CandidatePools) -> _Call:
        first, _ = self.blocks.span(pair.rows)
        columns = self._block(pair.columns)
        own = pools.thresholds(first + begin, first + end, self.device)
        if pair.symmetric:
            other = pools.thresholds(*self.blocks.span(pair.columns), self.device)
        else:
            other = torch.full((len(columns),), torch.inf, device=self.device)
        survivors = filter_pairs(
            self._block(pair.rows).part(begin, end),
            columns,
            (own, other),
            self.rules,
            after=begin if pair.rows == pair.columns else begin - end,
            capacity=self.memory.capacity,
            fused=self.fused,
        )
        return _Call(begin, end, survivors)

    def _finish(self, pair: BlockPair, calls: list[_Call], pools: CandidatePools) -> None:
        for call in calls:
            self._take(pair, call, pools)
        self.progress(self.blocks.pairs(pair))

    def _take(self, pair: BlockPair, call: _Call, pools: CandidatePools) -> None:
        """Offers the survivors of a call; filters its rows by halves if they had no room."""
        count = call.survivors.count()
        if count <= self.memory.capacity:
            self.survivors += count
            first, last = self.blocks.span(pair.rows)
            rows = first + call.begin, last
            pools.offer(call.survivors.some(count), rows, self.blocks.span(pair.columns))
            return
        # What was found is not offered: it will be found again, and must be offered but once.
        self.splits += 1
        middle = (call.begin + call.end) // 2
        for half in ((call.begin, middle), (middle, call.end)):
            for part in self._calls(pair, *half, pools):
                self._take(pair, part, pools)

    def _block(self, number: int) -> RowBlock:
        """A block, kept on the device while there is room for others."""
        block = self._resident.get(number)
        if block is None:
            while len(self._resident) >= self.memory.resident:
                self._resident.popitem(last=False)
            ids = self.blocks.ids(number)
            block = read_block(self.inputs, ids, self.device, self.dtype)
            self._resident[number] = block
        self._resident.move_to_end(number)
        return block


@dataclass(frozen=True)
class _Call:
    """A call under way: rows begin .. end - 1 of a block against another."""

    begin: int
    end: int
    survivors: Survivors
