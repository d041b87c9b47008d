"""Random jobs of mining by channels: their number, scores, weights, dtypes, kernels and bounds,
updates after rows were added and deleted, and kept codes that other jobs of channels share.

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
    "store": False, "deleted": False, "shape": "noise", "codes": False, "other": "nothing",
    "updates": [],
}  # fmt: skip
LEAST = {"rows": 2, "k": 1, "alike": 1, "channels": 1}
_CLOSE = 1e-6  # of scores, as float32 has them


def draw(dice: Dice) -> Job:
    size = dice.random.random()
    ranges = ((0.5, 2, 40), (0.9, 256, 500), (0.98, 500, 1500), (1.0, 2048, 3500))
    count = dice.of(1, 2, 3, 3, 4, 8)
    codes = dice.chance(0.2)
    store = codes or dice.chance(0.4)
    method = "exact" if codes else dice.mostly("exact", "partition", "sample", odds=0.2)
    # Rows added and deleted. An update of 64 rows, in 256 at least, takes codes.
    updates = [
        [dice.of(70, 150) if codes else dice.of(0, 1, 3, 30), dice.mostly(0, 1, 3, 70)]
        for _ in range(dice.whole(1, 3))
    ]
    return {
        "seed": dice.whole(0, 2**31),
        "rows": dice.whole(*next(each[1:] for each in ranges if codes or size < each[0]))
        + 400 * codes,
        "channels": count, "shape": dice.of(*SHAPES, "clusters", "clusters"),
        "alike": dice.of(1, 2, 6, 20), "score": dice.of("product", "sum"),
        "weights": dice.mostly(None, tuple(dice.of(0.1, 1, 2, 7.5) for _ in range(8)), odds=0.4),
        "maxima": dice.mostly(None, tuple(dice.of(0.5, 0.9, 1.0) for _ in range(8)), odds=0.4),
        "dtype": dice.of("float32", "float16", "int8" if store else "float64"),
        "k": dice.of(1, 2, 5, 20, 100), "min_score": dice.mostly(0.0, 0.01, 0.3),
        "skip": dice.mostly(0, 1, 3), "kernel": dice.of(*_core.kernel_names()),
        "threads": dice.of(1, 2, 3), "memory": dice.mostly(None, 1, 20_000, 400_000),
        "method": method, "store": store, "deleted": dice.chance(0.3),
        "codes": codes,
        # What another job with the same folder of codes does otherwise.
        "other": dice.of("nothing", "channels", "weights", "maxima", "score"),
        "updates": updates if codes or (store and method == "exact" and dice.chance(0.5)) else [],
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
    covered = Counter({f"{count} channels": 1})
    if job["store"]:
        with tempfile.TemporaryDirectory() as folder:
            found = _check_store(job, given, call, rules, Path(folder), covered)
    else:
        arrays = {name: each.astype(job["dtype"]) for name, each in given.items()}
        others = {name: arrays[name] for name in names[2:]}
        found = helip.mine(image=arrays["image"], text=arrays["text"], matrices=others, **call)
        values = [arrays[name].astype(np.float64) for name in used]
        _compare(found, values, rules, np.zeros(rows, bool), whole=_whole(job, found))
    covered["exact" if _whole(job, found) else "approximate"] += 1
    return covered


def _whole(job: Job, found: helip.HardPairs) -> bool:
    return job["method"] != "partition" or bool(found.report["partition"]["exact"])


def _check_store(
    job: Job, given: dict[str, np.ndarray], call: Job, rules: Job, folder: Path,
    covered: Counter[str],
) -> helip.HardPairs:  # fmt: skip
    """Mines a store, and again by an update after each change of it."""
    random = np.random.default_rng(job["seed"] + 1)
    store = _append(given, job, folder / "store", 0)
    if job["codes"]:
        call = {**call, "codes": folder / "codes"}

    def others() -> None:
        """Another job of channels that takes and keeps codes in the same folder."""
        if job["codes"] and job["other"] != "nothing":
            helip.mine(store, **{**call, **_otherwise(job, call, list(given))})
            covered["codes of other channels jobs"] += 1

    def compare() -> None:
        gone = np.zeros(len(store), bool)
        gone[store.deleted] = True
        # Of int8 the codes, whose scales change no cosine.
        values = [store.matrix(name).astype(np.float64) for name in call["channels"]]
        _compare(found, values, rules, gone, whole=_whole(job, found))

    others()
    found = helip.mine(store, **call)
    compare()
    same = {name: call[name] for name in ("memory", "threads", "codes") if name in call}
    for number, (added, deleted) in enumerate(job["updates"], 1):
        if added:
            centres = random.integers(0, 1 + added // job["alike"], added)
            rows = {
                name: side(random, job["shape"], centres, each.shape[1])
                for name, each in given.items()
            }
            copied = random.random(added) < 0.5  # rows like earlier ones
            earlier = random.integers(0, job["rows"], added)
            for name, each in given.items():
                rows[name][copied] = each[earlier[copied]]
            _append(rows, job, folder / "store", len(store))
        if deleted:
            with helip.EmbeddingStore.append_to(folder / "store") as writer:
                writer.delete(random.choice(len(writer), min(deleted, len(writer)), replace=False))
        store = helip.EmbeddingStore.open(folder / "store")
        if number % 2:
            others()
        found = helip.update(found, store, progress=False, **same)
        compare()
        covered["updates"] += 1
        covered["updates with kept codes"] += job["codes"]
    return found


def _otherwise(job: Job, call: Job, names: list[str]) -> Job:
    """The options of the other job that keeps its codes in the same folder."""
    count = len(call["channels"])
    if job["other"] == "channels":
        left = [name for name in names if name not in call["channels"]]
        return {"channels": (*call["channels"][1:], *left[:1])} if left else {"score": "sum"}
    if job["other"] == "weights":
        return {"weights": tuple(1.0 + i for i in range(count))}
    if job["other"] == "maxima":
        return {"maxima": (0.7,) * count}
    return {"score": "sum" if call["score"] == "product" else "product"}


def _append(given: dict[str, np.ndarray], job: Job, path: Path, first: int) -> helip.EmbeddingStore:
    """The store with these rows at its end; it is made where it is not there yet."""
    others = {name: given[name] for name in given if name not in ("image", "text")}
    widths = {name: each.shape[1] for name, each in given.items()}
    with (
        helip.EmbeddingStore.append_to(path)
        if path.exists()
        else helip.EmbeddingStore.create(
            path, image_dim=widths["image"], text_dim=widths["text"], dtype=job["dtype"],
            matrices={name: widths[name] for name in others},
        )
    ) as writer:  # fmt: skip
        keys = [str(first + row) for row in range(len(given["image"]))]
        writer.append(keys, given["image"], given["text"], matrices=others)
        if job["deleted"] and first == 0:
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
