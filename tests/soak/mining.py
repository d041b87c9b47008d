"""Random jobs of mining: methods, rules, dtypes, kernels, ways to be cut, stopped and updated."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from dice import Dice
from rows import SCALES_OF, SHAPES, Pools, cosines, plain_rows, rows_of
from stores import append, as_float64, check_written, in_dtype, values_of

import helip
from helip import _core
from helip.mining.inputs import core_options
from helip.mining.options import JobOptions, MineOptions
from helip.verdicts import Exclusions

Job = dict[str, Any]
RULES = ("k", "image_max", "text_max", "min_score", "signed", "modality", "margin", "skip",
         "collapse")  # fmt: skip
PLAIN: Job = {
    "kills": 0, "updates": [], "filter": None, "verdicts": 0, "codes": False, "parts": None,
    "part": None, "shares": 0, "cluster_rows": None, "out": False, "store": False,
    "memory": None, "threads": 1, "kernel": "portable", "method": "exact", "collapse": "none",
    "skip": 0,
    "margin": None, "modality": "both", "signed": False, "min_score": 0.0, "image_max": 0.98,
    "text_max": 0.98, "uneven": False, "twins": False, "scale": "1", "dtype": "float32",
    "image_shape": "noise", "text_shape": "noise",
}  # fmt: skip
LEAST = {"rows": 2, "image_dim": 1, "text_dim": 1, "k": 1, "alike": 1}
SHARED = Path("/dev/shm")


def draw(dice: Dice) -> Job:
    size = dice.random.random()
    ranges = ((0.8, 2, 40), (0.99, 40, 200), (0.9998, 200, 900), (1.0, 4000, 4700))
    rows = dice.whole(*next(each[1:] for each in ranges if size < each[0]))
    method = dice.mostly("exact", "sample", "hnsw", "partition", "auto", odds=0.35)
    if method in ("hnsw", "partition") and dice.chance(0.03):
        rows = dice.whole(256, 1500)
    store, exact = dice.chance(0.35), method in ("exact", "auto")
    dims = [dice.whole(*dice.mostly((1, 25), (25, 100), odds=0.1)) for _ in range(2)]
    job: Job = {
        "seed": dice.whole(0, 2**31), "rows": rows, "image_dim": dims[0], "text_dim": dims[1],
        "image_shape": dice.of(*SHAPES), "text_shape": dice.of(*SHAPES),
        "alike": dice.of(1, 2, 6, 20), "uneven": dice.chance(0.2), "twins": dice.chance(0.2),
        "dtype": dice.of("float32", "float16", "bfloat16", "int8" if store else "float64"),
        "scale": "1", "k": dice.of(1, 2, 3, 5, 10, 30, 100),
        "image_max": dice.mostly(0.98, 1.0, 0.96, 0.8, 0.5, odds=0.4),
        "text_max": dice.mostly(0.98, 1.0, 0.96, 0.6, 0.28, odds=0.4),
        "min_score": dice.mostly(0.0, 0.01, 0.25, 0.5), "signed": dice.chance(0.2),
        "modality": dice.mostly("both", "image", "text"), "margin": None,
        "skip": dice.mostly(0, 1, 3, odds=0.15), "collapse": "none", "method": method,
        "candidates": None, "refresh": 300_000,
        "kernel": dice.of(*_core.kernel_names()), "threads": dice.of(1, 1, 2, 3),
        "memory": dice.mostly(None, 1, 20_000, 400_000), "store": store,
        "out": store and dice.chance(0.4), "parts": None, "part": None, "shares": 0, "codes": False,
        "cluster_rows": None, "kills": 0, "verdicts": 0, "updates": [], "filter": None,
    }  # fmt: skip
    if dice.chance(0.5):
        job["text_shape"] = job["image_shape"]
    if dice.chance(0.4):
        job["scale"] = dice.of(*SCALES_OF[job["dtype"]])
    if job["dtype"] == "float16" and job["scale"] == "2^5":  # it ends at 65,504
        job["uneven"] = False
    if rows < 300 and method != "hnsw" and dice.chance(0.12):  # among near duplicates
        job["collapse"] = dice.of("image", "text", "both")
        if job["modality"] != "both":
            job["collapse"] = job["modality"]
        job.update({name: min(job[name], 0.98) for name in ("image_max", "text_max")})
    if job["modality"] == "both" and dice.chance(0.1):
        job.update(text_dim=job["image_dim"], margin=dice.of(-0.3, 0.0, 0.1, 0.5))
    if method == "sample":
        job["candidates"] = dice.of(None, rows, *(max(1, rows // n) for n in (2, 4)))
        job["refresh"] = dice.mostly(300_000, max(1, rows // 3), 1, odds=0.4)
    if method == "hnsw":  # which refuses less memory than its graph takes
        job["memory"] = None
    if store and (exact or method == "sample") and dice.chance(0.25):
        job["parts" if job["out"] else "part"] = min(rows, dice.whole(2, 5))
    if store and method in ("exact", "auto", "partition") and dice.chance(0.1):
        job["shares"] = min(rows, dice.whole(1, 6))
    if store and method != "hnsw" and job["part"] is None:
        job["codes"] = dice.chance(0.15)
    if job["out"] and dice.chance(0.08):
        job["kills"] = dice.whole(1, 4)
    if store and exact and dice.chance(0.3):  # rows added, deleted and replaced
        job["updates"] = [
            [dice.of(0, 1, 3, rows // 4), dice.of(0, 1, rows // 10), dice.of(0, 0, 1, 3)]
            for _ in range(dice.whole(1, 4))
        ]
    if method == "partition" and dice.chance(0.05):  # in stages
        job.update(store=True, out=True, rows=dice.whole(150, 700), cluster_rows=64, codes=False)
        job.update(dtype="float32", scale="1", part=None, collapse="none", skip=0)
        job.update(kills=dice.mostly(0, 2), updates=dice.mostly([], [[20, 3, 2]], odds=0.5))
    if not (job["updates"] or job["part"] or job["cluster_rows"] or job["kills"]):
        job["verdicts"] = dice.mostly(0, 1, 5, 30, odds=0.12)
    if dice.chance(0.12):
        job["filter"] = drawn_filter(dice)
    return job


def drawn_filter(dice: Dice) -> Job:
    rules: Job = {
        "relative_margin": 0.05, "margin": 0.1, "veto": dice.of("any", "both", "mean"),
        "image_max": 0.7, "text_max": 0.7, "max_score": 0.6, "min_score": 0.2,
    }  # fmt: skip
    chosen = {name: rules[name] for name in (dice.of(*rules) for _ in range(dice.whole(1, 4)))}
    action, match = dice.of("drop", "downweight", "keep"), dice.of("any", "both", "mean")
    return {**chosen, "match": match, "action": action, "weight": 0.5,
            "seed": dice.whole(0, 99), "k": dice.mostly(None, 1, odds=0.3)}  # fmt: skip


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="helip-soak-", dir=SHARED if SHARED.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def check(job: Job) -> Counter[str]:
    """Raises where a table is not what docs/method.md says; counts of what was covered."""
    covered: Counter[str] = Counter()
    _core.set_kernel(job["kernel"])
    with folder() as path, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if job["store"]:
            check_store(job, path, covered)
        else:
            check_arrays(job, covered)
    covered["rows in all"] += job["rows"]
    covered["4,000 rows or more"] += job["rows"] >= 4000
    return covered


def call_of(job: Job, **more: Any) -> Job:
    call = {name: job[name] for name in RULES}
    call |= {name: job[name] for name in ("method", "refresh", "threads", "memory")}
    if job["method"] == "sample":
        call["candidates"] = job["candidates"]
    return {**call, "seed": job["seed"] % 1000, "device": "cpu", "progress": False, **more}


def exclusions_of(job: Job) -> tuple[Exclusions | None, np.ndarray | None]:
    """Drawn verdicts, and bool [rows, rows] of what they take out."""
    if not job["verdicts"]:
        return None, None
    random = np.random.default_rng(job["seed"] + 1)
    pairs = {
        tuple(sorted(random.choice(job["rows"], 2, replace=False).tolist()))
        for _ in range(job["verdicts"])
    }
    gone = np.unique(random.integers(0, job["rows"], int(random.integers(0, 3))))
    excluded = np.zeros((job["rows"], job["rows"]), bool)
    for a, b in pairs:
        excluded[a, b] = excluded[b, a] = True
    excluded[gone] = excluded[:, gone] = True
    return Exclusions(np.array(sorted(pairs), np.int64), gone.astype(np.int64)), excluded


def check_arrays(job: Job, covered: Counter[str]) -> None:
    image, text = (in_dtype(values, job["dtype"]) for values in rows_of(job, job["rows"], 0))
    exclusions, excluded = exclusions_of(job)
    table = helip.mine(image=image, text=text, verdicts=exclusions, **call_of(job))
    values = as_float64(image), as_float64(text)
    check_table(job, table, values, covered, excluded)
    if job["filter"]:
        check_filter(job, table, covered)


def check_table(
    job: Job,
    table: helip.HardPairs,
    values: tuple[np.ndarray, np.ndarray],
    covered: Counter[str],
    excluded: np.ndarray | None = None,
) -> None:
    pools = Pools(*values, job, excluded=excluded)
    report = table.report
    whole = (
        job["method"] in ("exact", "auto")
        or (job["method"] == "sample" and (job["candidates"] or job["rows"]) >= job["rows"])
        or (job["method"] == "hnsw" and job["rows"] < 256)
        or bool(report.get("partition", {}).get("exact"))
    )
    drops = dict(report["drops"]) if whole and excluded is None and "drops" in report else None
    found = pools.check(table.ids, table.scores, table.counts, whole=whole, drops=drops)
    covered["whole numbers"] += pools.exact
    covered["rows unsure"] += found["rows unsure"]
    if whole or excluded is not None:
        return
    covered["approximate"] += 1
    rows = found["rows with a pool"]
    recall = found["recall of rows"] / max(rows, 1)
    if "recall" in report and found["rows unsure"] == 0 and rows:
        said = report["recall"]
        assert 0 <= said["low"] <= said["value"] <= said["high"] <= 1, said
        if said["targets"] >= rows:  # of all rows: no estimate
            assert abs(said["value"] - recall) < 1e-9, (said, recall)
        else:
            covered["recall estimated"] += 1
            covered["recall below its limit"] += recall < said["low"]
    if job["method"] == "sample" and job["skip"] == 0 and job["collapse"] == "none" and pools.exact:
        tally_sample(job, pools, found["hits"], covered)


def tally_sample(job: Job, pools: Pools, hits: float, covered: Counter[str]) -> None:
    """Hits, those to be expected of C of N rows, and their variance; ties are left out."""
    want = pools.block(0, pools.n)
    ties = [
        np.unique(row[keep]).size < keep.sum()
        for row, keep in zip(want["score"], want["allowed"], strict=True)
    ]
    if any(ties):
        return
    share = job["candidates"] / pools.n
    for first in range(0, pools.n, job["refresh"]):
        block = want["ids"][first : first + job["refresh"]]
        times = np.bincount(block[block >= 0], minlength=pools.n)
        covered["sample: expected"] += share * times.sum()
        covered["sample: variance"] += (
            share * (1 - share) * times.var() * pools.n**2 / max(pools.n - 1, 1)
        )
    covered["sample: hits"] += hits


def over_all(counts: Counter[str]) -> list[str]:
    faults = []
    off = counts["sample: hits"] - counts["sample: expected"]
    if off**2 > 25 * counts["sample: variance"] + 1e-6:
        faults.append(
            f"sample found {off:+.0f} pairs too many, of variance {counts['sample: variance']:.0f}"
        )
    n, missed = counts["recall estimated"], counts["recall below its limit"]
    if missed > 0.05 * n + 5 * (0.05 * n) ** 0.5 + 2:
        faults.append(f"{missed} of {n} recalls lie below their lower 95 % limit")
    return faults


def check_store(job: Job, path: Path, covered: Counter[str]) -> None:
    append(job, path / "s", 0, job["rows"], 0)
    store = helip.EmbeddingStore.open(path / "s")
    check_written(job, store, rows_of(job, job["rows"], 0))
    exclusions, excluded = exclusions_of(job)
    call = call_of(job, cluster_rows=job["cluster_rows"], verdicts=exclusions)
    if job["codes"]:
        call["codes"] = path / "codes"
    out = path / "p" if job["out"] else None
    if job["part"]:
        n = job["part"]
        del call["verdicts"], call["cluster_rows"]
        parts = [path / f"part-{i}" for i in range(1, n + 1)]
        for i in np.random.default_rng(job["seed"]).permutation(n).tolist():
            helip.mine(store, part=(i + 1, n), out=parts[i], **call)
        table = helip.merge(parts, out=out, progress=False)
        same(table, helip.mine(store, **call), "parts differ from the whole")
    else:
        if job["parts"]:
            call["parts"] = job["parts"]
        began = time.monotonic()
        table = helip.mine(store, out=out, **call)
        took = time.monotonic() - began
        if job["kills"]:
            check_kills(job, store, {**call, "checkpoint": 0.0}, path, took, covered)
        if job["shares"] and exclusions is None and not job["cluster_rows"]:
            same(in_shares(job, store, call, path), table, "shares differ from the whole")
            covered["in shares"] += 1
        if job["codes"]:
            same(helip.mine(store, **{**call, "parts": None}), table, "kept codes change the table")
    if out is not None:
        table.verify()
        same(helip.HardPairs.open(out), table, "what was saved")
    check_table(job, table, values_of(store), covered, excluded)
    if job["filter"]:
        check_filter(job, table, covered)
    for number, changes in enumerate(job["updates"], 1):
        table = check_update(job, path, table, number, changes, call, covered)


def in_shares(job: Job, store: helip.EmbeddingStore, call: Job, path: Path) -> helip.HardPairs:
    options = core_options(
        MineOptions(**{name: call[name] for name in MineOptions().as_dict() if name in call}),
        JobOptions(threads=call["threads"], memory=call["memory"]),
    )
    order, folder = np.random.default_rng(job["seed"]), path / "shares"
    given = (job["shares"], options, str(folder))
    step = _core.prepare_shares(store._core, *given)
    while True:
        for index in order.permutation(job["shares"]).tolist():
            _core.mine_share(store._core, step, index + 1, *given)
        found = _core.merge_shares(store._core, job["shares"], step, *given[1:], str(path / "m"))
        if found is not None:
            return helip.HardPairs(found)
        step += 1


def same(left: helip.HardPairs, right: helip.HardPairs, what: str) -> None:
    for name in ("ids", "scores", "counts"):
        assert (
            np.asarray(getattr(left, name)).tobytes() == np.asarray(getattr(right, name)).tobytes()
        ), what


def files_of(path: Path) -> dict[str, bytes]:
    return {
        each.name: each.read_bytes()
        for each in sorted(path.iterdir())
        if each.is_file() and each.name != ".lock"
    }


def check_kills(job: Job, store: helip.EmbeddingStore, call: Job, path: Path, took: float,
                covered: Counter[str]) -> None:  # fmt: skip
    """A job that is killed at random moments goes on, and ends with the same bytes."""
    random, killed = np.random.default_rng(job["seed"] + 2), path / "killed"
    for _ in range(job["kills"]):
        child = os.fork()
        if child == 0:
            try:
                helip.mine(path / "s", out=killed, **call)
            finally:
                os._exit(0)
        time.sleep(random.random() * 1.2 * took)
        os.kill(child, signal.SIGKILL)
        covered["killed while it worked"] += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    helip.mine(store, out=killed, **call)
    assert files_of(killed) == files_of(path / "p"), "other bytes after a kill"
    left = sorted(each.name for each in path.iterdir() if each.name.startswith("killed."))
    assert not left, f"{left} are left"


def check_update(
    job: Job,
    path: Path,
    table: helip.HardPairs,
    number: int,
    changes: list[int],
    call: Job,
    covered: Counter[str],
) -> helip.HardPairs:
    """Appends, replaces and deletes rows; an exact table is then that of mining anew."""
    added, deleted, replaced = changes
    random, target = np.random.default_rng([job["seed"], number]), path / "s"
    rows = len(helip.EmbeddingStore.open(target))
    if replaced:
        replace(
            job,
            target,
            path / f"new-{number}",
            sorted(random.choice(rows, min(replaced, rows), replace=False).tolist()),
        )
    if added:
        append(job, target, rows, added, number)
    if deleted:
        with helip.EmbeddingStore.append_to(target) as writer:
            writer.delete(random.choice(len(writer), min(deleted, len(writer)), replace=False))
    store = helip.EmbeddingStore.open(target)
    given = {name: call[name] for name in ("threads", "memory", "codes") if name in call}
    in_place = job["out"] and job["seed"] % 2 == 0
    staged = job["method"] == "partition"
    out = path / "p" if in_place else path / f"updated-{number}" if staged else None
    updated = helip.update(
        path / "p" if in_place else table, store, out=out, progress=False, **given
    )
    if not staged:
        plain = {name: value for name, value in call.items() if name not in ("codes", "parts")}
        same(updated, helip.mine(store, **plain), f"update {number} differs from mining anew")
    check_table({**job, "rows": len(store)}, updated, values_of(store), covered)
    covered["rows added"] += bool(added)
    covered["rows deleted"] += bool(deleted)
    covered["rows replaced"] += bool(replaced)
    covered["update afresh"] += "afresh" in updated.report.get("update", {})
    return updated


def replace(job: Job, target: Path, other: Path, rows: list[int]) -> None:
    """Gives some rows other values under their keys, as `helip embed --update` does."""
    old = helip.EmbeddingStore.open(target)
    runs, at, keys = [], 0, old.keys
    values = rows_of(job, max(len(rows), 2), 77 + len(old))
    options = {"image_dim": job["image_dim"], "text_dim": job["text_dim"], "dtype": job["dtype"]}
    with helip.EmbeddingStore.create(other, **options, shard_rows=4096) as writer:
        writer.append([keys[row] for row in rows], *(each[: len(rows)] for each in values))
    for place, row in enumerate(rows):
        if at < row:
            runs.append((0, at, row))
        runs.append((1, place, place + 1))
        at = row + 1
    if at < len(old):
        runs.append((0, at, len(old)))
    new = helip.EmbeddingStore.open(other)
    _core.assemble_store(str(target), [old._core, new._core], np.array(runs, np.int64), 4096, "{}")


def check_filter(job: Job, table: helip.HardPairs, covered: Counter[str]) -> None:
    """docs/filter.md, pair by pair."""
    rules = dict(job["filter"])
    random = np.random.default_rng(rules.pop("seed"))
    dims, n = 6, len(table)
    base = random.integers(-5, 6, (n, dims)).astype(np.float64)
    image, text = base + random.integers(-2, 3, (n, dims)), base + random.integers(-2, 3, (n, dims))
    needs = any(
        name in rules for name in ("relative_margin", "margin", "veto", "image_max", "text_max")
    )
    filtered = table.filter(by=(image, text) if needs else None, progress=False, **rules)
    image, text = plain_rows(image)[0], plain_rows(text)[0]
    cross, images, texts = cosines(image, text), cosines(image, image), cosines(text, text)
    empty = ~image.any(axis=1), ~text.any(axis=1)
    crosses = any(name in rules for name in ("relative_margin", "margin", "veto"))
    combine = {"any": max, "both": min, "mean": lambda a, b: (a + b) / 2}
    for i in range(n):
        pool = []
        for j, score in zip(
            table.ids[i, : table.counts[i]].tolist(), table.scores[i].tolist(), strict=False
        ):
            own, other, forth, back = cross[i, i], cross[j, j], cross[i, j], cross[j, i]
            known = {
                "image": not (empty[0][i] or empty[0][j]),
                "text": not (empty[1][i] or empty[1][j]),
            }
            sure = known["image"] and known["text"]
            near = combine[rules["match"]](forth, back)
            flagged = [
                "relative_margin" in rules
                and sure
                and near > own - rules["relative_margin"] * abs(own),
                "margin" in rules and sure and near > own - rules["margin"],
                "image_max" in rules and known["image"] and images[i, j] > rules["image_max"],
                "text_max" in rules and known["text"] and texts[i, j] > rules["text_max"],
                "max_score" in rules and score > np.float32(rules["max_score"]),
                "min_score" in rules and score <= np.float32(rules["min_score"]),
            ]
            if "veto" in rules and sure:
                against = {"any": min, "both": max, "mean": combine["mean"]}[rules["veto"]]
                flagged.append(combine[rules["veto"]](forth, back) >= against(own, other))
            if any(flagged) and rules["action"] == "drop":
                continue
            if any(flagged) and rules["action"] == "downweight":
                score = float(np.float32(score - (1 - rules["weight"]) * abs(score)))
            pool.append((j, score))
        if rules["action"] == "downweight":
            pool.sort(key=lambda pair: -pair[1])
        pool = pool[: rules["k"]]
        ids, scores = filtered.ids[i], filtered.scores[i]
        assert ids[: len(pool)].tolist() == [j for j, _ in pool], (
            f"filter, row {i}: {ids.tolist()}, wanted {pool}"
        )
        assert scores[: len(pool)].tolist() == [s for _, s in pool], (
            f"filter, row {i}: {scores.tolist()}, {pool}"
        )
        assert (ids[len(pool) :] == -1).all() and filtered.counts[i] == len(pool)
    covered["filter crosswise"] += crosses
