"""How well a probe foretells what hard pairs gain on photographs.

    python bench/experiments/photo_prediction.py --data DIR

Each setting of ``photos-heads`` and ``photos-tower`` is probed by `helip.diagnosis.probe_gain`, as
`helip diagnose --probe` does: it sees the photographs that are trained on, their unimodal features
and their hard pairs, and nothing that was held out. Written to ``results/photo-prediction.json``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import photo_scene
import records
import setting
import torch
from photo_experiments import EXPERIMENTS, SMALL
from scipy import stats

from helip.diagnosis import expected_gain, probe_gain
from helip.loading.strategy import community_rows_for

FROM = ("photos-heads", "photos-tower")
SEEDS = 5


def probed(data: str, rows: int) -> dict[str, Any]:
    """What the probe found for this set and so many rows a batch; kept in the cache."""

    def make(folder: Path) -> None:
        seen = photo_scene.scene(data)
        image, text = seen.image[seen.train, 0], seen.text_mean[seen.train]
        groups = seen.caption[seen.first[seen.train]] + 1
        probe = probe_gain(
            image.float(), text, seen.pairs("product").ids, groups, batch_size=rows,
            community_rows=community_rows_for(len(seen.train), rows), seeds=SEEDS,
        )  # fmt: skip
        gain = expected_gain(None, probe)
        assert gain is not None
        found = probe.all_rows
        setting.keep(folder, {
            "word": gain.word, "share": found.share, "difference": found.difference,
            "low": found.low, "high": found.high, "control": found.control,
            "seconds": probe.seconds,
        })  # fmt: skip

    identity = {"data": data, "rows": rows, "seeds": SEEDS, "of": str(photo_scene.K)}
    return setting.result(setting.cached("photo-probes", identity, make))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the photographs, see photos.py")
    parser.add_argument("--sets", nargs="+", default=SMALL, help="of which settings are probed")
    args = parser.parse_args()
    os.environ["HELIP_PHOTOS"] = str(args.data.resolve())
    torch.set_num_threads(1)
    table = [["", "probe", "expected", "measured gain", "of the control's recall"]]
    kept = []
    for name in FROM:
        if name not in records.names():
            continue
        result = records.read(name)
        for trial in EXPERIMENTS[name].variants:
            where, _, way = trial.name.rpartition(", ")
            if way != "communities" or trial.data not in args.sets:
                continue
            probe = probed(trial.data, trial.rows)
            control, tuned = (
                np.mean([run[result["part"]]["among all"] for run in result["runs"][each].values()])
                for each in (f"{where}, control", trial.name)
            )
            share = tuned / control - 1
            stage = "heads" if trial.stage == "heads" else "the top of the tower"
            table.append([
                f"{where}, {stage}", f"{100 * probe['share']:+.0f} %", probe["word"],
                f"{100 * (tuned - control):+.2f}", f"{100 * share:+.0f} %",
            ])  # fmt: skip
            kept.append({"setting": f"{where}, {stage}", "share": float(share), "probe": probe})
            print(*table[-1], f"{probe['seconds']:.0f} s", sep=" | ", flush=True)
    found = stats.spearmanr([k["probe"]["share"] for k in kept], [k["share"] for k in kept])
    spearman = float(found[0])
    print(records.markdown(table), f"Spearman {spearman:.2f} over {len(kept)} settings", sep="\n")
    records.write("photo-prediction", {
        "title": "What a probe expects of photographs, and what was measured", "table": table,
        "settings": kept, "spearman": spearman,
    })  # fmt: skip


if __name__ == "__main__":
    main()
