"""How well `helip diagnose` orders the gains that were measured on icons.

    python bench/experiments/prediction.py

Each setting is a start and batches of so many rows; its gain is that of communities of 8 over the
control, as the results of the experiments have it. What is predicted is measured on the start and
the training rows alone. Written to ``results/prediction.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import heads
import icon_features
import icon_lit
import icon_towers
import icons
import numpy as np
import records
import torch
from icon_experiments import EIGHT, EXPERIMENTS
from icon_scene import scene
from icon_splits import TRAIN
from icon_trials import Trial
from scipy import stats

from helip.diagnosis import FeatureMeasures, expected_gain, measure_features, planned_batches
from helip.models.bundle import create_model

#: Experiments whose starts differ, or the rows of their batches.
FROM = (
    "icons-starts",
    "icons-rows",
    "icons-all",
    "icons-noise",
    "icons-lit",
    "icons-towers",
    "icons-towers-starts",
)


def settings() -> Iterator[tuple[str, Trial, dict[int, tuple[float, float]]]]:
    """Name, the trial, and of each seed the mean recall of the control and of the trial; each start
    and batch once."""
    seen = set()
    for name in FROM:
        if name not in records.names():
            continue
        result = records.read(name)
        for trial in EXPERIMENTS[name].variants:
            if trial.way != EIGHT or trial.pool != "product" or trial.name not in result["runs"]:
                continue
            place = (trial.stage, trial.kind, trial.noise, trial.epochs, trial.rows)
            if place in seen:
                continue
            seen.add(place)
            runs = result["runs"]
            other = EXPERIMENTS[name].compared[trial.name]
            part = result["part"]
            yield told(trial), trial, {
                int(seed): (runs[other][seed][part]["mean"], runs[trial.name][seed][part]["mean"])
                for seed in runs[other]
            }  # fmt: skip


def told(trial: Trial) -> str:
    parts = [f"{trial.stage}, {trial.kind} icons, {trial.rows:,} rows"]
    parts.append(f"start of {trial.epochs:g} epochs")
    if trial.noise:
        parts.append(f"{trial.noise:.0%} of the captions shuffled")
    return ", ".join(parts)


def measured(trial: Trial, seed: int) -> FeatureMeasures:
    if trial.stage == "towers":
        image, text, scale = tower_features(seed, trial)
        pairs, groups = icon_features.table(trial.kind), train_groups(trial.kind)
    else:
        if trial.stage == "lit":
            # Its start is heads on the tower as it was pre-trained.
            seen = icon_lit.frozen_scene(trial.kind)
            begun = icon_lit.start(seed, trial.epochs, trial.kind)
        else:
            seen = scene(trial.kind, trial.noise)
            begun = heads.start(trial, seed)
        model = heads.loaded(begun, seen)
        with torch.no_grad():
            image, text = model(seen.image[seen.train], seen.texts[seen.text_of])
            scale = float(model.scale.exp().clamp(max=100))
        pairs, groups = seen.pairs("product"), seen.groups
    return measure_features(
        image, text, pairs.ids, groups + 1, batch_size=trial.rows, logit_scale=scale,
        batches=planned_batches(pairs, batch_size=trial.rows), seed=seed,
    )  # fmt: skip


def train_groups(kind: str) -> np.ndarray:
    data = icons.load(kind)
    return data.groups[data.rows(TRAIN)]


@torch.no_grad()
def tower_features(seed: int, trial: Trial) -> tuple[torch.Tensor, torch.Tensor, float]:
    bundle = create_model(icon_towers.start(seed, trial.epochs, trial.kind) / "model")
    shown = icons.load(trial.kind)
    rows = shown.rows(TRAIN)
    captions = [shown.captions[row] for row in rows]
    image, text = icon_towers.encoded(bundle, trial.kind, rows, captions)
    return image, text, float(bundle.model.logit_scale.exp())


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    torch.set_num_threads(1)
    titles = [
        "",
        "by chance",
        "between",
        "linear map",
        "within",
        "score",
        "expected",
        "measured gain",
        "of the control's recall",
    ]
    rows: list[list[Any]] = []
    kept = []
    for name, trial, recalls in settings():
        found = [measured(trial, seed) for seed in list(recalls)[:2]]
        control, tuned = np.mean(list(recalls.values()), axis=0)
        scores = [gain for one in found if (gain := expected_gain(one)) is not None]
        mean = {
            "by chance": np.mean([one.by_chance for one in found]),
            "between": np.mean([one.between.value for one in found]),
            "mapped": np.mean([one.mapped.value for one in found]),
            "within": np.mean([one.within.value for one in found]),
            "score": np.mean([one.score for one in scores]),
            "gain": tuned - control,
            "share": tuned / control - 1,
        }
        kept.append({"setting": name, **{k: float(v) for k, v in mean.items()}})
        rows.append([
            name, f"{mean['by chance']:.2f}", f"{100 * mean['between']:.1f}",
            f"{100 * mean['mapped']:.1f}", f"{100 * mean['within']:.1f}", f"{mean['score']:.3f}",
            scores[0].word,
            f"{100 * mean['gain']:+.2f}", f"{100 * mean['share']:+.0f} %",
        ])  # fmt: skip
        print(*rows[-1], sep=" | ", flush=True)
    order = sorted(range(len(rows)), key=lambda i: -kept[i]["score"])
    scores = [k["score"] for k in kept]
    spearman = {
        of: float(stats.spearmanr(scores, [k[of] for k in kept])[0]) for of in ("gain", "share")
    }
    table = [titles, *(rows[i] for i in order)]
    print(records.markdown(table), f"Spearman {spearman} over {len(rows)} settings", sep="\n")
    records.write("prediction", {
        "title": "Expected and measured gains", "table": table, "settings": kept,
        "spearman": spearman,
    })  # fmt: skip


if __name__ == "__main__":
    main()
