"""The sides of bench/scale.py: helip, and libraries for nearest neighbours put to its task.

No library ranks by a product of two cosines, so each gets the rows [u; v], whose inner product is
sᴵ + sᵀ, retrieves the k′ best, and these are held against the near duplicates' bound and ranked by
the true product. That is sound: sᴵ·sᵀ ≤ ((sᴵ + sᵀ) / 2)². ``pynndescent-product`` alone is given
the product itself, as a metric compiled by numba.

What favours the libraries: k′ is the least that can do (``scale_truth.Truth.wide``); rows are
joined block by block where a library takes blocks, so that the whole is in memory once; helip's own
kernel ranks what they found, several times as fast as torch; a first call on a few rows, which
loads and compiles, is not timed. Parameters were chosen at 20,000 rows for the least time at recall
0.95:

- ``faiss-ivf``, ``faiss-sq8``: IVF with 4·√N lists, trained on 40 rows a list in 5 rounds; the
  vectors as they are, or in 8 bits; ``nprobe`` is swept.
- ``faiss-hnsw``: HNSW with ``M`` = 32; ``efConstruction`` and ``efSearch`` are swept.
- ``hnswlib``: ``M`` = 16; ``ef_construction`` and ``ef`` are swept.
- ``usearch-bf16``, ``usearch-i8``: connectivity 16 (its own); both expansions are swept; vectors
  in bfloat16 and in 8 bits.
- ``pynndescent``: the graph that it builds, of k′ neighbours, is the answer; ``max_candidates`` is
  swept, which means a graph for each.
- ``scann``: a tree of 4·√N leaves, asymmetric hashing of 2 dimensions a block, reordering by exact
  inner products; the leaves to search are swept.

A side has two timed steps: ``build`` for each effort, then ``solve`` for each level. Where it is
``linear``, solving costs the same for each target, and a part of them tells what all would cost.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from helip import _core
from helip.store.matrices import matrix_of

ADD = 65_536  # rows that are joined and added at a time
QUERIES = 8192  # targets that are searched at a time
RANKED = 65_536  # and that are ranked at a time

Pools = tuple[np.ndarray, np.ndarray]  # ids int64 [n, k], -1 for none, and scores float32
Found = np.ndarray  # ids int64 [n, k′], -1 for none


class Side(Protocol):
    linear: bool  # solving costs the same for each target

    def efforts(self) -> list[Any]:
        """What to build with, one after another: [None] where there is no choice."""

    def levels(self) -> list[Any]:
        """What to solve with, from the cheapest to the dearest."""

    def build(self, effort: Any) -> None: ...

    def drop(self) -> None:
        """Lets go of what was built."""

    def solve(self, level: Any, targets: np.ndarray) -> Pools: ...

    def facts(self) -> dict[str, Any]:
        """What is worth telling of the last level solved."""


class Library(abc.ABC):
    """A library that finds the k′ best of sᴵ + sᵀ; what all of them share."""

    linear = True
    index: Any = None
    whole: np.ndarray | None = None  # all rows [u; v], of libraries that want them at once

    def __init__(
        self, image: np.ndarray, text: np.ndarray, *, k: int, wide: int, threads: int
    ) -> None:
        self.image, self.text = image, text
        self.matrices = matrix_of(image, name="image"), matrix_of(text, name="text")
        self.core = _core.MineOptions(k=k, method="exact", threads=threads)
        self.rows, self.width = len(image), image.shape[1] + text.shape[1]
        self.k, self.wide, self.threads = k, min(wide, len(image)), threads

    def efforts(self) -> list[Any]:
        return [None]

    def drop(self) -> None:
        self.index = self.whole = None

    def facts(self) -> dict[str, Any]:
        return {"k_wide": self.wide}

    def joined(self, part: slice | np.ndarray) -> np.ndarray:
        return np.hstack((self.image[part], self.text[part]))

    def added(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Ids and rows, all of them, in blocks."""
        for ids in blocks(np.arange(self.rows), ADD):
            yield ids, self.joined(slice(ids[0], ids[-1] + 1))

    def ranked(self, own: np.ndarray, found: np.ndarray) -> Pools:
        """The k best of what was found [n, k′] by the true product."""
        lists = matrix_of(found, name="found")
        return _core.rerank(*self.matrices, own.tolist(), lists, self.core)[:2]

    @abc.abstractmethod
    def levels(self) -> list[Any]: ...

    @abc.abstractmethod
    def build(self, effort: Any) -> None: ...

    @abc.abstractmethod
    def solve(self, level: Any, targets: np.ndarray) -> Pools: ...


class SearchedLibrary(Library):
    """One whose index is searched; others give the neighbours of all rows at once."""

    def solve(self, level: Any, targets: np.ndarray) -> Pools:
        self.level(level)
        pools = []
        for first in range(0, len(targets), RANKED):
            own = targets[first : first + RANKED]
            found = [self.search(self.joined(part)) for part in blocks(own, QUERIES)]
            pools.append(self.ranked(own, np.concatenate(found)))
        ids, scores = zip(*pools, strict=True)
        return np.concatenate(ids), np.concatenate(scores)

    @abc.abstractmethod
    def level(self, level: Any) -> None:
        """Sets what is swept."""

    @abc.abstractmethod
    def search(self, queries: np.ndarray) -> Found: ...


class FaissIvf(SearchedLibrary):
    stored = "Flat"

    def levels(self) -> list[Any]:
        return [probes for probes in (1, 2, 4, 8, 16, 32, 64, 128) if probes <= self.lists]

    @property
    def lists(self) -> int:
        return max(1, round(4 * self.rows**0.5))

    def build(self, effort: None) -> None:
        import faiss

        faiss.omp_set_num_threads(self.threads)
        self.index = faiss.index_factory(
            self.width, f"IVF{self.lists},{self.stored}", faiss.METRIC_INNER_PRODUCT
        )
        self.index.cp.niter = 5
        self.index.cp.max_points_per_centroid = 40
        sample = np.random.default_rng(0).choice(
            self.rows, min(self.rows, 40 * self.lists), replace=False
        )
        self.index.train(self.joined(np.sort(sample)))
        for _, rows in self.added():
            self.index.add(rows)

    def level(self, level: int) -> None:
        self.index.nprobe = level

    def search(self, queries: np.ndarray) -> Found:
        return self.index.search(queries, self.wide)[1]


class FaissSq8(FaissIvf):
    stored = "SQ8"


class Graph(SearchedLibrary):
    """A hierarchical navigable small world; candidates looked at when building, and searching."""

    def efforts(self) -> list[Any]:
        return [64, 128]

    def levels(self) -> list[Any]:
        return [round(self.wide * times) for times in (1, 2, 4)]


class FaissHnsw(Graph):
    def build(self, effort: int) -> None:
        import faiss

        faiss.omp_set_num_threads(self.threads)
        self.index = faiss.IndexHNSWFlat(self.width, 32, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = effort
        for _, rows in self.added():
            self.index.add(rows)

    def level(self, level: int) -> None:
        self.index.hnsw.efSearch = level

    def search(self, queries: np.ndarray) -> Found:
        return self.index.search(queries, self.wide)[1]


class Hnswlib(Graph):
    def build(self, effort: int) -> None:
        import hnswlib

        self.index = hnswlib.Index(space="ip", dim=self.width)
        self.index.init_index(max_elements=self.rows, M=16, ef_construction=effort)
        self.index.set_num_threads(self.threads)
        for ids, rows in self.added():
            self.index.add_items(rows, ids)

    def level(self, level: int) -> None:
        self.index.set_ef(level)

    def search(self, queries: np.ndarray) -> Found:
        return self.index.knn_query(queries, k=self.wide)[0].astype(np.int64)


class Usearch(Graph):
    stored = "bf16"

    def build(self, effort: int) -> None:
        from usearch.index import Index

        self.index = Index(
            ndim=self.width, metric="ip", dtype=self.stored, connectivity=16, expansion_add=effort
        )
        for ids, rows in self.added():
            self.index.add(ids, rows, threads=self.threads)

    def level(self, level: int) -> None:
        self.index.expansion_search = level

    def search(self, queries: np.ndarray) -> Found:
        matches = self.index.search(queries, self.wide, threads=self.threads)
        keys = matches.keys.astype(np.int64)
        keys[np.arange(keys.shape[1]) >= matches.counts[:, None]] = -1
        return keys


class UsearchI8(Usearch):
    stored = "i8"


class Pynndescent(Library):
    linear = False  # a graph of all rows, or none
    metric: Any = "dot"

    def levels(self) -> list[Any]:
        return [4, 8, 16]

    def build(self, effort: None) -> None:
        self.whole = self.joined(slice(None))

    def solve(self, level: int, targets: np.ndarray) -> Pools:
        found = self.graph(level)[targets].astype(np.int64)
        return self.ranked(targets, found)

    def graph(self, candidates: int) -> np.ndarray:
        from pynndescent import NNDescent

        index = NNDescent(
            self.whole, metric=self.metric, n_neighbors=min(self.wide + 1, self.rows - 1),
            max_candidates=candidates, n_jobs=self.threads, random_state=0,
        )  # fmt: skip
        return index.neighbor_graph[0]


class PynndescentProduct(Pynndescent):
    def build(self, effort: None) -> None:
        super().build(effort)
        # Near duplicates come first, for the graph must be able to pass through them.
        self.wide = min(self.wide, round(1.25 * self.k))
        self.metric = product_metric(self.image.shape[1])


class Scann(SearchedLibrary):
    def levels(self) -> list[Any]:
        return [leaves for leaves in (2, 4, 8, 16, 32, 64, 128) if leaves <= self.leaves]

    @property
    def leaves(self) -> int:
        return max(1, round(4 * self.rows**0.5))

    def build(self, effort: None) -> None:
        import scann

        self.whole = self.joined(slice(None))
        builder = scann.scann_ops_pybind.builder(self.whole, self.wide, "dot_product")
        builder.set_n_training_threads(self.threads)
        builder = builder.tree(
            num_leaves=self.leaves, num_leaves_to_search=1,
            training_sample_size=min(self.rows, 40 * self.leaves),
        )  # fmt: skip
        builder = builder.score_ah(
            2, anisotropic_quantization_threshold=0.2, training_sample_size=10_000
        )
        self.index = builder.reorder(4 * self.wide).build()
        self.index.set_num_threads(self.threads)

    def level(self, level: int) -> None:
        self.probed = level

    def search(self, queries: np.ndarray) -> Found:
        found, sums = self.index.search_batched_parallel(queries, leaves_to_search=self.probed)
        return np.where(np.isnan(sums), -1, found.astype(np.int64))  # fewer in these leaves


class Helip:
    """``helip.mine`` from the same arrays; a level is the recall that it is asked for."""

    linear = False
    method = "partition"

    def __init__(
        self, image: np.ndarray, text: np.ndarray, *, k: int, wide: int, threads: int
    ) -> None:
        self.image, self.text, self.k, self.threads = image, text, k, threads
        self.report: dict[str, Any] = {}

    def levels(self) -> list[Any]:
        return [0.8, 0.9, 0.95, 0.99]

    def build(self, effort: None) -> None: ...

    def drop(self) -> None: ...

    def efforts(self) -> list[Any]:
        return [None]

    def solve(self, level: float, targets: np.ndarray) -> Pools:
        import helip

        pairs = helip.mine(
            image=self.image, text=self.text, k=self.k, method=self.method, recall=level,
            threads=self.threads, device="cpu", progress=False,
        )  # fmt: skip
        self.report = pairs.report
        return pairs.ids, pairs.scores

    def facts(self) -> dict[str, Any]:
        return {name: self.report[name] for name in ("recall", self.method) if name in self.report}


class HelipKept(Helip):
    """From a store that was mined before and kept its codes, which is not timed."""

    def __init__(
        self, image: np.ndarray, text: np.ndarray, *, k: int, wide: int, threads: int
    ) -> None:
        from mined_before import MinedBefore

        super().__init__(image, text, k=k, wide=wide, threads=threads)
        self.before = MinedBefore(image, text, k=k, method=self.method, threads=threads)

    def solve(self, level: float, targets: np.ndarray) -> Pools:
        pairs = self.before.mine(recall=level)
        self.report = pairs.report
        return pairs.ids, pairs.scores


class HelipHnsw(Helip):
    method = "hnsw"


class HelipExact(Helip):
    method = "exact"

    def levels(self) -> list[Any]:
        return [1.0]


SIDES: dict[str, type[Library] | type[Helip]] = {
    "helip-partition": Helip,
    "helip-kept": HelipKept,
    "helip-hnsw": HelipHnsw,
    "helip-exact": HelipExact,
    "faiss-ivf": FaissIvf,
    "faiss-sq8": FaissSq8,
    "faiss-hnsw": FaissHnsw,
    "hnswlib": Hnswlib,
    "usearch-bf16": Usearch,
    "usearch-i8": UsearchI8,
    "scann": Scann,
    "pynndescent": Pynndescent,
    "pynndescent-product": PynndescentProduct,
}

PACKAGES = ("faiss-cpu", "hnswlib", "usearch", "scann", "pynndescent", "numba", "torch", "numpy")


def blocks(ids: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for first in range(0, len(ids), size):
        yield ids[first : first + size]


def product_metric(width: int) -> Any:
    """1 − sᴵ·sᵀ of two rows [u; v] with u of this width, compiled by numba."""
    import numba

    @numba.njit(fastmath=True)
    def distance(x: np.ndarray, y: np.ndarray) -> float:
        s_image, s_text = np.float32(0), np.float32(0)
        for i in range(width):
            s_image += x[i] * y[i]
        for i in range(width, x.shape[0]):
            s_text += x[i] * y[i]
        return np.float32(1) - max(s_image, np.float32(0)) * max(s_text, np.float32(0))

    return distance
