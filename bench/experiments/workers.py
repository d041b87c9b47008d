"""Processes that runs are given to, one thread each; and what is said of how far they are."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Any

import torch


class Workers:
    def __init__(self, jobs: int) -> None:
        self._pool = ProcessPoolExecutor(
            jobs, multiprocessing.get_context("spawn"), initializer=torch.set_num_threads,
            initargs=(1,),
        )  # fmt: skip

    def __enter__(self) -> Workers:
        self._pool.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._pool.__exit__(*error)

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        return self._pool.submit(work, *arguments)

    def finish(self, name: str, futures: Iterable[Future[Any]]) -> None:
        """Wait for all; the first error ends it, and what was not begun."""
        waiting = list(futures)
        began = time.perf_counter()
        for done, future in enumerate(as_completed(waiting), 1):
            if error := future.exception():
                for other in waiting:
                    other.cancel()
                raise error
            spent = time.perf_counter() - began
            print(f"{name}: {done} of {len(waiting)}, {spent:.0f} s", flush=True)
