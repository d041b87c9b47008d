"""Exact hard pair mining on torch devices, with the bytes of the host's exact miner as its result.

The quadratic part runs on the device, in a 16-bit format or float32: blocks of rows are multiplied
with each other, each unordered pair once, and only pairs whose score may reach the k-th of either
of their two targets stay (``cpp/torch/product_filter.h``). A threshold, the lower
bound of a target's k-th score, begins with a sample of the rows and rises as candidates are found.
The device keeps the candidates of every target and cuts them by their bounds; the host ranks what
is left in float64. A pair that is dropped has a proven upper bound below both thresholds, so
precision, device and order of work change the time, never the table.

Memory: a device holds some 25 bytes for each pair of the table, and as many blocks of rows as fit;
where that is too much, one band of targets follows another.

The same code runs on ``cpu`` and ``cuda``. It is tested on CPU tensors, the CUDA kernel in an
emulation of its threads: **nothing of it has been run on a GPU** (``docs/gpu.md``).
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch

from helip import _core
from helip.common.errors import CancelledError, InvalidArgumentError, UnsupportedError
from helip.mining.gpu.blocks import Blocks, units_of_band
from helip.mining.gpu.candidate_pools import CandidatePools, Rerank, Solve, list_bytes
from helip.mining.gpu.kernel import load_cuda_library, load_library
from helip.mining.gpu.products import check_kernel, check_products, exact_products, plain_mode
from helip.mining.gpu.rows import FORMATS
from helip.mining.gpu.search import DeviceMemory, Searcher
from helip.mining.inputs import Inputs, core_options
from helip.mining.options import DeviceOptions
from helip.pairs.blocks import Pools
from helip.store.matrices import MatrixView, matrix_of

Progress = Callable[[int, int], "bool | None"]  # (done, total) in pairs; False stops the job

_BLOCK_ROWS = {"cpu": 2048, "cuda": 16384}
_SAMPLE_ROWS = 16384
_FINISH_ROWS = 8192  # targets whose pools are ranked at a time


def devices_of(device: str | torch.device) -> list[torch.device]:
    """The devices that a name stands for: ``cuda``, ``cuda:1``, ``cuda:0,cuda:1``, ``cuda:all``.

    ``cpu`` too, more than once for as many threads. UnsupportedError: no such device.
    """
    names = [name.strip() for name in str(device).split(",")]
    if not all(re.fullmatch(r"cpu|cuda(:\d+|:all)?", name) for name in names):
        raise UnsupportedError(
            f'device is "{device}"; use "cuda", "cuda:1", "cuda:0,cuda:1", "cuda:all" or "cpu"'
        )
    if set(names) == {"cpu"}:
        return [torch.device("cpu") for _ in names]
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise UnsupportedError(
            f'device is "{device}", but torch sees no GPU; use device="cpu" or a CUDA build'
        )
    if names == ["cuda:all"]:
        return [torch.device("cuda", index) for index in range(count)]
    named = [str(torch.cuda.current_device()) if name == "cuda" else name[5:] for name in names]
    if "cpu" in names or len(set(named)) < len(named):
        raise UnsupportedError(f'device is "{device}"; name each GPU once, and no CPU beside it')
    if not all(index.isdigit() and int(index) < count for index in named):
        raise UnsupportedError(f'device is "{device}", but torch sees {count} GPUs, from 0 on')
    return [torch.device("cuda", int(index)) for index in named]


class DeviceMiner:
    """One job.

    Args:
        inputs: its arrays (memory maps too, or int8 codes: a positive scale does not change a
            cosine) are read block by block; its matrices, which know the scales, are the core's.
        rerank, solve: exact pools within candidate lists, and among all rows; by default the core's
            ``rerank`` and ``mine_targets``.
        options: those of DeviceOptions.

    Raises InvalidArgumentError (NaN and infinity with their row), UnsupportedError,
    OutOfMemoryError, CancelledError, also while bands are taken.
    """

    def __init__(
        self,
        inputs: Inputs,
        *,
        rerank: Rerank | None = None,
        solve: Solve | None = None,
        **options: Any,
    ) -> None:
        self.options = DeviceOptions(**options)
        given = dict(zip(("image", "text"), inputs.arrays, strict=True))
        self._inputs = {name: given[name] for name in self.options.modalities}
        self.rows = len(next(iter(self._inputs.values())))
        if self.rows >= 2**31:
            raise UnsupportedError(f"{self.rows} rows are too many for a device; split the data")
        native = _native(inputs.matrices, self.options)
        self._rerank, self._solve = rerank or native[0], solve or native[1]
        self._progress: Progress | None = None
        self._lock = threading.Lock()
        self._done = 0
        self._devices = devices_of(self.options.device)
        precision = self.options.precision
        if precision == "auto":
            precision = "float32" if self._devices[0].type == "cpu" else "float16"
        self._dtype = FORMATS[precision]
        load_library()
        self._wanted = self._wanted_kernel()
        with exact_products():
            kernel, reason = self._choose_kernel()
        self.report: dict[str, Any] = {
            "device": ",".join(map(str, self._devices)),
            "precision": precision,
            "kernel": kernel,
        }
        if reason:
            self.report["kernel_reason"] = reason
        budget = self._budget()
        each = list_bytes(self.options.k, self.rows)
        targets = max(1, min(self.rows, budget // 3 // each))  # of a band, at most
        self._memory = self._plan_memory(budget - targets * each, each)
        self._blocks = Blocks(self.rows, self._memory.block_rows)
        every = range(len(self._blocks))
        step = len(every) if targets == self.rows else max(1, targets // self._blocks.size)
        self._bands = [every[start : start + step] for start in range(0, len(every), step)]
        self.pairs = sum(_pairs_of_band(self._blocks, band) for band in self._bands)

    def bands(self, progress: Progress | None = None) -> Iterator[tuple[int, Pools]]:
        """(first target, exact pools) of all targets, ascending; ``report`` is complete at the end.

        ``progress`` is called with the pairs done and ``pairs``, all of them, by any of the
        devices' threads, one at a time.
        """
        self._progress = progress
        blocks, memory, k = self._blocks, self._memory, self.options.k
        searchers = [
            Searcher(
                self._inputs, blocks, self.options, device, self._dtype, memory,
                fused=self.report["kernel"] == "fused", forced=self._wanted == "fused",
                progress=self._advance,
            )
            for device in self._devices
        ]  # fmt: skip
        group = memory.resident // 2
        if len(blocks) <= memory.resident:
            group = -(-len(blocks) // (4 * len(searchers))) if len(searchers) > 1 else len(blocks)
        sample = self._sample()
        counts = {"candidates": 0, "lists_cut": 0, "solved_on_host": 0}
        for band in self._bands:
            first, last = blocks.span(band.start)[0], blocks.span(band[-1])[1]
            pools = CandidatePools(
                first, last, k, self.rows, self._rerank, self._solve, self._devices
            )
            with exact_products():
                if len(sample):
                    _share(searchers, band, partial(Searcher.seed, sample=sample, k=k, pools=pools))
                units = units_of_band(band, len(blocks), group)
                _share(searchers, units, partial(Searcher.search, pools=pools))
            for start in range(first, last, _FINISH_ROWS):
                yield start, pools.finish(start, min(start + _FINISH_ROWS, last))
            counts["candidates"] += pools.candidates
            counts["lists_cut"] += pools.cut
            counts["solved_on_host"] += pools.solved
        assert self._done == self.pairs, "a pair of blocks was not searched"
        self.report |= counts
        self.report["survivors"] = sum(s.survivors for s in searchers)
        self.report["calls_split"] = sum(s.splits for s in searchers)
        if reasons := [s.not_launched for s in searchers if s.not_launched]:
            self.report |= {"kernel": "torch", "kernel_reason": reasons[0]}

    def _wanted_kernel(self) -> str:
        """What the options ask for, else the environment; "auto" is what can run."""
        wanted: str = self.options.kernel
        if wanted == "auto":
            wanted = os.environ.get("HELIP_CUDA_KERNEL", "") or "auto"
            if wanted not in ("auto", "fused", "torch"):
                raise InvalidArgumentError(
                    f"HELIP_CUDA_KERNEL is {wanted!r}; set it to fused or torch, or not at all"
                )
        return wanted

    def _choose_kernel(self) -> tuple[str, str]:
        """ "fused" or "torch", and what spoke against the former."""
        cuda = self._devices[0].type == "cuda"
        for device in self._devices:
            with plain_mode(device):
                check_products(device, self._dtype)
        if self._wanted == "torch" or (self._wanted == "auto" and not cuda):
            return "torch", ""
        try:
            if self._dtype == torch.float32:
                raise UnsupportedError("the fused kernel multiplies 16-bit rows, not float32")
            if cuda:
                load_cuda_library()
            for device in self._devices:
                if cuda and torch.cuda.get_device_capability(device) < (8, 0):
                    raise UnsupportedError(f"{device} has a compute capability below 8.0")
                with plain_mode(device):
                    check_kernel(device, self._dtype)
        except UnsupportedError as error:
            if self._wanted == "fused":
                raise
            return "torch", str(error)
        return "fused", ""

    def _budget(self) -> int:
        """Bytes for each device, by the one with the least memory."""
        if self.options.memory is not None:
            return self.options.memory
        cuda = self._devices[0].type == "cuda"
        free = [torch.cuda.mem_get_info(d)[0] for d in self._devices] if cuda else []
        return int(0.6 * min(free)) if cuda else 2**30 // len(self._devices)

    def _plan_memory(self, budget: int, each: int) -> DeviceMemory:
        """One plan for all devices. ``each``: bytes of a target's candidates."""
        return DeviceMemory.plan(
            budget,
            [int(x.shape[1]) for x in self._inputs.values()],
            self._dtype,
            rows=self.rows,
            block_rows=self.options.block_rows or _BLOCK_ROWS[self._devices[0].type],
            list_bytes=each,
            capacity=self.options.capacity,
        )

    def _sample(self) -> np.ndarray:
        """Rows at even distances, or none where so few would be no use."""
        size = self.options.sample
        if size is None:
            size = min(_SAMPLE_ROWS, self.rows // 16)
        size = min(size, self.rows)
        if size < 2 * (self.options.k + 1):
            return np.empty(0, np.int64)
        return np.arange(size, dtype=np.int64) * self.rows // size

    def _advance(self, pairs: int) -> None:
        with self._lock:
            self._done += pairs
            if self._progress is not None and self._progress(self._done, self.pairs) is False:
                raise CancelledError(f"mining was stopped after {self._done} of {self.pairs} pairs")


def _share(
    searchers: list[Searcher], units: Iterable[Any], work: Callable[[Searcher, Any], None]
) -> None:
    """Does every unit once, on whichever device is free, each in a thread of its own.

    The first error stops all devices and is raised here.
    """
    queue, lock, stop = iter(units), threading.Lock(), threading.Event()

    def serve(searcher: Searcher) -> None:
        with plain_mode(searcher.device):
            while not stop.is_set():
                with lock:
                    unit = next(queue, None)
                if unit is None:
                    return
                try:
                    work(searcher, unit)
                except BaseException:
                    stop.set()
                    raise

    if len(searchers) == 1:
        serve(searchers[0])
        return
    with ThreadPoolExecutor(len(searchers)) as threads:
        try:
            for served in [threads.submit(serve, searcher) for searcher in searchers]:
                served.result()
        finally:
            stop.set()  # after an interrupt


def _pairs_of_band(blocks: Blocks, band: range) -> int:
    own = blocks.span(band[-1])[1] - blocks.span(band.start)[0]
    return own * (own - 1) // 2 + own * (blocks.rows - own)


def _native(
    matrices: tuple[MatrixView, MatrixView], options: DeviceOptions
) -> tuple[Rerank, Solve]:
    """The core's exact float64 scores of given candidates, and its search among all rows."""
    native = core_options(options)

    def rerank(targets: np.ndarray, candidates: np.ndarray) -> Any:
        lists = matrix_of(np.ascontiguousarray(candidates), name="candidates")
        return _core.rerank(*matrices, targets.tolist(), lists, native)

    def solve(targets: np.ndarray) -> Any:
        return _core.mine_targets(*matrices, targets.tolist(), native)

    return rerank, solve
