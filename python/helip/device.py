"""Hard pair mining on a torch device, with the bytes of the exact miner as its result.

The quadratic part (two matrix products, masks, top-k) runs tile by tile on the device, in float32
or a 16-bit format. What it keeps of a target is a list of candidates and an upper bound of the
score of every pair that is *not* in the list (``cpp/torch/product_topk.h`` states the rule,
``device_rows`` the error bound behind it). The host then scores the candidates in float64. A target
is **certified** when its k-th float64 score is above that bound, or when nothing was left out: no
other pair can belong to its pool. Targets without a certificate are searched once more with a
longer list where they are many, and what stays open is solved exactly on the host. So precision
and device change the time, never the table.

Memory: the device holds one tile, one band of targets with their lists, and as many blocks of
candidates as still fit, so that later bands do not read them again; the host one band of lists.

The code is the same for ``cpu`` and ``cuda``, except that CUDA multiplies 16-bit tiles as such and
the CPU casts them to float32 first. It is tested on CPU tensors; **it has not been run on a GPU**.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helip.device_rows import (
    FORMATS,
    RowBlock,
    check_inputs,
    check_products,
    check_rows,
    exact_products,
    join,
    margin,
    read_block,
)
from helip.errors import CancelledError, InvalidArgumentError, OutOfMemoryError, UnsupportedError

__all__ = [
    "DeviceBand",
    "DeviceCandidates",
    "DeviceOptions",
    "DeviceResult",
    "device_candidates",
    "load_library",
    "mine_bands",
    "mine_on_device",
]

# Exact pools: ids int64 [n, k] with -1, scores float32 [n, k] with 0, counts int32 [n].
Pools = tuple[np.ndarray, np.ndarray, np.ndarray]
Rerank = Callable[[np.ndarray, np.ndarray], Pools]  # (targets [n], candidates [n, c])
Solve = Callable[[np.ndarray], Pools]  # (targets [n])
Progress = Callable[[int, int], "bool | None"]  # (done, total) in targets; False stops the job

_BAND_ROWS = 131_072  # more would save transfers, but delay what the host has to do
_RETRY_ABOVE = 32  # open targets of a band that are worth another pass on the device


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """What to mine and how; checked on construction (InvalidArgumentError, UnsupportedError)."""

    k: int = 100  # pool size, >= 1
    image_max: float = 0.98  # near-duplicate threshold on the image cosine
    text_max: float = 0.98  # near-duplicate threshold on the text cosine
    min_score: float = 0.0  # a score must exceed it; >= 0
    modality: str = "both"  # "image" or "text": the score is that one similarity
    signed: bool = False  # two negative similarities multiply to a positive score
    device: str | torch.device = "cuda"
    precision: str = "float32"  # or "float16", "bfloat16": faster on a GPU, more open targets
    guard: int | None = None  # candidates of a target beyond k; None: by precision
    tile_rows: int = 2048  # a step scores tile_rows x tile_columns pairs
    tile_columns: int = 8192
    memory: int | None = None  # bytes on the device; None: 60 % of what is free (CPU: 1 GiB)

    def __post_init__(self) -> None:
        for name in ("k", "tile_rows", "tile_columns"):
            _check_at_least(name, getattr(self, name), 1)
        if self.guard is not None:
            _check_at_least("guard", self.guard, 0)
        if self.memory is not None:
            _check_at_least("memory", self.memory, 1)
        for name in ("image_max", "text_max", "min_score"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InvalidArgumentError(f"{name} is {value}; it must lie in 0 .. 1")
        if self.modality not in ("both", "image", "text"):
            raise InvalidArgumentError(
                f'modality is {self.modality!r}; it must be "both", "image" or "text"'
            )
        if self.precision not in FORMATS:
            raise InvalidArgumentError(
                f"precision is {self.precision!r}; it must be one of {', '.join(FORMATS)}"
            )
        device = torch.device(self.device)
        if device.type not in ("cpu", "cuda"):
            raise UnsupportedError(f'device is "{device}"; mining runs on "cpu" and "cuda"')
        if device.type == "cuda" and not torch.cuda.is_available():
            raise UnsupportedError(
                f'device is "{device}", but torch sees no GPU; use device="cpu" or a CUDA build'
            )

    @property
    def modalities(self) -> tuple[str, ...]:
        return ("image", "text") if self.modality == "both" else (self.modality,)

    @property
    def candidates(self) -> int:
        """Length of a list; a longer one certifies more targets."""
        guard = self.guard
        if guard is None:
            least, share = {"float32": (32, 4), "float16": (64, 2), "bfloat16": (128, 1)}[
                self.precision
            ]
            guard = max(least, self.k // share)
        return self.k + guard


@dataclass(frozen=True)
class DeviceCandidates:
    """Candidates of some targets, and what was left out."""

    ids: np.ndarray  # int64 [n, c], falling by upper bound of the score, -1 for none
    bound: np.ndarray  # float32 [n]: no pair outside ids scores more; -inf: there is no such pair


@dataclass(frozen=True)
class DeviceBand:
    """Exact pools of some targets."""

    targets: np.ndarray  # int64 [n]
    ids: np.ndarray  # int64 [n, k], -1 beyond counts
    scores: np.ndarray  # float32 [n, k], 0 beyond counts
    counts: np.ndarray  # int32 [n]
    retried: int  # targets searched twice on the device
    solved: int  # targets solved on the host, for want of a certificate


@dataclass(frozen=True)
class DeviceResult:
    """A whole table and how it came about."""

    ids: np.ndarray  # int32 [n, k], int64 from 2**31 rows on
    scores: np.ndarray  # float32 [n, k]
    counts: np.ndarray  # int32 [n]
    report: dict[str, Any] = field(default_factory=dict)


def load_library(path: str | Path | None = None) -> None:
    """Registers ``torch.ops.helip``; does nothing when that has been done.

    ``path`` defaults to ``lib/libhelip_torch.so`` in a directory of the package (an editable
    installation has two). UnsupportedError when there is none or torch refuses it.
    """
    if _registered():
        return
    if path is None:
        import helip

        roots = [Path(__file__).parent, *map(Path, helip.__path__)]
        places = [r / "lib" / f"libhelip_torch{s}" for r in roots for s in (".so", ".dylib")]
        path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UnsupportedError(
            "libhelip_torch is not part of this installation, so no torch device can mine; build "
            "helip with HELIP_TORCH=ON, or mine on the CPU without a device"
        )
    try:
        torch.ops.load_library(str(path))
    except OSError as error:
        raise UnsupportedError(
            f"{path} does not load into torch {torch.__version__} ({error}); it needs torch >= 2.11"
        ) from error


def _registered() -> bool:
    return hasattr(torch.ops.helip, "product_topk")


def device_candidates(
    image: Any,
    text: Any,
    *,
    targets: Any = None,
    columns: Any = None,
    progress: Progress | None = None,
    **options: Any,
) -> DeviceCandidates:
    """Candidate lists of the targets, in host memory: the part that runs on the device.

    ``image`` [N, d_image] and ``text`` [N, d_text] are NumPy arrays (memory maps too) or torch
    tensors of any float dtype, or int8 codes (a positive scale does not change a cosine); they are
    read block by block. With one modality the other may be None. ``targets`` and ``columns`` are
    ascending, unique rows: those that get a list, and those that may be in one; None means all.
    ``options`` are those of DeviceOptions.

    Raises InvalidArgumentError (NaN and infinity with their row), MismatchError, UnsupportedError,
    OutOfMemoryError, CancelledError.
    """
    job = _Job(image, text, targets, columns, DeviceOptions(**options), progress)
    count = job.places(job.options.candidates)
    ids = np.full((len(job.targets), count), -1, np.int64)
    bound = np.full(len(job.targets), -np.inf, np.float32)
    for first, band in job.bands():
        found = job.search(band, count, first)
        ids[first : first + len(band)] = found.ids
        bound[first : first + len(band)] = found.bound
        job.report(first + len(band))
    return DeviceCandidates(ids, bound)


def mine_bands(
    image: Any,
    text: Any,
    *,
    targets: Any = None,
    columns: Any = None,
    rerank: Rerank | None = None,
    solve: Solve | None = None,
    views: tuple[Any, Any] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Iterator[DeviceBand]:
    """Exact pools in ascending bands of targets; host memory stays bounded by one band.

    Arguments as in device_candidates. ``rerank(targets, candidates)`` and ``solve(targets)`` give
    exact pools, within candidate lists and among all rows; by default the core's ``rerank`` and
    ``mine_targets`` on ``views``, by default of ``image`` and ``text`` themselves (int8 codes need
    views that know the scales, such as a store's). With ``columns`` a target without a certificate
    is reranked against all of them instead.
    """
    job = _Job(image, text, targets, columns, DeviceOptions(**options), progress)
    k = job.options.k
    if rerank is None or (solve is None and columns is None):
        native_rerank, native_solve = _native(views or (image, text), job.options)
        rerank = rerank or native_rerank
        solve = solve or (native_solve if columns is None else None)
    solve = solve or _solve_within(job.columns, rerank)
    count = job.places(job.options.candidates)
    longer = job.places(4 * job.options.candidates)
    for first, band in job.bands():
        found = job.search(band, count, first)
        pools = rerank(band, found.ids)
        left = _uncertified(pools, found.bound, k)
        retried = 0
        if len(left) > _RETRY_ABOVE and longer > count:
            retried = len(left)
            found = job.search(band[left], longer, first)
            again = rerank(band[left], found.ids)
            _replace(pools, left, again)
            left = left[_uncertified(again, found.bound, k)]
        if len(left):
            _replace(pools, left, solve(band[left]))
        job.report(first + len(band))
        yield DeviceBand(band, *pools, retried=retried, solved=len(left))


def mine_on_device(image: Any, text: Any, **arguments: Any) -> DeviceResult:
    """The bands of mine_bands as one table; the same arguments.

    Equal, byte for byte, to what the exact miner of the host gives with the same options.
    """
    names = {f.name for f in fields(DeviceOptions)}
    options = DeviceOptions(**{n: v for n, v in arguments.items() if n in names})
    bands = list(mine_bands(image, text, **arguments))
    rows = len(text if image is None else image)
    empty = np.empty((0, options.k))
    return DeviceResult(
        np.concatenate([empty, *(b.ids for b in bands)]).astype(
            np.int32 if rows < 2**31 else np.int64
        ),
        np.concatenate([empty, *(b.scores for b in bands)]).astype(np.float32),
        np.concatenate([empty[:, 0], *(b.counts for b in bands)]).astype(np.int32),
        {
            "device": str(options.device),
            "precision": options.precision,
            "candidates": options.candidates,
            "retried": sum(b.retried for b in bands),
            "solved_on_host": sum(b.solved for b in bands),
        },
    )


def _native(matrices: tuple[Any, Any], options: DeviceOptions) -> tuple[Rerank, Solve]:
    """The core's exact float64 scores of given candidates, and its search among all rows."""
    from helip import _core
    from helip.views import view_of

    def view(array: Any, name: str) -> Any:
        if name not in options.modalities:
            array = np.empty((0, 1), np.float32)
        elif isinstance(array, torch.Tensor):
            array = array.cpu()  # the core works on host memory
        return view_of(array, name=name)

    views = view(matrices[0], "image"), view(matrices[1], "text")
    native = _core.MineOptions(
        k=options.k,
        method="exact",
        modality=options.modality,
        image_max=options.image_max,
        text_max=options.text_max,
        min_score=options.min_score,
        signed_products=options.signed,
    )

    def rerank(targets: np.ndarray, candidates: np.ndarray) -> Pools:
        lists = view_of(np.ascontiguousarray(candidates), name="candidates")
        pools: Pools = _core.rerank(*views, targets.tolist(), lists, native)
        return pools

    def solve(targets: np.ndarray) -> Pools:
        pools: Pools = _core.mine_targets(*views, targets.tolist(), native)
        return pools

    return rerank, solve


def _solve_within(columns: np.ndarray, rerank: Rerank) -> Solve:
    """Exact pools among ``columns``, a few targets at a time so that memory stays bounded."""
    step = max(1, 2**23 // max(1, len(columns)))  # 64 MiB of ids

    def solve(targets: np.ndarray) -> Pools:
        parts = []
        for a in range(0, len(targets), step):
            part = targets[a : a + step]
            every = np.ascontiguousarray(np.broadcast_to(columns, (len(part), len(columns))))
            parts.append(rerank(part, every))
        ids, scores, counts = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return ids, scores, counts

    return solve


def _uncertified(pools: Pools, bound: np.ndarray, k: int) -> np.ndarray:
    """Positions of targets whose pool might miss a pair."""
    _, scores, counts = pools
    # A float32 score may lie above its float64 value by half a unit in the last place. A tie with
    # the bound is no certificate either: among equal scores ids decide.
    least = np.nextafter(scores[:, k - 1].astype(np.float32), np.float32(-np.inf))
    certified = (bound == -np.inf) | ((counts == k) & (bound < least))
    return np.flatnonzero(~certified)


def _replace(pools: Pools, places: np.ndarray, others: Pools) -> None:
    for array, other in zip(pools, others, strict=True):
        array[places] = other


class _Job:
    """One job: its input, tiles that fit the memory, blocks that stay on the device."""

    def __init__(
        self,
        image: Any,
        text: Any,
        targets: Any,
        columns: Any,
        options: DeviceOptions,
        progress: Progress | None,
    ) -> None:
        given = {"image": image, "text": text}
        self.options = options
        self.inputs = {name: given[name] for name in options.modalities}
        rows = check_inputs(self.inputs)
        self.targets = check_rows("targets", targets, rows)
        self.columns = check_rows("columns", columns, rows)
        self.device = torch.device(options.device)
        self.dtype = FORMATS[options.precision]
        self._progress = progress
        self._done = 0
        self._kept: dict[int, RowBlock] = {}
        load_library()
        with exact_products(self.device):
            check_products(self.device, self.dtype)
        self._fit_memory()

    def _fit_memory(self) -> None:
        options = self.options
        memory = options.memory
        if memory is None:
            cuda = self.device.type == "cuda"
            memory = int(0.6 * torch.cuda.mem_get_info(self.device)[0]) if cuda else 2**30
        widths = [int(x.shape[1]) for x in self.inputs.values()]
        self.tile_rows = min(options.tile_rows, max(1, len(self.targets)))
        self.tile_columns = min(options.tile_columns, max(1, len(self.columns)))

        def step_bytes() -> int:
            tile = (17 if options.signed else 13) * self.tile_rows * self.tile_columns
            return tile + 40 * max(widths) * self.tile_columns  # 40: float64 while normalising

        # Steps below 256 rows and columns would only be slow, so a budget under that is passed.
        while step_bytes() > memory // 2 and max(self.tile_rows, self.tile_columns) > 256:
            if self.tile_columns > 2 * self.tile_rows:
                self.tile_columns = (self.tile_columns + 1) // 2
            else:
                self.tile_rows = (self.tile_rows + 1) // 2
        row_bytes = sum(widths) * self.dtype.itemsize + 40 * options.candidates
        band = max(self.tile_rows, min(_BAND_ROWS, memory // 4 // row_bytes))
        self.band_rows = band - band % self.tile_rows
        self._room = max(0, memory - step_bytes() - self.band_rows * row_bytes)

    def places(self, wanted: int) -> int:
        """Length of a list: one more than there are candidates shows that none is missing."""
        return max(self.options.k, min(wanted, len(self.columns) + 1))

    def bands(self) -> Iterator[tuple[int, np.ndarray]]:
        for first in range(0, len(self.targets), self.band_rows):
            yield first, self.targets[first : first + self.band_rows]

    def report(self, done: int) -> None:
        self._done = max(self._done, done)  # a second search does not take the bar back
        total = len(self.targets)
        if self._progress is not None and self._progress(self._done, total) is False:
            raise CancelledError(f"mining was stopped after {self._done} of {total} targets")

    def search(self, targets: np.ndarray, count: int, done: int) -> DeviceCandidates:
        """The ``count`` best candidates of each target of one band."""
        try:
            with exact_products(self.device):
                return self._search(targets, count, done)
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(
                f"{self.device} has too little memory for tiles of {self.tile_rows} x "
                f"{self.tile_columns}; give a smaller memory=, tile_rows= or tile_columns="
            ) from error

    def _search(self, targets: np.ndarray, count: int, done: int) -> DeviceCandidates:
        step = self.tile_columns
        rows = join([self._block(targets[a : a + step]) for a in range(0, len(targets), step)])
        parts = [slice(a, a + self.tile_rows) for a in range(0, len(targets), self.tile_rows)]
        scores = [torch.full((len(rows.ids[p]), count), -torch.inf).to(self.device) for p in parts]
        ids = [torch.full_like(s, -1, dtype=torch.int64) for s in scores]
        for number, start in enumerate(range(0, len(self.columns), step)):
            block = self._candidates(number, start)
            margins = {name: margin(rows, block, name) for name in self.inputs}
            for i, part in enumerate(parts):
                scores[i], ids[i] = self._step(rows, part, block, margins, scores[i], ids[i])
            share = (start + step) / (len(self.columns) + 2 * step)
            self.report(done + int(share * len(targets)))
        all_ids = torch.cat(ids)
        bound = torch.cat([s[:, -1] for s in scores])
        # The margin gave such targets candidates; their scores are zero.
        all_ids[rows.zero] = -1
        bound[rows.zero] = -torch.inf
        return DeviceCandidates(all_ids.cpu().numpy(), bound.cpu().numpy())

    def _step(
        self,
        rows: RowBlock,
        part: slice,
        columns: RowBlock,
        margins: dict[str, torch.Tensor],
        scores: torch.Tensor,
        ids: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        tensors: list[torch.Tensor | None] = []
        for name in ("image", "text"):
            if name in self.inputs:
                tensors += [rows.units[name][part], columns.units[name], margins[name]]
            else:
                tensors += [None, None, None]
        best: tuple[torch.Tensor, torch.Tensor] = torch.ops.helip.product_topk(
            *tensors,
            rows.ids[part],
            columns.ids,
            scores,
            ids,
            image_max=self.options.image_max,
            text_max=self.options.text_max,
            min_score=self.options.min_score,
            signed=self.options.signed,
        )
        return best

    def _candidates(self, number: int, start: int) -> RowBlock:
        """A block of candidates; it stays on the device while there is room."""
        kept = self._kept.get(number)
        if kept is None:
            ids = self.columns[start : start + self.tile_columns]
            kept = self._block(ids).without_zero_rows()
            if kept.nbytes <= self._room:
                self._room -= kept.nbytes
                self._kept[number] = kept
        return kept

    def _block(self, ids: np.ndarray) -> RowBlock:
        return read_block(self.inputs, ids, self.device, self.dtype)


def _check_at_least(name: str, value: Any, bound: int) -> None:
    if isinstance(value, bool) or int(value) != value or value < bound:
        raise InvalidArgumentError(f"{name} is {value!r}; it must be an integer >= {bound}")
