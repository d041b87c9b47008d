"""The stage `certify`: exact pools of a sample of targets, by which the recall is measured."""

from __future__ import annotations

from typing import Any

import numpy as np

from helip import _core
from helip.mining.recall import Recall, hits_of, is_reached, recall_of
from helip.mining.stages.job import StageJob, Workplace
from helip.mining.stages.kept_sample import kept_pools
from helip.mining.stages.range_pools import pools_of
from helip.mining.stages.rows import taken, views_of
from helip.mining.stages.steps import CERTIFY, MOST_ROUNDS, Step, verdict
from helip.mining.stages.unit_files import open_unit_file, write_unit_file
from helip.mining.stages.widening import margins, widest_margin
from helip.pairs.blocks import Pools
from helip.pairs.joining import join_pools

_PASSES = 2  # most, of refine in a round
_WORTHWHILE = 0.2  # share of what is missing that a pass must find


def certify(place: Workplace, step: Step, unit: int) -> None:
    """Writes the exact pools of the sample's targets among the rows of a range, and the sample.

    ``ids`` int64 and ``scores`` float32 [targets, k + skip], ``counts`` int32. Of a target whose
    pool the base kept, that is joined with the rows that are new.
    """
    job, changes = place.job, place.changes
    first, last = job.rows_of(unit)
    rows = np.arange(first, last)
    if changes is None:
        pools, known = _exact(place, job.sample, rows), 0
    else:
        # Each unit gives all that its range can have in the exact pools, so that it does not matter
        # whether the others had the kept sample.
        is_known, pools = kept_pools(changes, job.sample, job.kept)
        pools = pools.without((pools.ids < first) | (pools.ids >= last))
        found = Pools.empty(len(job.sample), job.kept)
        for some, among in ((~is_known, rows), (is_known, rows[changes.fresh(rows)])):
            if some.any() and len(among):
                exact = _exact(place, job.sample[some], among)
                for values, new in zip(found, exact, strict=True):
                    values[some] = new
        pools, known = _joined(pools, found), int(is_known.sum())
    write_unit_file(step.place(job, unit), pools._asdict(), job=job.digest, notes={"known": known})


def _exact(place: Workplace, sample: np.ndarray, rows: np.ndarray) -> Pools:
    """The pools of targets among ascending rows and themselves."""
    own, targets = taken(place.columns, rows), taken(place.columns, sample)
    # The sample comes first, and no row twice; a deleted row is one of zeros.
    deleted = place.store.deleted
    again = np.isin(rows, sample) | np.isin(rows, deleted)
    gone = np.isin(sample, deleted)
    for name in own:
        own[name][again] = 0
        targets[name][gone] = 0
    local = {name: np.concatenate([targets[name], own[name]]) for name in own}
    found: Any = _core.mine_targets(
        *views_of(local, place.dtype), list(range(len(sample))), place.core_options("exact")
    )
    ids, scores, counts = found
    return Pools(np.where(ids < 0, -1, np.concatenate([sample, rows])[ids]), scores, counts)


def _joined(pools: Pools, others: Pools) -> Pools:
    """The best of both, each pair once, in as many places."""
    both = join_pools(
        np.concatenate([pools.ids, others.ids], axis=1),
        np.concatenate([pools.scores, others.scores], axis=1),
        pools.ids.shape[1],
    )
    return Pools(both.ids, both.scores, both.counts)


def measure(place: Workplace, step: Step, unit: int) -> None:
    """Writes ``hits`` and ``wanted`` int64 [targets]; the notes have the recall, and what is next.

    While the lower limit is below what was asked for, pools are refined, as long as a pass finds a
    fifth of what is missing; then rows up to a ``margin`` go to one cluster more.
    """
    job = place.job
    assert step.pools is not None
    exact = exact_sample(job)
    told = exact.scores, exact.counts
    found = _found(job, step.pools)
    hits, wanted = hits_of(told, found, job.options.skip)
    recall = recall_of(hits, wanted)
    if len(job.sample) == job.rows:  # of all targets: no estimate
        recall = Recall(recall.targets, *[recall.value] * 3)
    then = _next(job, step, recall)
    notes: dict[str, Any] = {**recall.as_report(), "next": then}
    if then == "widen":
        margin = margins(place, step.pools, step.round, job.sample)[0]
        notes["margin"] = widest_margin(margin, hits, wanted, job.options.recall)
        if notes["margin"] is None:
            notes["next"] = "write"
    arrays = {"hits": hits, "wanted": wanted}
    write_unit_file(step.place(job, unit), arrays, job=job.digest, notes=notes)


def _next(job: StageJob, step: Step, recall: Recall) -> str:
    if is_reached(recall.targets, recall.low, job.options.recall):
        return "write"
    pays = True
    if step.number:
        before = verdict(job, Step("measure", step.round, step.number - 1))["value"]
        pays = recall.value - before >= _WORTHWHILE * (1 - before)
    if step.number < _PASSES and pays:
        return "refine"
    return "widen" if step.round < MOST_ROUNDS else "write"


def exact_sample(job: StageJob) -> Pools:
    """The exact pools of the sample, [targets, k + skip], from all ranges."""
    exact = Pools.empty(len(job.sample), job.kept)
    for unit in range(job.ranges):
        file = open_unit_file(CERTIFY.place(job, unit), job=job.digest)
        exact = _joined(exact, Pools(*(np.array(file[name]) for name in Pools._fields)))
    return exact


def _found(job: StageJob, pools: Step) -> tuple[np.ndarray, np.ndarray]:
    scores = np.zeros((len(job.sample), job.kept), dtype=np.float32)
    counts = np.zeros(len(job.sample), dtype=np.int32)
    for unit in np.unique(job.sample // job.unit_rows).tolist():
        of = job.sample // job.unit_rows == unit
        file = pools_of(job, pools, unit)
        at = job.sample[of] - unit * job.unit_rows
        scores[of], counts[of] = file["scores"][at], file["counts"][at]
    return scores, counts
