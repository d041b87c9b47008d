"""Writing: the table of a job whose stages are all done."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import StorageError
from helip.mining.recall import is_reached
from helip.mining.stages.certifying import exact_sample
from helip.mining.stages.drops import RULES, count_rules
from helip.mining.stages.job import StageJob
from helip.mining.stages.kept_sample import remove_unpublished, write_kept_sample
from helip.mining.stages.range_pools import pools_of
from helip.mining.stages.rows import BLOCK
from helip.mining.stages.steps import CENTRES, Step, done_steps, verdict
from helip.mining.stages.unit_files import full_disk, open_unit_file

_INTERVAL = ("value", "low", "high", "targets", "confidence")


def write_table(job: StageJob) -> _core.HardPairs:
    """Streams the pools of all targets, without the best ``skip``, to a new table at ``out``."""
    try:
        return _written(job)
    except StorageError as error:
        raise full_disk(error, "stage write") from error


def _written(job: StageJob) -> _core.HardPairs:
    done = done_steps(job)
    pools = next(step for step in reversed(done) if step.stage in ("merge", "refine"))
    skip, drops = job.options.skip, dict.fromkeys((*RULES, "skipped"), 0)
    remove_unpublished(job.out)
    writer = _core.HardPairsWriter(job.out, job.rows, job.options.k, replace=job.base is not None)
    for unit in range(job.ranges):
        file = pools_of(job, pools, unit)
        first, last = job.rows_of(unit)
        for name, count in count_rules(np.array(file["drop_rules"])).items():
            drops[name] += count
        for begin in range(0, last - first, BLOCK):
            block = slice(begin, min(begin + BLOCK, last - first))
            over = np.minimum(file["counts"][block], skip)
            drops["skipped"] += int(over.sum())
            ids = np.ascontiguousarray(file["ids"][block, skip:], dtype=np.int64)
            scores = np.ascontiguousarray(file["scores"][block, skip:])
            writer.write(first + begin, ids, scores, file["counts"][block] - over)
    options = table_options(job)
    # First: a table that is there has its kept sample.
    write_kept_sample(job.out, job.fingerprint, options, job.sample, exact_sample(job))
    return writer.finish(
        fingerprint=job.fingerprint,
        data_fingerprint=job.data_fingerprint,
        options_json=json.dumps(options),
        report_json=json.dumps(_report(job, done, drops)),
    )


def table_options(job: StageJob) -> dict[str, Any]:
    """What the table was mined with; of one that was brought up to date as before."""
    if job.base is not None:
        return job.base.options
    named = {**job.options.as_dict(), "method": "partition"}
    named["candidates"] = named["candidates"] or 0
    return {**named, "cluster_rows": job.cluster_rows, "overlap": job.overlap}


def _report(job: StageJob, done: list[Step], drops: dict[str, int]) -> dict[str, Any]:
    found = verdict(job, done[-1])
    recalls = [verdict(job, step)["value"] for step in done if step.stage == "measure"]
    report: dict[str, Any] = {"pairs": job.rows * (job.rows - 1)}
    if job.base is None:
        report["drops"] = drops
    else:
        base = job.base
        report["update"] = {
            "from": base.store, "added": job.rows - base.rows, "deleted": base.deleted,
            "replaced": base.replaced,
        }  # fmt: skip
    return {
        **report,
        "recall": {name: found[name] for name in _INTERVAL},
        "stages": {
            "clusters": job.clusters,
            "largest": _largest(job, done[-1].round),
            "largest_of_sample": open_unit_file(CENTRES.place(job, 0), job=job.digest).notes[
                "largest"
            ],
            "overlap": job.overlap,
            "widened": [_widened(job, each) for each in range(1, done[-1].round + 1)],
            "passes": sum(step.stage == "refine" for step in done),
            "recalls": recalls,
            "reached": is_reached(found["targets"], found["low"], job.options.recall),
        },
    }


def _largest(job: StageJob, rounds: int) -> int:
    """Rows of the largest cluster at the end."""
    last = Step("solve", rounds)
    notes = (
        open_unit_file(last.place(job, each), job=job.digest).notes for each in range(job.clusters)
    )
    return max(each["rows"] for each in notes)


def _widened(job: StageJob, round: int) -> int:
    """Rows that went to one cluster more in that round."""
    route = Step("route", round)
    return sum(
        len(open_unit_file(route.place(job, each), job=job.digest)["ids"])
        for each in range(job.ranges)
    )
