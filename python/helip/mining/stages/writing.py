"""Writing: the table of a job whose stages are all done."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import StorageError
from helip.mining.recall import is_reached
from helip.mining.stages.job import StageJob
from helip.mining.stages.merging import pools_of
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
    skip, skipped = job.options.skip, 0
    writer = _core.HardPairsWriter(job.out, job.rows, job.options.k)
    for unit in range(job.ranges):
        file = pools_of(job, pools, unit)
        first, last = job.rows_of(unit)
        for begin in range(0, last - first, BLOCK):
            block = slice(begin, min(begin + BLOCK, last - first))
            over = np.minimum(file["counts"][block], skip)
            skipped += int(over.sum())
            ids = np.ascontiguousarray(file["ids"][block, skip:], dtype=np.int64)
            scores = np.ascontiguousarray(file["scores"][block, skip:])
            writer.write(first + begin, ids, scores, file["counts"][block] - over)
    return writer.finish(
        fingerprint=job.fingerprint,
        data_fingerprint=job.data_fingerprint,
        options_json=json.dumps(table_options(job)),
        report_json=json.dumps(_report(job, done, skipped)),
    )


def table_options(job: StageJob) -> dict[str, Any]:
    """What the table was mined with."""
    named = {**job.options.as_dict(), "method": "partition"}
    named["candidates"] = named["candidates"] or 0
    return {**named, "cluster_rows": job.cluster_rows, "overlap": job.overlap}


def _report(job: StageJob, done: list[Step], skipped: int) -> dict[str, Any]:
    found = verdict(job, done[-1])
    largest, drops = _solved(job, done[-1].round)
    recalls = [verdict(job, step)["value"] for step in done if step.stage == "measure"]
    return {
        "pairs": job.rows * (job.rows - 1),
        "drops": {"skipped": skipped},
        "recall": {name: found[name] for name in _INTERVAL},
        "stages": {
            "clusters": job.clusters,
            "largest": largest,
            "largest_of_sample": open_unit_file(CENTRES.place(job, 0), job=job.digest).notes[
                "largest"
            ],
            "overlap": job.overlap + done[-1].round,
            "passes": sum(step.stage == "refine" for step in done),
            "recalls": recalls,
            "reached": is_reached(found["targets"], found["low"], job.options.recall),
            "drops_in_clusters": drops,
        },
    }


def _solved(job: StageJob, round: int) -> tuple[int, dict[str, int]]:
    """Rows of the largest cluster, and the drops of all, as they were mined last.

    A pair that is dropped in two clusters counts twice.
    """
    largest, drops = 0, dict[str, int]()
    for cluster in range(job.clusters):
        for each in range(round, -1, -1):
            file = open_unit_file(Step("solve", each).place(job, cluster), job=job.digest)
            if len(file["targets"]):
                largest = max(largest, len(file["targets"]))
                for name, count in file.notes["report"]["drops"].items():
                    drops[name] = drops.get(name, 0) + count
                break
    drops.pop("skipped", None)  # nothing is passed over before pools are united
    return largest, drops
