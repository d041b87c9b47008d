"""Method hnsw with a graph of the library hnswlib, the yardstick of helip's own graph.

hnswlib finds the rows (u, v) / √2 of largest inner product with the target's, where u and v are the
unit vectors of image and text. By the inequality of arithmetic and geometric means a product of two
cosines is at most the square of their mean, which is that inner product: pairs of high scores lie
close. What is found is scored by the core in float64, under all rules of a pool.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from helip import _core
from helip.common.errors import (
    CancelledError,
    OutOfMemoryError,
    needed,
)
from helip.common.machine import memory_bound, usable_processors
from helip.common.progress import Follower, OnProgress, ProgressBar
from helip.mining.gpu.rows import read_block
from helip.mining.inputs import Inputs, core_options
from helip.mining.options import JobOptions, MachineOptions, MineOptions
from helip.mining.recall import Recall, hits_of, is_reached, recall_of, sample_size
from helip.mining.stages.drops import RULES, count_rules
from helip.mining.stages.rows import one_torch_thread
from helip.pairs.blocks import Pools
from helip.pairs.hard_pairs import HardPairs
from helip.store.matrices import matrix_of

_M = 16  # links of a row, twice as many in the lowest layer
_EF_CONSTRUCTION = 200  # candidates that are looked at for them; both as hnswlib advises
_FIRST_EF = 64
_MOST_EF = 2048  # where doubling ends, for usual k: as the breadth of helip's own graph
_BLOCK = 4096  # rows that are added or searched at a time
_PLACES = 1 << 22  # candidates that are scored at a time
_STREAM = 0x686E73776C6962  # draws of the recall's targets, apart from others of the seed

Follow = Callable[[str, int, int], None]  # (stage, done, total); raises where the job is to stop


def mine_with_hnswlib(
    inputs: Inputs,
    options: MineOptions,
    job: JobOptions,
    *,
    out: str,
    progress: bool,
    on_progress: OnProgress | None = None,
) -> HardPairs:
    """Streams the pools that a graph of hnswlib finds to a table at ``out``, in memory if empty.

    ``ef`` of the searches is doubled until the lower limit of the measured recall is what was asked
    for, or to its bound; the report says which. With ``threads=1`` the same seed gives the same
    bytes; hnswlib with more threads is not deterministic.

    Raises OutOfMemoryError where the graph is larger than ``memory``, CancelledError.
    """
    rows = _Rows.of(inputs, options)
    left = memory_bound(job.memory) - graph_bytes(rows.count, rows.width, job.memory)

    def reached(recall: Recall) -> bool:
        return is_reached(recall.targets, recall.low, options.recall)

    writer = _core.HardPairsWriter(out, rows.count, options.k)
    with ProgressBar(None, label="mine", unit="units", enabled=progress) as bar:
        core_follows = Follower(bar, on_progress)

        def follow(stage: str, done: int, total: int) -> None:
            if not core_follows(stage, done, total):
                raise CancelledError(f"mining was stopped in stage {stage}; nothing is saved")

        scorer = _Scorer(inputs, options, MachineOptions(threads=job.threads, memory=left))
        sample = rows.sample(options.seed)
        # The core calls it mine, as if these were all targets.
        exact = scorer.solved(
            sample,
            lambda stage, *of: core_follows("measure" if stage == "mine" else stage, *of),
        )
        graph = _Graph(rows, options.seed, job.threads or usable_processors())
        graph.build(follow)
        ef, most = graph.bounds(scorer.kept)
        recall = _measured(graph, scorer, sample, exact, ef, follow)
        # Where nothing is missing, a broader search finds no more.
        while not reached(recall) and ef < most and recall.value < 1:
            ef = min(2 * ef, most)
            recall = _measured(graph, scorer, sample, exact, ef, follow)
        drops = dict.fromkeys((*RULES, "skipped"), 0)
        found = _blocks(graph, scorer, np.arange(rows.count), ef, "mine", follow)
        for first, pools, rules in found:
            over = np.minimum(pools.counts, options.skip)
            drops["skipped"] += int(over.sum())
            for name, count in count_rules(rules).items():
                drops[name] += count
            ids, scores = (np.ascontiguousarray(x[:, options.skip :]) for x in pools[:2])
            writer.write(first, ids, scores, pools.counts - over)
    report = {
        "pairs": rows.count * max(rows.count - 1, 0),
        "drops": drops,
        "recall": recall.as_report(),
        "graph": "hnswlib",
        "hnswlib": {
            "version": _version(), "M": _M, "ef_construction": _EF_CONSTRUCTION, "ef": ef,
            "reached": reached(recall),
        },
    }  # fmt: skip
    used = {**options.as_dict(), "candidates": options.candidates or 0, "graph": "hnswlib"}
    return HardPairs(
        writer.finish(
            **inputs.fingerprints, options_json=json.dumps(used), report_json=json.dumps(report)
        )
    )


def graph_bytes(rows: int, width: int, memory: int | str | None) -> int:
    """What hnswlib takes of so many dimensions: vectors, links, labels, locks, and their places.

    OutOfMemoryError where that is more than ``memory``.
    """
    size, most = rows * (4 * width + 8 * _M + 160), memory_bound(memory)
    if size >= most:
        raise OutOfMemoryError(
            f"the graph of {rows:,} rows takes {size:,} bytes in hnswlib, more than memory = "
            f"{most}; raise memory=, or use method 'partition' or 'exact', which need less"
        )
    return size


def first_ef(kept: int) -> int:
    """``ef`` of the first searches, of pools of ``kept`` pairs; the target is found as well."""
    return max(_FIRST_EF, 2 * kept)


@dataclass(frozen=True)
class _Rows:
    """The rows of a job, read block by block."""

    matrices: dict[str, Any]  # of each modality that counts
    count: int
    deleted: np.ndarray  # int64, ascending

    @staticmethod
    def of(inputs: Inputs, options: MineOptions) -> _Rows:
        given = dict(zip(("image", "text"), inputs.arrays, strict=True))
        deleted = np.zeros(0, np.int64) if inputs.store is None else inputs.store.deleted
        return _Rows({name: given[name] for name in options.modalities}, inputs.rows, deleted)

    @property
    def width(self) -> int:
        return sum(matrix.shape[1] for matrix in self.matrices.values())

    def sample(self, seed: int) -> np.ndarray:
        """Random targets whose exact pools tell the recall, ascending."""
        draw = np.random.default_rng([seed, _STREAM])
        return np.sort(draw.choice(self.count, sample_size(self.count), replace=False))

    def vectors(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float32 [n, d], (u, v) / √2, and bool [n]: neither zero in a modality nor deleted."""
        with one_torch_thread():
            block = read_block(self.matrices, ids, torch.device("cpu"), torch.float32)
            joined = torch.cat(list(block.units.values()), dim=1) / len(block.units) ** 0.5
        zero = torch.isnan(next(iter(block.margins.values()))).numpy()
        return joined.numpy(), ~(zero | np.isin(ids, self.deleted))


class _Graph:
    """hnswlib's index of all rows that may be in a pool; labels are row numbers."""

    def __init__(self, rows: _Rows, seed: int, threads: int) -> None:
        self.rows = rows
        self._seed, self._threads = seed, threads
        self._index: Any = None

    def build(self, follow: Follow) -> None:
        rows = self.rows
        self._index = library().Index(space="ip", dim=rows.width)
        self._index.init_index(
            max_elements=max(rows.count, 1), M=_M, ef_construction=_EF_CONSTRUCTION,
            random_seed=self._seed,
        )  # fmt: skip
        self._index.set_num_threads(self._threads)
        follow("build", 0, rows.count)
        for ids in _runs(np.arange(rows.count), _BLOCK):
            vectors, alive = rows.vectors(ids)
            if alive.any():
                self._index.add_items(vectors[alive], ids[alive])
            follow("build", int(ids[-1]) + 1, rows.count)

    def bounds(self, kept: int) -> tuple[int, int]:
        """``ef`` at first and at most, of pools of ``kept`` pairs."""
        first = first_ef(kept)
        size = max(self._index.element_count, 1)
        return min(first, size), min(max(_MOST_EF, 2 * first), size)

    def found(self, targets: np.ndarray, ef: int) -> np.ndarray:
        """int64 [n, ef]: the rows closest to each target; -1 for none."""
        self._index.set_ef(ef)
        ids = np.full((len(targets), ef), -1, dtype=np.int64)
        for place in _runs(np.arange(len(targets)), _BLOCK):
            vectors, alive = self.rows.vectors(targets[place])
            if alive.any():
                ids[place[alive]] = self._closest(vectors[alive], ef)
        return ids

    def _closest(self, vectors: np.ndarray, count: int) -> np.ndarray:
        """int64 [n, count], -1 beyond what can be reached from where the search enters."""
        found = np.full((len(vectors), count), -1, dtype=np.int64)
        reached = count
        try:
            found[:] = self._index.knn_query(vectors, k=count)[0]
            return found
        except RuntimeError:  # fewer than count were reached, for one of the rows or more
            if count == 1:
                raise
        if len(vectors) > 1:
            half = len(vectors) // 2
            found[:half] = self._closest(vectors[:half], count)
            found[half:] = self._closest(vectors[half:], count)
        else:
            reached = count // 2
            found[:, :reached] = self._closest(vectors, reached)
        return found


class _Scorer:
    """Exact pools of k + skip pairs, by the core."""

    def __init__(self, inputs: Inputs, options: MineOptions, machine: MachineOptions) -> None:
        self.skip, self.kept = options.skip, options.k + options.skip
        self.memory = memory_bound(machine.memory)
        exact = {**options.as_dict(), "method": "exact", "k": self.kept, "skip": 0}
        self._matrices = inputs.matrices
        self._options = core_options(MineOptions(**exact), machine)

    def solved(self, targets: np.ndarray, follow: OnProgress) -> Pools:
        """Among all rows."""
        found: Any = _core.mine_targets(*self._matrices, targets.tolist(), self._options, follow)
        return Pools(*found)

    def ranked(self, targets: np.ndarray, candidates: np.ndarray) -> tuple[Pools, np.ndarray]:
        """Among ``candidates`` int64 [n, c], -1 for none; and uint8, the rule of each dropped."""
        lists = matrix_of(candidates, name="candidates")
        found: Any = _core.rerank_and_list_drops(
            *self._matrices, targets.tolist(), lists, self._options
        )
        pools, dropped = found
        return Pools(*pools), dropped[-1]


def _blocks(
    graph: _Graph, scorer: _Scorer, targets: np.ndarray, ef: int, stage: str, follow: Follow
) -> Iterator[tuple[int, Pools, np.ndarray]]:
    """The pools of all targets: the place of a block's first one, theirs, and rules that drop."""
    row_bytes = 24 * ef + 12 * scorer.kept  # labels, distances and lists of candidates; pools
    size = max(min(_PLACES // ef, scorer.memory // row_bytes), 16)
    follow(stage, 0, len(targets))
    for places in _runs(np.arange(len(targets)), size):
        own = targets[places]
        yield int(places[0]), *scorer.ranked(own, graph.found(own, ef))
        follow(stage, int(places[-1]) + 1, len(targets))


def _measured(
    graph: _Graph, scorer: _Scorer, sample: np.ndarray, exact: Pools, ef: int, follow: Follow
) -> Recall:
    """Recall@k of the sample's targets with searches of this ``ef``."""
    scores, counts = np.zeros_like(exact.scores), np.zeros_like(exact.counts)
    for first, pools, _ in _blocks(graph, scorer, sample, ef, "tune", follow):
        scores[first : first + len(pools.counts)] = pools.scores
        counts[first : first + len(pools.counts)] = pools.counts
    recall = recall_of(*hits_of((exact.scores, exact.counts), (scores, counts), scorer.skip))
    if len(sample) < graph.rows.count:
        return recall
    return Recall(recall.targets, *[recall.value] * 3)  # of all targets: no estimate


def _runs(values: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for first in range(0, len(values), size):
        yield values[first : first + size]


def library() -> Any:
    """The package; UnsupportedError where it is absent."""
    with needed("graph is 'hnswlib', which is of the package hnswlib", "hnswlib"):
        import hnswlib
    return hnswlib


def _version() -> str:
    from importlib.metadata import version

    return version("hnswlib")
