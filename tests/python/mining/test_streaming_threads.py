"""Objects of the core that change, called by two threads, within a call, and in a forked child."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import helip
from helip import _core
from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.data.image_transform import ImageTransform
from helip.mining.streaming import StreamingMiner
from helip.pairs.blocks import Pools
from helip.pairs.growing_pairs import GrowingPairs
from helip.store.matrices import matrix_of

ROUNDS, BATCH = 60, 64


def together(*calls: Callable[[], object]) -> None:
    """Runs them at the same time, and raises what one of them raised."""
    errors: list[BaseException] = []
    begin = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        begin.wait()
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def rows_of(ids: np.ndarray, dim: int = 48) -> np.ndarray:
    """A row says its id."""
    rows = np.random.default_rng(0).normal(size=(len(ids), dim)).astype(np.float32)
    rows[:, 0] = ids
    return rows


def test_a_state_is_of_one_moment_while_another_thread_remembers_and_forgets() -> None:
    miner = StreamingMiner(memory=BATCH * ROUNDS, k=2, threads=1)

    def remember() -> None:
        for round_ in range(ROUNDS):
            ids = np.arange(round_ * BATCH, (round_ + 1) * BATCH)
            miner.remember(ids, rows_of(ids), rows_of(ids))
            if round_ % 8 == 7:
                miner.forget()

    def look() -> None:
        for _ in range(ROUNDS):
            state = miner.state_dict()
            ids, image, text = (state[name] for name in ("ids", "image", "text"))
            assert len(ids) == len(image) == len(text)
            assert len(ids) == 0 or ((image[:, 0] == ids).all() and (text[:, 0] == ids).all())
            assert len(miner) <= BATCH * 8

    together(remember, look)
    assert len(miner) == BATCH * (ROUNDS % 8)


def test_no_batch_is_lost_where_two_threads_mine_the_first_ones() -> None:
    ids = np.arange(64)
    rows = rows_of(ids)
    for _ in range(20):
        miner = StreamingMiner(memory=1024, k=2, threads=1, rows=1024)
        adds = [partial(miner.add, ids[h], rows[h], rows[h]) for h in (slice(32), slice(32, 64))]
        together(*adds)
        assert sorted(miner.state_dict()["ids"].tolist()) == ids.tolist()


def test_pairs_that_two_threads_offer_are_those_that_one_offers() -> None:
    random = np.random.default_rng(1)
    targets = np.arange(200)
    scores = -np.sort(-random.random((ROUNDS, 200, 3)).astype(np.float32), axis=2)
    ids = (targets[:, None] + 1 + random.permuted(np.arange(199))[:3]) % 200
    batches = [Pools(ids, each, np.full(200, 3, dtype=np.int32)) for each in scores]
    one, two = GrowingPairs(200, 5), GrowingPairs(200, 5)
    last = Pools(ids, scores.max(axis=0), np.full(200, 3, dtype=np.int32))
    one.offer(targets, last)

    def offer(some: list[Pools]) -> None:
        for batch in some:
            two.offer(targets, batch)

    def look() -> None:
        for _ in range(ROUNDS):
            assert two.known <= 200
            pools = two.pools(targets)
            assert (pools.counts <= 5).all()
            assert two.table().k == 5
            two.state_dict()

    together(lambda: offer(batches[::2]), lambda: offer(batches[1::2]), look)
    two.offer(targets, last)
    for name, values in one.state_dict().items():
        np.testing.assert_array_equal(two.state_dict()[name], values, err_msg=name)


def sampler_over(pairs: object) -> _core.BatchSampler:
    return _core.BatchSampler(pairs, batch_size=16, seed=3)


def test_batches_that_two_threads_draw_are_those_that_one_draws() -> None:
    rows = rows_of(np.arange(300))
    pairs = helip.mine(image=rows[:, 1:], text=rows[:, 1:], k=4, threads=1, progress=False)
    alone, shared = sampler_over(pairs._core), sampler_over(pairs._core)
    steps = alone.batches_per_epoch
    expected = [[part.tolist() for part in alone.batch(step)] for step in range(steps)]

    def draw() -> None:
        for step in range(steps):
            assert [part.tolist() for part in shared.batch(step)] == expected[step]
            assert shared.statistics()["batches"] <= 2 * steps

    together(draw, draw)
    assert shared.statistics()["batches"] == 2 * steps


def test_batches_are_drawn_while_their_table_grows() -> None:
    grows = GrowingPairs(120, 6)
    sampler = sampler_over(grows._core)
    random = np.random.default_rng(0)

    def offer() -> None:
        for _ in range(ROUNDS):
            targets = random.choice(120, 40, replace=False)
            ids = (targets[:, None] + np.array([1, 5, 9])) % 120
            scores = -np.sort(-random.random((40, 3)).astype(np.float32), axis=1)
            grows.offer(targets, Pools(ids, scores, np.full(40, 3, dtype=np.int32)))

    def draw() -> None:
        for round_ in range(ROUNDS):
            sampler.set_epoch(round_)
            index, target, _ = sampler.batch(0)
            assert len(set(index.tolist())) == len(index) <= 16
            assert (target < len(index)).all()

    together(offer, draw)


def test_two_threads_append_whole_batches_to_one_store(tmp_path: Path) -> None:
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=48, text_dim=48) as writer:
        core = writer._core

        def append(first: int) -> None:
            for begin in range(first, ROUNDS * BATCH, 2 * BATCH):
                ids = np.arange(begin, begin + BATCH)
                matrix = matrix_of(rows_of(ids), name="image")
                core.append([str(i) for i in ids], matrix, matrix)
                assert len(core) >= BATCH

        together(lambda: append(0), lambda: append(BATCH))
    store = helip.EmbeddingStore.open(tmp_path / "s")
    store.verify()
    assert len(store) == ROUNDS * BATCH
    numbers = [int(key) for key in store.keys]
    np.testing.assert_array_equal(np.asarray(store.image)[:, 0], rows_of(np.array(numbers))[:, 0])


def test_two_threads_write_bands_of_one_table(tmp_path: Path) -> None:
    core = _core.HardPairsWriter(tmp_path / "p", 20, 1)

    def write(first: int) -> None:
        for row in range(first, 20, 2):
            ids = np.array([[(row + 1) % 20]])
            written = False
            while not written:  # it may be the turn of the other
                with contextlib.suppress(InvalidArgumentError):
                    core.write(row, ids, np.full((1, 1), 0.5, np.float32), np.ones(1, np.int32))
                    written = True

    together(lambda: write(0), lambda: write(1))
    core.finish(fingerprint="", data_fingerprint="", options_json="{}", report_json="{}")
    pairs = helip.HardPairs.open(tmp_path / "p")
    np.testing.assert_array_equal(np.asarray(pairs.ids)[:, 0], (np.arange(20) + 1) % 20)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> _core.ImageFiles:
    folder = tmp_path_factory.mktemp("pictures")
    names = [f"{row}.png" for row in range(8)]
    for row, name in enumerate(names):
        Image.new("RGB", (20, 20), (row * 30, 0, 0)).save(folder / name)
    offsets = np.cumsum([0, *map(len, names)])
    return _core.ImageFiles([str(folder)], [0, 8], "".join(names).encode(), offsets, False, False)


def test_two_threads_hand_over_batches_of_pictures_and_fetch_them(pictures) -> None:
    transform = ImageTransform(size=4, crop="squash", dtype="uint8", layout="nhwc")
    assembler = _core.BatchAssembler(pictures, [transform._core], seed=0, threads=2)

    def read(first: int) -> None:
        for round_ in range(ROUNDS):
            rows = np.array([first, (first + round_) % 8])
            out = np.zeros((2, 4, 4, 3), dtype=np.uint8)
            ticket = assembler.submit(rows, rows, 0, [out.ctypes.data])
            assert assembler.take_unsupported(ticket, 60.0) == -1
            assert assembler.wait(ticket) == []
            assert (out[:, 0, 0, 0] == rows * 30).all()

    together(lambda: read(0), lambda: read(4))

    # Of two that wait for one batch, one gets it.
    out = np.zeros((64, 4, 4, 3), dtype=np.uint8)
    rows = np.arange(64) % 8
    ticket = assembler.submit(rows, rows, 0, [out.ctypes.data])
    told: list[str] = []

    def fetch() -> None:
        try:
            assembler.wait(ticket)
            told.append("fetched")
        except InvalidArgumentError as error:
            told.append(str(error))

    together(fetch, fetch)
    assert sorted(text.endswith("it was fetched or dropped") for text in told) == [False, True]
    together(assembler.clear, assembler.clear)


def test_two_threads_ask_and_extend_one_index() -> None:
    rows = np.random.default_rng(0).normal(size=(400, 32)).astype(np.float32)
    index = helip.PairIndex.build(image=rows[:100], text=rows[:100], threads=1, progress=False)

    def extend() -> None:
        for first in range(100, 400, 20):
            part = rows[first : first + 20]
            index.add(image=part, text=part, threads=1)

    def ask() -> None:
        for _ in range(30):
            ids, _ = index.query(image=rows[:8], text=rows[:8], k=3, threads=1)
            assert (ids < 400).all() and len(index) >= 100

    together(extend, ask, ask)
    assert len(index) == 400


def test_a_call_from_within_a_call_is_an_error_that_says_so() -> None:
    miner = StreamingMiner(memory=8192, k=8, threads=1)
    ids = np.arange(8192)
    miner.remember(ids, rows_of(ids), rows_of(ids))
    errors: list[Exception] = []

    def handle(*_: object) -> None:
        try:
            len(miner)
        except InvalidArgumentError as error:
            errors.append(error)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)  # it comes while the batch is mined
    try:
        for _ in range(20):
            miner.add(ids[:512], rows_of(ids[:512]), rows_of(ids[:512]))
            if errors:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert "from within another one" in str(errors[0])
    assert len(miner) == 8192


def test_a_signal_ends_a_wait_for_the_call_of_another_thread() -> None:
    ids = np.arange(6144)
    rows = rows_of(ids)
    miner = StreamingMiner(memory=6144, k=2, threads=1)
    miner.remember(ids, rows, rows)
    begun, done = threading.Event(), threading.Event()

    class Stopped(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stopped

    def add() -> None:
        begun.set()
        miner.add(ids, rows, rows)
        done.set()

    thread = threading.Thread(target=add)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        thread.start()
        begun.wait()
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(Stopped):
            while True:
                len(miner)
        assert not done.is_set()
    finally:
        signal.signal(signal.SIGALRM, before)
        thread.join()


def test_a_forked_child_goes_on_or_is_told_and_never_waits_for_ever() -> None:
    miner = StreamingMiner(memory=1024, k=2, threads=1, rows=1024)
    ids = np.arange(256)
    rows = rows_of(ids)
    miner.add(ids, rows, rows)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            miner.add(ids, rows, rows)

    thread = threading.Thread(target=work)
    thread.start()
    told = []
    try:
        for _ in range(30):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
                child = os.fork()
            if child == 0:
                signal.alarm(60)
                status = 9
                try:
                    miner.add(ids, rows, rows)
                    status = 0
                except UnsupportedError as error:
                    status = 1 if "forked while another thread" in str(error) else 8
                finally:
                    os._exit(status)
            told.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    finally:
        stop.set()
        thread.join()
    assert set(told) <= {0, 1} and 1 in told
