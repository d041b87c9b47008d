"""Several threads at one object, unguarded: what it says is true, and whole in the end.

A class may instead refuse the second thread by a clear error; the call is then made again.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from dice import Dice
from mining import folder
from rows import cosines

import helip
from helip import _core
from helip.common.errors import Error
from helip.pairs.blocks import Pools
from helip.pairs.growing_pairs import GrowingPairs

Job = dict[str, Any]
PLAIN: Job = {"threads": 2}
LEAST = {"rows": 4, "k": 1, "dims": 1, "blocks": 2}


def draw(dice: Dice) -> Job:
    return {
        "seed": dice.whole(0, 2**31), "what": dice.of(*KINDS), "rows": dice.whole(8, 200),
        "dims": dice.whole(1, 9), "k": dice.whole(1, 9), "blocks": dice.whole(2, 12),
        "threads": dice.whole(2, 4),
    }  # fmt: skip


def together(job: Job, work: list[Callable[[], None]], covered: Counter[str]) -> None:
    """Does the work in threads that begin at once; each takes the next piece that is left."""
    left, errors = list(reversed(work)), list[BaseException]()
    start = threading.Barrier(job["threads"])

    def run() -> None:
        start.wait()
        try:
            while True:
                try:
                    piece = left.pop()
                except IndexError:
                    return
                for _ in range(1000):
                    try:
                        piece()
                        break
                    except Error as error:
                        if "thread" not in str(error):
                            raise
                        covered["refused"] += 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(job["threads"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def pieces(job: Job) -> list[np.ndarray]:
    return np.array_split(np.arange(job["rows"]), job["blocks"])


def check_growing(job: Job, random: np.random.Generator, covered: Counter[str]) -> None:
    """Offers from all threads: each pool has the best of all that was offered, in order."""
    rows, k = job["rows"], job["k"]
    scores = np.triu(random.integers(1, 1000, (rows, rows)), 1).astype(np.float32)
    scores += scores.T
    pairs, offered = GrowingPairs(rows, k), np.zeros((rows, rows), bool)
    work = []
    for some in pieces(job):
        found = Pools.empty(len(some), 6)
        for at, target in enumerate(some.tolist()):
            others = np.setdiff1d(random.permutation(rows)[:6], [target])
            others = others[np.argsort(-scores[target, others])]
            found.ids[at, : len(others)], found.scores[at, : len(others)] = (
                others,
                scores[target, others],
            )
            found.counts[at] = len(others)
            offered[target, others] = offered[others, target] = True
        work += [lambda some=some, found=found: pairs.offer(some, found), lambda: read()]

    def read() -> None:
        found = pairs.pools(np.arange(rows))
        at = np.nonzero(found.ids >= 0)
        assert (found.scores[at] == scores[at[0], found.ids[at]]).all(), (
            "a score that nobody offered"
        )

    together(job, work, covered)
    found = pairs.pools(np.arange(rows))
    for row in range(rows):
        best = sorted(np.flatnonzero(offered[row]).tolist(), key=lambda j: (-scores[row, j], j))[:k]
        assert found.ids[row, : found.counts[row]].tolist() == best, f"pool of {row}"
    assert pairs.known == int(offered.any(axis=1).sum())


def unit_scores(image: np.ndarray, text: np.ndarray) -> np.ndarray:
    return np.maximum(cosines(image, image), 0) * np.maximum(cosines(text, text), 0)


def check_miner(job: Job, random: np.random.Generator, covered: Counter[str]) -> None:
    """Batches from all threads: each pair scores what it should, and all rows are remembered."""
    image, text = (
        random.integers(-4, 5, (job["rows"], job["dims"])).astype(np.float64) for _ in range(2)
    )
    score = unit_scores(image, text)
    miner = helip.StreamingMiner(
        memory=job["rows"], k=job["k"], image_max=1.0, text_max=1.0, rows=job["rows"], threads=1
    )

    def add(some: np.ndarray) -> None:
        found = miner.add(some, image[some].astype(np.float32), text[some].astype(np.float32))
        at = np.nonzero(found.ids >= 0)
        assert (found.scores[at] == score[some[at[0]], found.ids[at]].astype(np.float32)).all(), (
            "a score is wrong"
        )

    def read() -> None:
        state = miner.state_dict()
        if len(state["ids"]) == 0:
            return
        assert (state["image"] == image[state["ids"]]).all() and (
            state["text"] == text[state["ids"]]
        ).all()

    together(
        job, [each for some in pieces(job) for each in (lambda some=some: add(some), read)], covered
    )
    assert (
        sorted(miner.state_dict()["ids"].tolist()) == list(range(job["rows"]))
        and len(miner) == job["rows"]
    )
    found = miner.pairs.pools(np.arange(job["rows"]))
    at = np.nonzero(found.ids >= 0)
    assert (found.scores[at] == score[at[0], found.ids[at]].astype(np.float32)).all()


def check_index(job: Job, random: np.random.Generator, covered: Counter[str]) -> None:
    """Queries while rows are added: true scores, and every row in the end."""
    image, text = (
        random.integers(-4, 5, (job["rows"], job["dims"])).astype(np.float16) for _ in range(2)
    )
    score = unit_scores(image.astype(np.float64), text.astype(np.float64))
    first, *rest = pieces(job)
    index = helip.PairIndex.build(
        image=image[first],
        text=text[first],
        ids=first,
        image_max=1.0,
        text_max=1.0,
        threads=1,
        progress=False,
    )

    def query() -> None:
        ids, scores = index.query(image=image, text=text, k=job["k"], breadth=2000, threads=1)
        at = np.nonzero(ids >= 0)
        assert (scores[at] == score[at[0], ids[at]].astype(np.float32)).all(), "a score is wrong"

    def add(some: np.ndarray) -> None:
        index.add(image=image[some], text=text[some], ids=some, threads=1)

    together(job, [each for some in rest for each in (lambda some=some: add(some), query)], covered)
    assert len(index) == job["rows"]
    query()


def check_sampler(job: Job, random: np.random.Generator, covered: Counter[str]) -> None:
    """One sampler asked for batches by all threads gives those that it gives to one."""
    rows, k = job["rows"], job["k"]
    ids = (np.arange(rows)[:, None] + np.arange(1, k + 1)) % rows
    scores = np.tile(np.linspace(1, 0.5, k, dtype=np.float32), (rows, 1))
    table = helip.HardPairs.from_arrays(ids.astype(np.int32), scores, np.full(rows, k, np.int32))
    strategy = str(random.choice(["uniform", "shared", "communities", "walk"]))

    def sampler() -> Any:
        made = _core.BatchSampler(table._core, batch_size=8, strategy=strategy, seed=job["seed"])
        made.set_epoch(1)
        return made

    shared, alone = sampler(), sampler()
    wanted = [
        [each.tolist() for each in alone.batch(step)] for step in range(alone.batches_per_epoch)
    ]

    def batch(step: int) -> None:
        assert [each.tolist() for each in shared.batch(step)] == wanted[step], (
            f"another batch {step}"
        )

    together(job, [lambda step=step: batch(step) for step in range(len(wanted))], covered)
    assert shared.statistics()["batches"] == len(wanted)


def check_writer(job: Job, random: np.random.Generator, covered: Counter[str]) -> None:
    """Rows appended by all threads are all there, each block as it was given."""
    image, text = (
        random.normal(size=(job["rows"], job["dims"])).astype(np.float32) for _ in range(2)
    )
    with folder() as path:
        with helip.EmbeddingStore.create(
            path / "s", image_dim=job["dims"], text_dim=job["dims"]
        ) as writer:

            def append(some: np.ndarray) -> None:
                writer.append([f"k{row}" for row in some], image[some], text[some])

            together(
                job, [lambda some=some: append(some) for some in pieces(job) if len(some)], covered
            )
        store = helip.EmbeddingStore.open(path / "s")
        order = [int(key[1:]) for key in store.keys]
        assert sorted(order) == list(range(job["rows"]))
        assert (store.image == image[order]).all() and (store.text == text[order]).all()
        store.verify()


KINDS = {
    "growing": check_growing,
    "miner": check_miner,
    "index": check_index,
    "sampler": check_sampler,
    "writer": check_writer,
}


def check(job: Job) -> Counter[str]:
    covered: Counter[str] = Counter()
    job = {**job, "k": min(job["k"], job["rows"] - 1)}
    KINDS[job["what"]](job, np.random.default_rng(job["seed"]), covered)
    return covered
