"""Centres of the clusters: spherical k-means of a sample of the rows, then evened out."""

from __future__ import annotations

import numpy as np
import torch

from helip.mining.stages.job import Workplace
from helip.mining.stages.rows import BLOCK, closest, taken, unit_vectors
from helip.mining.stages.steps import Step
from helip.mining.stages.unit_files import write_unit_file

_STREAM = 0x63656E747265
_ITERATIONS = 12
_EVENINGS = 24  # most
_SPLIT_ITERATIONS = 4
#: A cluster that would take more than so many times its share of the sample is split.
MOST_SHARE = 2.0


def make_centres(place: Workplace, step: Step, unit: int) -> None:
    """Writes ``centres`` [clusters, d]; the notes say what the largest takes of the sample."""
    job = place.job
    rows = _sample(place)
    draw = np.random.default_rng([job.options.seed, _STREAM, 1])
    centres = spherical_kmeans(rows, job.clusters, draw)
    centres, largest = evened_out(rows, centres, job.clusters_of(False))
    notes = {"sample": len(rows), "largest": largest}
    arrays = {"centres": centres.float().numpy()}
    write_unit_file(step.place(job, unit), arrays, job=job.digest, notes=notes)


def _sample(place: Workplace) -> torch.Tensor:
    """Random rows that are neither zero nor deleted, in float32."""
    job = place.job
    width = sum(place.columns[name].shape[1] for name in job.options.modalities)
    draw = np.random.default_rng([job.options.seed, _STREAM])
    drawn = np.sort(draw.choice(job.rows, job.centre_rows, replace=False, shuffle=False))
    drawn = np.setdiff1d(drawn, place.store.deleted, assume_unique=True)
    rows, count = torch.empty(len(drawn), width), 0  # at once: blocks side by side take it twice
    for begin in range(0, len(drawn), BLOCK):
        picked = taken(place.columns, drawn[begin : begin + BLOCK])
        block, zero = unit_vectors(picked, place.dtype)
        kept = block[torch.from_numpy(~zero)]
        rows[count : count + len(kept)] = kept
        count += len(kept)
    return rows[:count]


def spherical_kmeans(
    rows: torch.Tensor, clusters: int, draw: np.random.Generator, iterations: int = _ITERATIONS
) -> torch.Tensor:
    """float32 [clusters, d]: Lloyd's iterations from random rows [m, d], both of length 1."""
    if not len(rows):
        return torch.zeros(clusters, rows.shape[1])
    first = draw.choice(len(rows), clusters, replace=len(rows) < clusters)
    return _iterated(rows, rows[torch.from_numpy(np.sort(first))].clone(), iterations)


def _iterated(rows: torch.Tensor, centres: torch.Tensor, iterations: int) -> torch.Tensor:
    before = None
    for _ in range(iterations):
        own = _closest(rows, centres, 1)[:, 0]
        if before is not None and np.array_equal(own, before):
            break
        before = own
        sums = torch.zeros(centres.shape, dtype=torch.float64)
        for begin in range(0, len(rows), BLOCK):
            block = slice(begin, begin + BLOCK)
            sums.index_add_(0, torch.from_numpy(own[block]).long(), rows[block].double())
        length = sums.norm(dim=1, keepdim=True)
        # One that nothing is close to stays where it is.
        centres = torch.where(length > 0, sums / length.clamp_min(1e-30), centres.double()).float()
    return centres


def _closest(rows: torch.Tensor, centres: torch.Tensor, count: int) -> np.ndarray:
    blocks = [closest(block, centres, count)[0] for block in rows.split(BLOCK)]
    return np.concatenate(blocks)


def evened_out(
    rows: torch.Tensor, centres: torch.Tensor, overlap: int
) -> tuple[torch.Tensor, float]:
    """Centres without one that takes above twice its share of ``rows``, and the largest's shares.

    A cluster that is too large is split in two, and the second half takes the place of the smallest
    one, whose rows go to their next closest: so the number of clusters, and with it the units of
    the job, stay as they are. Capping a cluster instead would make where a row goes depend on all
    rows before it, and units could not be run apart. Rows that are all equal cannot be split.
    """
    clusters = len(centres)
    best, least = centres, np.inf
    whole: set[int] = set()  # that cannot be split
    for _ in range(_EVENINGS):
        near = _closest(rows, centres, overlap) if len(rows) else np.zeros((0, overlap), np.int32)
        counts = np.bincount(near.reshape(-1), minlength=clusters)
        share = max(near.size, 1) / clusters
        largest = float(counts.max() / share)
        if largest < least:
            best, least = centres, largest
        heavy = [
            int(c) for c in np.argsort(-counts, kind="stable")
            if counts[c] > MOST_SHARE * share and c not in whole
        ]  # fmt: skip
        if not heavy:
            break
        light = [int(c) for c in np.argsort(counts, kind="stable") if counts[c] < share]
        centres = centres.clone()
        for cluster, other in zip(heavy[: max(clusters // 4, 1)], light, strict=False):
            halves = _halves(
                rows[torch.from_numpy((near == cluster).any(axis=1))], centres[cluster]
            )
            if halves is None:
                whole.add(cluster)
            else:
                centres[cluster], centres[other] = halves
                whole.discard(other)
    return best, least


def _halves(rows: torch.Tensor, centre: torch.Tensor) -> torch.Tensor | None:
    """Two centres of these rows; None where one would take all of them."""
    far = rows[int((rows @ centre).argmin())]
    other = rows[int((rows @ far).argmin())]
    centres = _iterated(rows, torch.stack([far, other]), _SPLIT_ITERATIONS)
    own = _closest(rows, centres, 1)
    return None if own.min() == own.max() else centres
