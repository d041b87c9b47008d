"""A loader hands over the rows that the core's sampler plans, and goes on after a state."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np

import helip

Job = dict[str, Any]


class Data:
    """Row i is the number i."""

    fingerprint = "a" * 32

    def __init__(self, rows: int) -> None:
        self.keys = [str(row) for row in range(rows)]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, row: int) -> Job:
        return {"key": self.keys[row], "image": row, "text": f"caption {row}", "index": row}


def loader_of(job: Job, table: Any, rank: int, **division: int) -> Any:
    names = (
        "hard_per_target",
        "rank_min",
        "fraction",
        "short",
        "strategy",
        "order",
        "block",
        "walk_rows",
        "schedule",
        "batch_size",
        "world_size",
        "seed",
    )
    given: Job = {name: job[name] for name in names}
    for name in ("rank_max", "draw_temperature", "targets_per_batch"):
        given[name] = job[name] or None
    if job["strategy"] == "communities":
        given["community_rows"] = job["community_rows"]
    given |= division
    return helip.HardPairLoader(
        Data(job["rows"]), table, rank=rank, epoch=job["epoch"], workers=job["workers"], **given
    )


def check_loader(
    job: Job, table: Any, pools: Any, whole: list[list[Any]], covered: Counter[str]
) -> None:
    """The batches of the sampler, and the rest of them after a state, also as JSON."""
    for rank, batches in enumerate(whole):
        loader = loader_of(job, table, rank)
        assert [rows.tolist() for rows in loader.planned_rows(job["epoch"])] == [
            index for index, *_ in batches
        ]
        stop = int(np.random.default_rng(job["seed"]).integers(0, len(batches)))
        found, state = [], loader.state_dict()
        for number, batch in enumerate(loader):
            found.append(batch)
            if number + 1 == stop:
                state = json.loads(json.dumps(loader.state_dict()))
        assert len(found) == len(batches)
        again = loader_of(job, table, rank)
        again.load_state_dict(state)
        rest = list(again)
        assert len(rest) == len(batches) - stop
        for batch, (index, target, _) in zip(
            [*found, *rest], [*batches, *batches[stop:]], strict=True
        ):
            assert batch["index"].tolist() == index and batch["target"].tolist() == target, (
                "not the planned rows"
            )
            assert batch["image"] == index and batch["text"] == [f"caption {row}" for row in index]
            if job["strategy"] == "communities":
                check_hard_rows(pools, batch, loader, job)
        stats = loader.stats()
        assert stats["emitted"] == sum(len(index) for index, *_ in batches) and stats[
            "batches"
        ] == len(batches)
        assert stats["targets"] == sum(targets for *_, targets in batches)
    covered["read by a loader"] += 1


def check_hard_rows(pools: Any, batch: Any, loader: Any, job: Job) -> None:
    index = batch["index"].tolist()
    loader._sampler.set_epoch(job["epoch"])
    first, last, *_ = loader._sampler.hardness(0)
    for row, found in zip(index, batch["hard_rows"].tolist(), strict=True):
        wanted = [index.index(other) for other, _ in pools[row][first:last] if other in index]
        assert found == wanted + [-1] * (len(found) - len(wanted)), "hard_rows"
