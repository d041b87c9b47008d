"""How well a probe foretells what hard pairs gain.

    python bench/experiments/probe_prediction.py --data DIR

Each setting of experiments on photographs, and on icons with heads, is probed by
`helip.diagnosis.probe_gain`, as `helip diagnose --probe` does: it sees the rows that are trained
on, their unimodal features and their hard pairs, and nothing that was held out. The gain is that of
communities over the control; on towers and large sets with distillation. Written to
``results/probe-prediction.json``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import icon_scene
import numpy as np
import photo_scene
import records
import setting
import torch
from icon_experiments import EIGHT
from icon_experiments import EXPERIMENTS as ICONS
from photo_experiments import EXPERIMENTS as PHOTOS
from scipy import stats

from helip.diagnosis import expected_gain, probe_gain
from helip.loading.strategy import community_rows_for

#: Results on photographs: the way whose gain is measured, and what is trained.
ON_PHOTOS = {
    "photos-heads": ("communities", "heads"),
    "photos-large": ("default", "heads"),
    "photos-tower": ("default", "tower"),
}
#: Of icons, whose probe does not depend on the start.
ON_ICONS = "icons-rows"
#: Rows of a batch, by the set. A probe of a large set takes six minutes.
PROBED = {
    **dict.fromkeys(("flickr8k", "paragraphs", "fashion"), (64, 256, 1024)),
    **dict.fromkeys(("fashion44k", "icons"), (64,)),
}
SEEDS = 5
VERSION = 2


def settings() -> Iterator[tuple[str, str, str, int, float, float]]:
    """Name, what is trained, the set, the rows of a batch, and the mean recall of the control and
    of hard pairs."""
    for name, (way, stage) in ON_PHOTOS.items():
        if name not in records.names():
            continue
        runs = records.read(name)["runs"]
        for trial in PHOTOS[name].variants:
            where, _, called = trial.name.rpartition(", ")
            if called == way and trial.rows in PROBED.get(trial.data, ()) and trial.name in runs:
                found = (_mean(runs[each], "test", "among all") for each in
                         (f"{where}, control", trial.name))  # fmt: skip
                yield where, stage, trial.data, trial.rows, *found
    result = records.read(ON_ICONS)
    for trial in ICONS[ON_ICONS].variants:
        if trial.way == EIGHT and trial.rows in PROBED["icons"]:
            found = (_mean(result["runs"][each], result["part"], "mean") for each in
                     (ICONS[ON_ICONS].compared[trial.name], trial.name))  # fmt: skip
            yield f"icons, {trial.rows:,} rows", "heads", "icons", trial.rows, *found


def _mean(runs: Any, part: str, figure: str) -> float:
    return float(np.mean([run[part][figure] for run in runs.values()]))


def probed(data: str, rows: int) -> dict[str, Any]:
    """What the probe found for this set and so many rows a batch; kept in the cache."""

    def make(folder: Path) -> None:
        if data == "icons":
            shown = icon_scene.scene()
            image, text = shown.image[shown.train], shown.texts[shown.text_of]
            groups, pairs = shown.groups + 1, shown.pairs("product")
        else:
            seen = photo_scene.scene(data)
            image, text = seen.image[seen.train, 0], seen.text_mean[seen.train]
            groups, pairs = seen.caption[seen.first[seen.train]] + 1, seen.pairs("product")
        probe = probe_gain(
            image.float(), text.float(), pairs.ids, groups, batch_size=rows,
            community_rows=community_rows_for(len(image), rows), seeds=SEEDS,
        )  # fmt: skip
        gain = expected_gain(probe)
        assert gain is not None
        setting.keep(folder, {"word": gain.word, **asdict(probe)})

    identity = {"data": data, "rows": rows, "seeds": SEEDS, "k": photo_scene.K, "v": VERSION}
    return setting.result(setting.cached("probes", identity, make))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the photographs, see photos.py")
    args = parser.parse_args()
    os.environ["HELIP_PHOTOS"] = str(args.data.resolve())
    torch.set_num_threads(1)
    table = [
        ["", "by the probe, of 1/rank", "expected", "measured gain", "of the control's recall"]
    ]
    kept = []
    for where, stage, data, rows, control, tuned in settings():
        probe = probed(data, rows)
        found = probe["reciprocal_rank"]
        share = tuned / control - 1
        half = (found["high"] - found["low"]) / 2 / found["control"]
        table.append([
            f"{where}, {stage}", f"{100 * found['share']:+.1f} ± {100 * half:.1f} %", probe["word"],
            f"{100 * (tuned - control):+.2f}", f"{100 * share:+.0f} %",
        ])  # fmt: skip
        kept.append({"setting": table[-1][0], "share": float(share), "probe": probe})
        print(*table[-1], f"{probe['seconds']:.0f} s", sep=" | ", flush=True)
    spearman = {
        figure: float(stats.spearmanr(
            [each["probe"][figure]["share"] for each in kept], [each["share"] for each in kept]
        )[0])
        for figure in ("reciprocal_rank", "recall")
    }  # fmt: skip
    table[1:] = sorted(table[1:], key=lambda row: -float(row[1].partition(" ")[0]))
    print(records.markdown(table), f"Spearman {spearman} over {len(kept)} settings", sep="\n")
    records.write("probe-prediction", {
        "title": "What a probe expects, and what was measured", "table": table,
        "settings": kept, "spearman": spearman,
    })  # fmt: skip


if __name__ == "__main__":
    main()
