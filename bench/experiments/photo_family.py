"""The experiments on photographs, as `run.py` runs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import photo_features
import photo_rivals
import photo_runs
import photo_scene
import photos
import setting
import summary
from photo_experiments import EXPERIMENTS, PhotoExperiment
from photo_trials import Trial
from workers import Workers

__all__ = ["EXPERIMENTS", "done", "identity", "prepare", "record", "run", "seconds"]

#: Of a row that is trained on, and of measuring a set, one thread of an AMD EPYC.
ROW = {"heads": 1.0e-4, "top": 2.6e-3, "pixels": 1.2e-3}
MEASURED = {"heads": 4.0, "top": 20.0, "pixels": 12.0}
ROWS = {
    "flickr8k": 6000, "paragraphs": 5715, "fashion": 7000, "fashion44k": 32000, "mixed": 44000,
    "icons": 30761, "all": 75000,
}  # fmt: skip

#: What runs call a figure: how tables name it.
FIGURES = {"among all": "among all", "published": "among held-out"}
RUN = ("held", "loss", "seconds", "before", "steps")

run, identity = photo_runs.run, photo_runs.identity


def done(trial: Trial, seed: int) -> bool:
    return setting.place(photo_runs.RUNS, identity(trial, seed)).exists()


def seconds(trial: Trial) -> float:
    """About what a run takes on one thread."""
    epochs = 0.0 if trial.way == "start" else trial.epochs
    measured = MEASURED[trial.stage] * (4 if trial.data in photos.MIXTURES else 1)
    return measured + ROW[trial.stage] * epochs * ROWS[trial.only or trial.data]


def prepare(workers: Workers, trials: Iterable[Trial], seeds: Sequence[int]) -> None:
    """What several runs need, before the runs: two of them would make it twice."""
    trials = list(trials)
    sets = {trial.data for trial in trials}
    for name in sorted(
        {part for each in sets for part in photos.parts_of(each)} | {*photos.CLASSES}
    ):
        photo_features.encoded(name, workers)
    tables = {(trial.data, pool) for trial in trials for pool in (trial.pool, "product")
              if pool not in photo_runs.OWN}  # fmt: skip
    # The scenes first, so that no two processes encode the same captions.
    workers.finish("captions", [workers.submit(_captions, each) for each in sorted(sets)])
    workers.finish("prompts", [workers.submit(_prompts, each) for each in photos.CLASSES])
    more = {(trial.data, kind) for trial in trials for kind in ("phrases", "swapped")
            if (kind == "phrases") == bool(trial.phrases)
            and (trial.phrases or trial.loss.get("kind") == "negclip")}  # fmt: skip
    workers.finish("texts", [workers.submit(_more, *each) for each in sorted(more)])
    workers.finish("pools", [workers.submit(_pool, *each) for each in sorted(tables)])
    plain = {}
    for trial in trials:
        for seed in seeds:
            for begun in all_starts(trial):
                plain[setting.place("photo-starts", photo_runs.start_identity(begun, seed))] = (
                    begun, seed,
                )  # fmt: skip
    waiting = [each for place, each in plain.items() if not place.exists()]
    shown = {trial.data for trial in trials if trial.stage == "pixels"}
    parts = {part for each in shown for part in photos.parts_of(each)}
    parts |= {*photos.CLASSES} if shown else set()
    workers.finish("pixels", [workers.submit(_pixels, each) for each in sorted(parts)])
    # Heads before the general start, which begins with them.
    for stage in ("heads", "pixels", "top"):
        workers.finish("starts", [
            workers.submit(photo_runs.start_of, *each) for each in waiting if each[0].stage == stage
        ])  # fmt: skip


def all_starts(trial: Trial) -> list[Trial]:
    """What it starts from, and before each of these what that starts from."""
    found = []
    for begun in photo_runs.starts(trial):
        found += [*(photo_runs.starts(begun) if begun.stage == "top" else ()), begun]
    return found


def _captions(name: str) -> None:
    photo_scene.scene(name)


def _prompts(name: str) -> None:
    photo_scene.prompts(name)


def _pixels(name: str) -> None:
    photo_features.pixels(name)


def _more(name: str, kind: str) -> None:
    getattr(photo_rivals, kind)(name)


def _pool(name: str, pool: str) -> None:
    photo_scene.scene(name).pairs(pool)


def record(experiment: PhotoExperiment, of: Mapping[str, Mapping[int, Any]]) -> dict[str, Any]:
    """The table, and every run's figures, of results by name and seed."""
    runs = {
        name: {
            seed: {part: told(found, part) for part in photo_scene.PARTS}
            | {key: found[key] for key in RUN if key in found}
            for seed, found in by_seed.items()
        }
        for name, by_seed in of.items()
    }
    titles = ["", "rows seen", "held", "seconds", *FIGURES.values(), *photos.CLASSES,
              "gain over", *FIGURES.values(), "of the control's"]  # fmt: skip
    trials = {trial.name: trial for trial in experiment.variants}
    table = [titles]
    for name, by_seed in runs.items():
        found = [*by_seed.values()]
        cells = [name, f"{trials[name].epochs:g} x", "", ""]
        if "held" in found[0]:
            cells[2:] = [
                f"{np.mean([run['held'] for run in found]):.1f}",
                f"{np.mean([run['seconds'] + run['before'] for run in found]):.0f}",
            ]
        shown = [run[experiment.part] for run in found]
        keys = (*FIGURES, *photos.CLASSES)
        cells += [f"{100 * np.mean([each[key] for each in shown]):.1f}" for key in keys]
        if other := experiment.compared.get(name):
            held_to = [runs[other][seed][experiment.part] for seed in by_seed]
            gains = {
                key: summary.mean([a[key] - b[key] for a, b in zip(shown, held_to, strict=True)])
                for key in FIGURES
            }
            lead = next(iter(FIGURES))
            share = gains[lead]["value"] / np.mean([each[lead] for each in held_to])
            cells += [other, *map(summary.points, gains.values()), f"{100 * share:+.0f} %"]
        else:
            cells += [""] * 4
        table.append(cells)
    return {
        "part": experiment.part,
        "table": table,
        "runs": runs,
        "trials": {trial.name: trial.identity for trial in experiment.variants},
    }


def told(found: Mapping[str, Any], part: str) -> dict[str, float]:
    return {**found[part], **found["general"]}
