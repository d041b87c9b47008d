"""The experiments on emoji, as `run.py` runs them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pools
import runs
import setting
import starts
import summary
from variants import EXPERIMENTS, EmojiExperiment, Variant
from workers import Workers

__all__ = ["EXPERIMENTS", "done", "identity", "prepare", "record", "run", "seconds"]

STEP_SECONDS = 0.11  # of 64 rows, one thread of an AMD EPYC
run = runs.run
identity = runs.identity


def done(variant: Variant, seed: int) -> bool:
    return setting.place("runs", identity(variant, seed)).exists()


def seconds(variant: Variant) -> float:
    """About what a run takes on one thread."""
    options = runs.options(variant)
    return 15 + STEP_SECONDS * float(options["steps"]) * float(options["batch_size"]) / 64


def prepare(workers: Workers, variants: Iterable[Variant], seeds: Sequence[int]) -> None:
    """What several runs need, before the runs: two of them would make it twice."""
    variants = list(variants)
    for split in ("train", "stamps-probe"):
        setting.data(split)
    kinds = sorted({variant.start for variant in variants})
    workers.finish(
        "features and start models",
        [workers.submit(_embedded)]
        + [workers.submit(starts.start, kind, seed) for kind in kinds for seed in seeds],
    )
    needed = {}
    for variant in variants:
        if not runs.mined(variant):
            continue
        for seed in seeds:
            known_as = json.dumps(pools.identity(variant.pool, variant.start, seed))
            needed[known_as] = (variant.pool, variant.start, seed)
    own = [place for place in needed.values() if place[0].get("features") == "own"]
    workers.finish(
        "features of start models", [workers.submit(_embedded, "own", *p[1:]) for p in own]
    )
    workers.finish("pools", [workers.submit(_mined, *place) for place in needed.values()])


def record(experiment: EmojiExperiment, of: Mapping[str, Mapping[int, Any]]) -> dict[str, Any]:
    """The table, and every run's figures, of results by name and seed."""
    figures = summary.FIGURES if experiment.unseen else summary.HELD_OUT
    told: dict[str, Any] = {
        "table": summary.table(of, experiment.compared, figures),
        "runs": {
            name: {seed: found["figures"] for seed, found in by_seed.items()}
            for name, by_seed in of.items()
        },
        "recipe": {**setting.FINETUNE, "pool": setting.POOL},
    }
    for variant in experiment.variants if experiment.mining else ():
        if not variant.train.get("control"):
            values = [runs.mining_quality(variant, seed) for seed in of[variant.name]]
            told.setdefault("in exact pools", {})[variant.name] = summary.mean(values)["value"]
    return told


# What a worker returns must be picklable, which stores and tables are not.


def _embedded(*whose: Any) -> None:
    pools.store(*whose)


def _mined(way: dict[str, Any], kind: str, seed: int) -> None:
    pools.table(way, kind, seed)
