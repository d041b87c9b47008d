"""The experiments on icons, as `run.py` runs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import heads
import icon_features
import icon_lit
import icon_recall
import icon_scene
import icon_stamps
import icon_towers
import icons
import numpy as np
import setting
import summary
from icon_experiments import EXPERIMENTS, IconExperiment
from icon_trials import Trial
from workers import Workers

__all__ = ["EXPERIMENTS", "done", "identity", "prepare", "record", "run", "seconds"]

#: Of a step of 256 rows and of measuring, one thread of an AMD EPYC.
SECONDS = {"heads": (0.01, 4.0), "towers": (0.24, 25.0), "lit": (0.8, 30.0)}
STAGES = {"heads": heads, "towers": icon_towers, "lit": icon_lit}


def run(trial: Trial, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = STAGES[trial.stage].run(trial, seed)
    return found


def identity(trial: Trial, seed: int) -> dict[str, Any]:
    told: dict[str, Any] = STAGES[trial.stage].identity(trial, seed)
    return {"stage": trial.stage, **told}


def done(trial: Trial, seed: int) -> bool:
    stage = STAGES[trial.stage]
    return setting.place(stage.RUNS, stage.identity(trial, seed)).exists()


def seconds(trial: Trial) -> float:
    """About what a run takes on one thread."""
    step, measuring = SECONDS[trial.stage]
    if trial.kind == "all":
        measuring *= 8
    steps = 0 if trial.way == "start" else trial.steps
    return measuring + step * steps * trial.rows / 256


def prepare(workers: Workers, trials: Iterable[Trial], seeds: Sequence[int]) -> None:
    """What several runs need, before the runs: two of them would make it twice."""
    trials = list(trials)
    for kind in sorted({trial.kind for trial in trials}):
        for split in icons.load(kind).split_names:
            icon_features.store(kind, split, progress=True)
        icon_features.table(kind, progress=True)
    pools = {
        (trial.kind, trial.noise, pool)
        for trial in trials
        for pool in (trial.pool, "product")
        if pool != "own" and trial.stage == "heads"
    }
    towers = {trial.kind for trial in trials if trial.stage == "towers"}
    workers.finish("pixels", [workers.submit(icon_towers.make_pixels, kind) for kind in towers])
    if kinds := {trial.kind for trial in trials if trial.stage == "lit"}:
        # The features need the pixels, so they make both.
        workers.finish("features", [workers.submit(_frozen, kind) for kind in kinds])
    if any(trial.stamps or trial.stage == "lit" for trial in trials):
        workers.finish("stamps", [workers.submit(icon_stamps.make)])
    workers.finish("pools", [workers.submit(_pool, *place) for place in sorted(pools)])
    starts: dict[Any, Any] = {}
    for trial in trials:
        for seed in seeds:
            if trial.stage == "lit":
                begun = ("lit", trial.kind, trial.epochs, seed)
                starts[begun] = workers.submit(icon_lit.start, seed, trial.epochs, trial.kind)
                continue
            if trial.stage == "towers":
                begun = ("towers", trial.kind, trial.epochs, seed)
                starts[begun] = workers.submit(icon_towers.start, seed, trial.epochs, trial.kind)
                continue
            place = setting.place("icon-head-starts", heads.start_identity(trial, seed))
            if place not in starts and not place.exists():
                starts[place] = workers.submit(heads.start, trial, seed)
    workers.finish("starts", starts.values())


def _frozen(kind: str) -> None:
    icon_lit.frozen_scene(kind)


def _pool(kind: str, noise: float, pool: str) -> None:
    icon_scene.scene(kind, noise).pairs(pool)


def record(experiment: IconExperiment, of: Mapping[str, Mapping[int, Any]]) -> dict[str, Any]:
    """The table, and every run's figures, of results by name and seed."""
    shown = {
        name: {seed: told(found, experiment.part) for seed, found in by_seed.items()}
        for name, by_seed in of.items()
    }
    stamps = all("stamps" in found for by_seed in of.values() for found in by_seed.values())
    figures = ("mean", *icon_recall.FIGURES, *(icon_stamps.FIGURES if stamps else ()))
    table = summary.table(shown, experiment.compared, figures, also=("stamps",) if stamps else ())
    if any("held" in found for by_seed in of.values() for found in by_seed.values()):
        for cells, name in zip(table, ("", *of), strict=True):
            cells.insert(1, held(of[name].values()) if name else "held")
    return {
        "part": experiment.part,
        "table": table,
        "runs": {
            name: {
                seed: {part: found[part]["figures"] for part in icon_recall.PARTS}
                | {k: found[k] for k in ("held", "loss", "seconds", "stamps") if k in found}
                for seed, found in by_seed.items()
            }
            for name, by_seed in of.items()
        },
        "trials": {trial.name: trial.identity for trial in experiment.variants},
    }  # fmt: skip


def told(found: Mapping[str, Any], part: str) -> dict[str, Any]:
    """The figures of a part of a run, with those of stamps."""
    figures = {**found[part]["figures"], **found.get("stamps", {})}
    return {"figures": figures, "ranks": found[part]["ranks"]}


def held(runs: Iterable[Mapping[str, Any]]) -> str:
    """How many of a row's first 50 hard pairs its batch held, on average."""
    found = [run["held"] for run in runs if "held" in run]
    return f"{np.mean(found):.1f}" if found else ""
