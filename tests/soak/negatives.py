"""Random jobs of mining queries in a corpus: rules, positives, kernels, parts, bounds of memory.

Rows are of whole numbers, so that the bits of every score are those of the reference. They have
eight dimensions or more: in fewer, queries that are not equal come as near as those that are, and
helip finds such pairs by a hash that is made for differences of rounding.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from dice import Dice

import helip
from helip import _core

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.negatives_reference import check_negatives, mine_negatives_plainly, whole_rows

Job = dict[str, Any]
RULES = ("k", "image_max", "text_max", "min_score", "signed", "skip", "collapse")
PLAIN: Job = {
    "parts": None, "memory": None, "threads": 1, "kernel": "portable", "method": "exact",
    "positives": 0, "close": False, "relative_margin": None, "collapse": "none", "skip": 0,
    "signed": False, "min_score": 0.0, "image_max": 0.98, "text_max": 0.98, "dtype": "float32",
    "twins": False, "zeros": False, "modality": "both",
}  # fmt: skip
LEAST = {"queries": 1, "rows": 1, "image_dim": 8, "text_dim": 8, "k": 1}


def draw(dice: Dice) -> Job:
    size = dice.random.random()
    large = ((0.6, 1, 40), (0.9, 64, 400), (0.98, 300, 1200), (1.0, 2500, 6000))
    rows = dice.whole(*next(each[1:] for each in large if size < each[0]))
    modality = dice.of("both", "image", "text")
    positives = dice.of(0, 1, 1, 3)
    return {
        "seed": dice.whole(0, 2**31), "rows": rows, "modality": modality,
        "queries": dice.whole(*dice.of((1, 20), (64, 300), (64, 900))),
        "image_dim": dice.whole(8, 90), "text_dim": dice.whole(8, 90),
        "dtype": dice.of("float32", "float64", "float16"), "k": dice.of(1, 2, 5, 20, 60),
        "image_max": dice.mostly(0.98, 1.0, 0.9, 0.7, odds=0.4),
        "text_max": dice.mostly(0.98, 1.0, 0.9, 0.7, odds=0.4),
        "min_score": dice.mostly(0.0, 0.25, 0.5), "signed": dice.chance(0.2),
        "skip": dice.mostly(0, 1, 3), "positives": positives, "close": dice.chance(0.5),
        "relative_margin": dice.of(None, 0.0, 0.05, 0.4) if positives else None,
        "collapse": dice.mostly("none", modality), "twins": dice.chance(0.3),
        "zeros": dice.chance(0.2), "kernel": dice.of(*_core.kernel_names()),
        "threads": dice.of(1, 2, 3), "memory": dice.mostly(None, 1, 20_000, 400_000),
        "parts": dice.mostly(None, 2, 5), "method": dice.mostly("exact", "partition", odds=0.1),
    }  # fmt: skip


def check(job: Job) -> Counter[str]:
    rng = np.random.default_rng(job["seed"])
    names = ("image", "text") if job["modality"] == "both" else (job["modality"],)
    count, rows = job["queries"], job["rows"]
    order = rng.permutation(count + rows)
    sides: list[dict[str, np.ndarray]] = [{}, {}]
    for name in names:
        all_rows = whole_rows(rng, count + rows, job[f"{name}_dim"])
        if job["zeros"]:
            all_rows[rng.random(len(all_rows)) < 0.05] = 0
        if job["twins"]:
            all_rows[rng.integers(0, len(order), len(order) // 3)] = all_rows[0]
        all_rows = all_rows[order].astype(job["dtype"])
        sides[0][name], sides[1][name] = all_rows[:count], all_rows[count:]
    positives = _positives(job, sides, rng)
    rules = {name: job[name] for name in RULES}
    if job["collapse"] not in ("none", job["modality"]) or any(
        rules[f"{name}_max"] >= 1 for name in names
    ):
        rules["collapse"] = "none"
    wanted = mine_negatives_plainly(
        *sides, positives=positives, relative_margin=positives and job["relative_margin"], **rules
    )
    given = {
        "positives": positives, "relative_margin": positives and job["relative_margin"],
        "modality": job["modality"], "threads": job["threads"], "memory": job["memory"],
        "method": job["method"], "progress": False, **rules,
    }  # fmt: skip
    _core.set_kernel(job["kernel"])
    if job["parts"] is None or job["parts"] > count:
        left, right = (tuple(side.values()) for side in sides)
        pair = (left, right) if len(names) == 2 else (left[0], right[0])
        found = helip.mine(queries=pair[0], corpus=pair[1], **given)
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = _in_parts(job, sides, Path(folder), given)
    assert isinstance(found, helip.HardNegatives)
    exact = found.report.get("partition", {"exact": True})["exact"]
    if exact:
        check_negatives(found, wanted)
    return Counter({"exact" if exact else "approximate": 1})


def _positives(
    job: Job, sides: list[dict[str, np.ndarray]], rng: np.random.Generator
) -> list[list[int]] | None:
    if not job["positives"]:
        return None
    count, rows = job["queries"], job["rows"]
    if not job["close"]:
        return [rng.integers(0, rows, rng.integers(1, 1 + job["positives"])).tolist()
                for _ in range(count)]  # fmt: skip
    name = next(iter(sides[0]))
    products = sides[0][name].astype(np.float32) @ sides[1][name].astype(np.float32).T
    each = min(rows, job["positives"])
    return [own.tolist() for own in np.argsort(-products, axis=1)[:, :each]]


def _in_parts(
    job: Job, sides: list[dict[str, np.ndarray]], folder: Path, given: dict[str, Any]
) -> helip.HardPairs:
    for name, side in zip(("queries", "corpus"), sides, strict=True):
        matrices = {of: side.get(of) for of in ("image", "text")}
        plain = np.ones((len(next(iter(side.values()))), 1), job["dtype"])
        matrices = {of: plain if rows is None else rows for of, rows in matrices.items()}
        dims = {f"{of}_dim": rows.shape[1] for of, rows in matrices.items()}
        dtype = "float32" if job["dtype"] == "float64" else job["dtype"]
        with helip.EmbeddingStore.create(folder / name, dtype=dtype, **dims) as writer:
            writer.append([str(row) for row in range(len(plain))], *matrices.values())
    method = {"method": "exact"}  # of parts
    return helip.mine(
        queries=folder / "queries", corpus=folder / "corpus", out=folder / "table",
        parts=job["parts"], **{**given, **method},
    )  # fmt: skip
