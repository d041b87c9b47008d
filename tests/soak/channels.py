"""Random jobs of mining by channels: their number, scores, weights, dtypes, kernels and bounds.

A product of powers rounds otherwise in NumPy than in helip: scores are compared to the precision of
a table, and pairs that lie that close to a limit or to each other may be either.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from dice import Dice
from rows import SHAPES, cosines, plain_rows, side

import helip
from helip import _core

Job = dict[str, Any]
PLAIN: Job = {
    "score": "product", "weights": None, "maxima": None, "min_score": 0.0, "skip": 0,
    "memory": None, "threads": 1, "kernel": "portable", "method": "exact", "dtype": "float32",
    "store": False, "deleted": False, "shape": "noise",
}  # fmt: skip
LEAST = {"rows": 2, "k": 1, "alike": 1, "channels": 1}
_CLOSE = 1e-6  # of scores, as float32 has them


def draw(dice: Dice) -> Job:
    size = dice.random.random()
    ranges = ((0.5, 2, 40), (0.9, 256, 500), (0.98, 500, 1500), (1.0, 2048, 3500))
    count = dice.of(1, 2, 3, 3, 4, 8)
    store = dice.chance(0.3)
    return {
        "seed": dice.whole(0, 2**31),
        "rows": dice.whole(*next(each[1:] for each in ranges if size < each[0])),
        "channels": count, "shape": dice.of(*SHAPES, "clusters", "clusters"),
        "alike": dice.of(1, 2, 6, 20), "score": dice.of("product", "sum"),
        "weights": dice.mostly(None, tuple(dice.of(0.1, 1, 2, 7.5) for _ in range(8)), odds=0.4),
        "maxima": dice.mostly(None, tuple(dice.of(0.5, 0.9, 1.0) for _ in range(8)), odds=0.4),
        "dtype": dice.of("float32", "float16", "int8" if store else "float64"),
        "k": dice.of(1, 2, 5, 20, 100), "min_score": dice.mostly(0.0, 0.01, 0.3),
        "skip": dice.mostly(0, 1, 3), "kernel": dice.of(*_core.kernel_names()),
        "threads": dice.of(1, 2, 3), "memory": dice.mostly(None, 1, 20_000, 400_000),
        "method": dice.mostly("exact", "partition", "sample", odds=0.2), "store": store,
        "deleted": dice.chance(0.3),
    }  # fmt: skip


def check(job: Job) -> Counter[str]:
    random = np.random.default_rng(job["seed"])
    rows, count = job["rows"], job["channels"]
    centres = random.integers(0, max(1, rows // job["alike"]), rows)
    names = ("image", "text", *(f"c{i}" for i in range(2, max(2, count))))
    dims = random.integers(1, 90, len(names))
    made = [side(random, job["shape"], centres, int(dim)) for dim in dims]
    given = dict(zip(names, made, strict=True))
    used = tuple(random.permutation(names)[:count].tolist())
    rules = {
        "weights": job["weights"] and job["weights"][:count],
        "maxima": job["maxima"] and job["maxima"][:count],
        **{name: job[name] for name in ("score", "min_score", "skip", "k")},
    }
    call = {
        "channels": used, **rules, "progress": False, "device": "cpu",
        **{name: job[name] for name in ("memory", "threads", "method")},
    }  # fmt: skip
    _core.set_kernel(job["kernel"])
    gone = np.zeros(rows, bool)
    if job["store"]:
        with tempfile.TemporaryDirectory() as folder:
            store = _stored(given, job, Path(folder) / "store")
            gone[store.deleted] = True
            # Of int8 the codes, whose scales change no cosine.
            values = {name: store.matrix(name).astype(np.float64) for name in used}
            found = helip.mine(store, **call)
    else:
        dtype = job["dtype"]
        arrays = {name: each.astype(dtype) for name, each in given.items()}
        others = {name: arrays[name] for name in names[2:]}
        values = {name: arrays[name].astype(np.float64) for name in used}
        found = helip.mine(image=arrays["image"], text=arrays["text"], matrices=others, **call)
    whole = job["method"] != "partition" or bool(found.report["partition"]["exact"])
    _compare(found, [values[name] for name in used], rules, gone, whole=whole)
    return Counter({"exact" if whole else "approximate": 1, f"{count} channels": 1})


def _stored(given: dict[str, np.ndarray], job: Job, path: Path) -> helip.EmbeddingStore:
    widths = {name: each.shape[1] for name, each in given.items()}
    others = {name: given[name] for name in given if name not in ("image", "text")}
    with helip.EmbeddingStore.create(
        path, image_dim=widths["image"], text_dim=widths["text"], dtype=job["dtype"],
        matrices={name: widths[name] for name in others},
    ) as writer:  # fmt: skip
        keys = [str(row) for row in range(job["rows"])]
        writer.append(keys, given["image"], given["text"], matrices=others)
        if job["deleted"]:
            writer.delete([0, job["rows"] // 2])
    return helip.EmbeddingStore.open(path)


def _compare(
    found: helip.HardPairs, values: list[np.ndarray], rules: Job, gone: np.ndarray, *, whole: bool
) -> None:
    count, rows = len(values), len(gone)
    weights = rules["weights"] or (1.0,) * count
    maxima = rules["maxima"] or (0.98,) * count
    total = np.zeros((rows, rows)) if rules["score"] == "sum" else np.ones((rows, rows))
    out, doubt = np.eye(rows, dtype=bool), np.zeros((rows, rows), bool)
    for own, weight, maximum in zip(values, weights, maxima, strict=True):
        plain, _ = plain_rows(own)
        similar = cosines(plain, plain)
        empty = gone | ~own.any(axis=1)
        out |= empty[:, None] | empty
        doubt |= (np.abs(similar - maximum) < 1e-12) & (maximum < 1)
        out |= similar > maximum
        if rules["score"] == "sum":
            total += weight / sum(weights) * similar
        else:
            total *= np.maximum(similar, 0.0) ** weight
    least = rules["min_score"]
    doubt |= np.abs(total - least) < 1e-12
    doubt &= ~(gone[:, None] | gone | np.eye(rows, dtype=bool))
    may, must = np.where(out & ~doubt, -1.0, total), np.where(out | doubt, -1.0, total)
    k, skip = rules["k"], rules["skip"]
    for target in range(rows):
        ids = found.ids[target, : found.counts[target]]
        scores = found.scores[target, : len(ids)]
        assert len(set(ids.tolist())) == len(ids), f"{target}: an id twice"
        assert (may[target, ids] > least - _CLOSE).all(), f"{target}: a pair that rules keep out"
        np.testing.assert_allclose(scores, total[target, ids], rtol=_CLOSE, atol=1e-9)
        assert (np.diff(scores) <= 0).all(), f"{target}: scores rise"
        if not whole:
            continue
        sure = np.sort(must[target][must[target] > least])[::-1][skip : skip + k]
        most = np.sort(may[target][may[target] > least - 1e-12])[::-1][skip : skip + k]
        assert len(sure) <= len(ids) <= len(most), f"{target}: {len(ids)} pairs, not {len(sure)}"
        assert (scores[: len(sure)] >= sure * (1 - _CLOSE) - 1e-9).all(), (
            f"{target}: one is missing"
        )
        if np.array_equal(sure, most):
            np.testing.assert_allclose(scores, sure, rtol=_CLOSE, atol=1e-9)
