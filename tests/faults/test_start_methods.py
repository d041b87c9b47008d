"""Processes that are started while this one works: by fork, spawn and forkserver they do the same
work to the same bytes, and none waits for ever."""

from __future__ import annotations

import hashlib
import multiprocessing
import threading
from pathlib import Path

import numpy as np
import pytest

import helip

ROWS, K = 400, 10
METHODS = ("fork", "spawn", "forkserver")
#: Seconds after which a process is taken to wait for ever.
LONG = 180


def write_store(path: Path) -> Path:
    values = np.random.default_rng(0).normal(size=(ROWS, 24)) + 0.3
    with helip.EmbeddingStore.create(path, image_dim=16, text_dim=8) as writer:
        writer.append([str(i) for i in range(ROWS)], values[:, :16], values[:, 16:])
    return path


def work(path: Path) -> str:
    """Of mining, of an index and of batches, each on threads; a digest of what they gave."""
    digest = hashlib.sha256()
    store = helip.EmbeddingStore.open(path)
    pairs = helip.mine(store, k=K, method="exact", threads=2, device="cpu", progress=False)
    index = helip.PairIndex.build(store, threads=2, progress=False)
    found = index.query(image=np.asarray(store.image), text=np.asarray(store.text), k=3, threads=2)
    for array in (pairs.ids, pairs.scores, *found):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def in_process(path: Path, queue) -> None:
    queue.put(work(path))


def results(context, path: Path, number: int) -> list[str]:
    queue = context.Queue()
    processes = [context.Process(target=in_process, args=(path, queue)) for _ in range(number)]
    for process in processes:
        process.start()
    try:
        return [queue.get(timeout=LONG) for _ in processes]
    finally:
        for process in processes:
            process.join(timeout=10)
            process.kill()


@pytest.mark.parametrize("method", METHODS)
def test_a_process_that_is_started_after_work_does_the_same_work(
    tmp_path: Path, method: str
) -> None:
    path = write_store(tmp_path / "s")
    expected = work(path)  # the pool of threads is there now
    assert results(multiprocessing.get_context(method), path, 2) == [expected] * 2
    assert work(path) == expected


@pytest.mark.parametrize("method", METHODS)
def test_a_process_that_is_started_while_threads_work_does_the_same_work(
    tmp_path: Path, method: str
) -> None:
    path = write_store(tmp_path / "s")
    expected = work(path)
    stop = threading.Event()
    found: list[str] = []

    def go_on() -> None:
        while not stop.is_set():
            found.append(work(path))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        for _ in range(3 if method == "fork" else 1):
            assert results(multiprocessing.get_context(method), path, 3) == [expected] * 3
    finally:
        stop.set()
        thread.join()
    assert set(found) == {expected}
