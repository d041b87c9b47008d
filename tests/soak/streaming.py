"""Random histories of StreamingMiner, GrowingPairs and PairIndex against brute force."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dice import Dice
from mining import folder
from rows import SHAPES, cosines, plain_rows, rows_of
from stores import as_float64, in_dtype

import helip
from helip.pairs.blocks import Pools
from helip.pairs.growing_pairs import GrowingPairs

Job = dict[str, Any]
PLAIN: Job = {
    "min_score": 0.0, "signed": False, "image_max": 0.98, "text_max": 0.98, "uneven": False,
    "twins": False, "scale": "1", "dtype": "float32", "image_shape": "noise",
    "text_shape": "noise", "threads": 1, "search": "scan",
}  # fmt: skip
LEAST = {"rows": 2, "image_dim": 1, "text_dim": 1, "k": 1, "alike": 1, "memory": 1, "batch": 1}
KEPT = 1e-3  # what rounding unit vectors to float16 may make of a cosine


ACTS = {
    "miner": ["add"] * 5 + ["remember", "forget", "state", "smaller"],
    "index": ["add", "add", "remove", "replace", "query", "query", "query", "save", "hnswlib"],
    "pairs": ["offer"] * 5 + ["assign", "state", "table", "clear"],
}


def draw(dice: Dice) -> Job:
    what = dice.of(*ACTS)
    job: Job = {
        "seed": dice.whole(0, 2**31), "what": what, "rows": dice.whole(2, 60),
        "image_dim": dice.whole(1, 20), "text_dim": dice.whole(1, 20), "scale": "1",
        "image_shape": dice.of(*SHAPES), "text_shape": dice.of(*SHAPES), "alike": dice.of(1, 3, 8),
        "uneven": dice.chance(0.2), "twins": dice.chance(0.2),
        "dtype": dice.mostly("float32", "float16", "bfloat16", "float64", odds=0.5),
        "k": dice.of(1, 2, 5, 20), "memory": dice.of(1, 3, 10, 40, 1000),
        "batch": dice.whole(1, 16), "image_max": dice.mostly(0.98, 1.0, 0.96, 0.5, odds=0.4),
        "text_max": dice.mostly(0.98, 1.0, 0.96, 0.28, odds=0.4),
        "min_score": dice.mostly(0.0, 0.25), "signed": dice.chance(0.2),
        "threads": dice.of(1, 1, 2),
        "acts": [dice.of(*ACTS[what]) for _ in range(dice.whole(1, 9))],
        "breadth": dice.of(0, 64, 2000), "search": dice.mostly("scan", "hnsw", odds=0.5),
    }  # fmt: skip
    if what == "index":
        job.update(dtype=dice.of("float16", "float32"), signed=False, min_score=0.0)
        job["rows"] = dice.whole(300, 900) if dice.chance(0.02) else job["rows"]
    return job


def check(job: Job) -> Counter[str]:
    covered: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        {"miner": check_miner, "index": check_index, "pairs": check_pairs}[job["what"]](
            job, covered
        )
    for act in job["acts"]:
        covered[f"{job['what']}: {act}"] += 1
    return covered


def check_pool(
    job: Job,
    image: np.ndarray,
    text: np.ndarray,
    ids: np.ndarray,
    found: tuple[Any, Any],
    k: int,
    slack: float,
    empty: np.ndarray,
    *,
    whole: bool = True,
    rough: float = 0.0,  # what an index may miss a better pair by, since it searches by codes
) -> int:
    """One pool among ``ids`` of these cosines, zero rows at ``empty``; how many best it has."""
    least = -1.0 if job["signed"] else 0.0
    score = np.clip(image, least, 1) * np.clip(text, least, 1)
    kept = (image <= job["image_max"]) & (text <= job["text_max"]) & (score > job["min_score"])
    doubt = np.zeros(len(ids), bool)
    if slack:
        for values, limit in ((image, job["image_max"]), (text, job["text_max"])):
            doubt |= (np.abs(values - limit) <= slack) & (limit < 1)
        ends = [[np.clip(each + by, least, 1) for by in (-slack, slack)] for each in (image, text)]
        products = [a * b for a in ends[0] for b in ends[1]]
        low, high = np.minimum.reduce(products), np.maximum.reduce(products)
        doubt |= ~empty & (low <= job["min_score"]) & (high > job["min_score"])
    got, scores = found[0], found[1]
    count = int((got >= 0).sum())
    assert (got[count:] == -1).all() and (scores[count:] == 0).all(), "padding"
    place = {int(each): at for at, each in enumerate(ids.tolist())}
    assert set(got[:count].tolist()) <= set(place), (
        f"{set(got[:count].tolist()) - set(place)} are not there"
    )
    at = np.array([place[each] for each in got[:count].tolist()], np.int64)
    assert len(set(at.tolist())) == count, "an id twice"
    assert (kept[at] | doubt[at]).all(), "a pair that the rules keep out"
    true = score[at]
    assert (np.abs(scores[:count] - true) <= 2 * slack + 6.1e-8 * abs(true)).all(), (
        f"scores {scores[:count]}, wanted {true}"
    )
    if slack == 0:
        assert (scores[:count] == true.astype(np.float32)).all(), (
            f"scores {scores[:count]}, wanted {true}"
        )
    order = np.lexsort((got[:count], -true))
    assert (
        (order == np.arange(count)).all() if slack == 0 else (np.diff(true) <= 4 * slack).all()
    ), "order"
    best = [each for each in np.lexsort((ids, -score)).tolist() if kept[each]][:k]
    if doubt.any():
        return count
    if whole:
        assert count == len(best), f"{count} found, {len(best)} are there"
        assert (np.abs(true - score[best]) <= rough + 4 * slack).all(), (
            f"scores {true}, the best are {score[best]}"
        )
        assert slack or rough or at.tolist() == best, f"ids {got[:count]}, wanted {ids[best]}"
    return int((true >= score[best[-1]] - 2 * slack).sum()) if best else 0


def slack_of(exact: bool, job: Job) -> float:
    return 0.0 if exact else (job["image_dim"] + job["text_dim"] + 16) * 2.0**-52


def check_miner(job: Job, covered: Counter[str]) -> None:
    """Pools among what is remembered and the batch; each id once, the newest; the oldest go."""
    random = np.random.default_rng(job["seed"])
    rules = {
        name: job[name]
        for name in ("k", "image_max", "text_max", "min_score", "signed", "threads", "search")
    }
    miner = helip.StreamingMiner(memory=job["memory"], rows=job["rows"], **rules)
    held: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # from the oldest to the newest
    pools = Model(job["rows"], job["k"])
    memory = job["memory"]
    for number, act in enumerate(job["acts"]):
        ids = random.permutation(job["rows"])[: job["batch"]].astype(np.int64)
        image, text = (
            in_dtype(each[: len(ids)], job["dtype"])
            for each in rows_of(job, max(len(ids), 2), number)
        )
        values = tuple(
            as_float64(each).astype(np.float32).astype(np.float64) for each in (image, text)
        )
        if act == "forget":
            miner.forget()
            held, pools = {}, Model(job["rows"], job["k"])
            continue
        if act in ("state", "smaller"):
            state = miner.state_dict()
            memory = memory if act == "state" else max(1, memory // 2)
            miner = helip.StreamingMiner(memory=memory, rows=job["rows"], **rules)
            miner.load_state_dict(state)
            held = dict(list(held.items())[-memory:])
        elif act == "remember":
            miner.remember(ids, image, text)
        else:
            found = miner.add(ids, image, text)
            others = {each: rows for each, rows in held.items() if each not in ids.tolist()}
            everyone = np.array([*others, *ids.tolist()], np.int64)
            rows = [
                np.stack([*(rows[side] for rows in others.values()), *values[side]])
                for side in (0, 1)
            ]
            (images, one), (texts, two) = map(plain_rows, rows)
            here = slice(len(others), None)
            near = cosines(images[here], images), cosines(texts[here], texts)
            empty = [~(images.any(axis=1) & texts.any(axis=1))]
            empty += [empty[0] | each for each in empty[0][here]]
            for place in range(len(ids)):
                keep = everyone != ids[place]
                check_pool(
                    job,
                    near[0][place][keep],
                    near[1][place][keep],
                    everyone[keep],
                    (found.ids[place], found.scores[place]),
                    job["k"],
                    slack_of(one and two, job),
                    empty[1 + place][keep],
                )
                assert found.counts[place] == (found.ids[place] >= 0).sum()
            covered["pools"] += len(ids)
            covered["whole numbers"] += one and two
            pools.offer(ids, found)
        if act in ("add", "remember"):
            held = {each: rows for each, rows in held.items() if each not in ids.tolist()}
            held |= {int(each): (values[0][at], values[1][at]) for at, each in enumerate(ids)}
            held = dict(list(held.items())[-memory:])
        state = miner.state_dict()
        assert len(miner) == len(held) and state["ids"].tolist() == list(held), (
            f"remembers {state['ids']}, wanted {list(held)}"
        )
        for at, rows in enumerate(held.values()):  # float64 is kept times a power of two
            for name, row in zip(("image", "text"), rows, strict=True):
                kept, wanted = (
                    plain_rows(np.float64(each)[None])[0] for each in (state[name][at], row)
                )
                assert (kept == wanted).all(), f"another {name} is remembered"
        pools.compare(miner.pairs)


class Model:
    """What GrowingPairs says it holds: of each row the best pairs that were offered, by dicts."""

    def __init__(self, rows: int, k: int) -> None:
        self.k, self.pools = k, [dict[int, np.float32]() for _ in range(rows)]

    def take(self, row: int, other: int, score: np.float32) -> None:
        pool = self.pools[row]
        pool[other] = score
        if len(pool) > self.k:
            del pool[min(pool, key=lambda each: (pool[each], -each))]

    def offer(self, targets: np.ndarray, found: Pools) -> None:
        for at, target in enumerate(targets.tolist()):
            for other, score in zip(
                found.ids[at, : found.counts[at]].tolist(), found.scores[at], strict=False
            ):
                self.take(target, other, score)
                self.take(other, target, score)

    def compare(self, pairs: Any) -> None:
        rows = np.arange(len(self.pools))
        found = pairs.pools(rows)
        for row, pool in enumerate(self.pools):
            best = sorted(pool, key=lambda each: (-pool[each], each))
            assert found.ids[row].tolist() == best + [-1] * (found.ids.shape[1] - len(best)), (
                f"pool of {row}"
            )
            assert found.scores[row, : len(best)].tolist() == [pool[each] for each in best], (
                f"scores of {row}"
            )
        assert pairs.known == sum(map(bool, self.pools))


def check_pairs(job: Job, covered: Counter[str]) -> None:
    random = np.random.default_rng(job["seed"])
    rows, k = job["rows"], job["k"]
    pairs, model = GrowingPairs(rows, k), Model(rows, k)
    for act in job["acts"]:
        targets = random.permutation(rows)[: job["batch"]].astype(np.int64)
        width = int(random.integers(1, k + 1)) if act == "assign" else int(random.integers(1, 8))
        found = Pools.empty(len(targets), width)
        for at, target in enumerate(targets.tolist()):
            others = random.permutation([each for each in range(rows) if each != target])[
                : int(random.integers(0, width + 1))
            ]
            found.ids[at, : len(others)] = others
            found.scores[at, : len(others)] = np.sort(
                random.integers(1, 6, len(others)) / np.float32(8)
            )[::-1]
            found.counts[at] = len(others)
        if act == "offer":
            pairs.offer(targets, found)
            model.offer(targets, found)
        elif act == "assign":
            pairs._core.assign(targets, *found)
            for at, target in enumerate(targets.tolist()):
                some = zip(
                    found.ids[at, : found.counts[at]].tolist(), found.scores[at], strict=False
                )
                model.pools[target] = dict(some)
        elif act == "clear":
            pairs.clear()
            model = Model(rows, k)
        elif act == "table":
            table = pairs.table()
            assert table.counts.tolist() == [len(pool) for pool in model.pools]
            known = pairs.pools(np.arange(rows))
            assert (table.ids == known.ids).all() and (table.scores == known.scores).all()
        else:
            other = GrowingPairs(rows, k)
            other.load_state_dict(pairs.state_dict())
            pairs = other
        model.compare(pairs)
    covered["pools"] += rows


def check_index(job: Job, covered: Counter[str]) -> None:
    """Queries over what was built, added, replaced and not removed, also of an index that went
    through a file."""
    random = np.random.default_rng(job["seed"])
    rules = {name: job[name] for name in ("image_max", "text_max")}
    image, text = (in_dtype(each, job["dtype"]) for each in rows_of(job, job["rows"], 0))
    start = int(random.integers(1, job["rows"] + 1))
    numbers = random.permutation(3 * job["rows"])[: job["rows"]].astype(np.int64)
    index = helip.PairIndex.build(
        image=image[:start],
        text=text[:start],
        ids=numbers[:start],
        seed=job["seed"] % 100,
        threads=job["threads"],
        progress=False,
        **rules,
    )
    kept, rounded = as_float64(image), job["dtype"] != "float16"
    kept_text, there = as_float64(text), start
    wanted = np.arange(there)  # rows that are in the index
    with folder() as path:
        for number, act in enumerate(job["acts"]):
            if act == "add" and there < job["rows"]:
                last = int(random.integers(there, job["rows"] + 1))
                part = slice(there, last)
                index.add(
                    image=image[part], text=text[part], ids=numbers[part], threads=job["threads"]
                )
                wanted = np.concatenate([wanted, np.arange(there, last)])
                there = last
            elif act == "remove":
                gone = random.random(len(wanted)) < 0.3
                index.remove(numbers[wanted[gone]])
                wanted = wanted[~gone]
            elif act == "replace" and len(wanted):
                some = wanted[random.random(len(wanted)) < 0.3]
                by = random.integers(0, job["rows"], len(some))
                index.replace(
                    image=image[by], text=text[by], ids=numbers[some], threads=job["threads"]
                )
                for each in (image, text, kept, kept_text):
                    each[some] = each[by]
            elif act == "save":
                index.save(path / str(number))
                index = helip.PairIndex.open(path / str(number))
            elif act == "hnswlib":
                index, rounded = through_hnswlib(index, path / f"{number}.bin", job), True
            assert len(index) == len(wanted)
            if not len(wanted):
                continue
            queries = [
                in_dtype(each[: job["batch"]], job["dtype"])
                for each in rows_of(job, max(job["batch"], 2), 1 + number)
            ]
            breadth = None if job["breadth"] == 0 else max(job["breadth"], job["k"])
            ids, scores = index.query(
                image=queries[0],
                text=queries[1],
                k=job["k"],
                breadth=breadth,
                threads=job["threads"],
            )
            asked = [plain_rows(as_float64(each)) for each in queries]
            rows = [plain_rows(each[wanted]) for each in (kept, kept_text)]
            exact = not rounded and all(each[1] for each in (*asked, *rows))
            slack = KEPT if rounded else slack_of(exact, job)
            whole = breadth is not None and breadth >= there and there <= 256
            near = [cosines(a[0], b[0]) for a, b in zip(asked, rows, strict=True)]
            gone, mute = (
                ~(each[0][0].any(axis=1) & each[1][0].any(axis=1)) for each in (rows, asked)
            )
            # By its codes it may take what lies this close to a limit for a near duplicate.
            close = np.zeros(near[0].shape, bool)
            for values, name in zip(near, ("image_max", "text_max"), strict=True):
                close |= (values > job[name] - 0.03) & (values <= job[name]) & (job[name] < 1)
            for place in range(len(ids)):
                hits = check_pool(
                    job,
                    near[0][place],
                    near[1][place],
                    numbers[wanted],
                    (ids[place], scores[place]),
                    job["k"],
                    slack,
                    gone | mute[place],
                    whole=whole and not close[place].any(),
                    rough=0.03,
                )
                covered["index: pairs found"] += hits
            covered["index: exact"] += whole
            covered["index: whole numbers"] += exact
            covered["queries"] += len(ids)


def through_hnswlib(index: Any, path: Path, job: Job) -> Any:
    index.save_hnswlib(path)
    return helip.PairIndex.open_hnswlib(
        path, job["image_dim"], image_max=job["image_max"], text_max=job["text_max"]
    )


torch.set_num_threads(1)
