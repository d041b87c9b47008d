"""Batches as others make them, from the same table of hard pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse

import helip


def b3(
    pairs: helip.HardPairs, rows: int, seed: int, *, ranks: int, part: int
) -> Iterator[np.ndarray]:
    """B3 (arXiv 2505.11293): METIS divides the graph of the hard pairs of the first ``ranks`` into
    parts of about ``part`` rows, once; batches are made of parts in random order, for ever."""
    import pymetis

    n = len(pairs)
    window = np.asarray(pairs.ids[:, :ranks])
    there = window >= 0
    source = np.broadcast_to(np.arange(n)[:, None], window.shape)[there]
    graph = sparse.coo_matrix((np.ones(len(source)), (source, window[there])), (n, n)).tocsr()
    graph = (graph + graph.T).tocsr()
    adjacency = pymetis.CSRAdjacency(graph.indptr.astype(np.int32), graph.indices.astype(np.int32))
    _, numbers = pymetis.part_graph(max(2, n // part), adjacency)
    order = np.argsort(numbers, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(np.asarray(numbers)[order])) + 1)
    rng = np.random.default_rng(seed)
    while True:
        mixed = np.concatenate([rng.permutation(parts[i]) for i in rng.permutation(len(parts))])
        cuts = np.array_split(mixed, -(-n // rows))
        yield from (cuts[i] for i in rng.permutation(len(cuts)))
