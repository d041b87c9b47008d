"""Engines: one list, of which the first that a call asks for mines it, or says why it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.mining.call import MineCall, MineJob
from helip.mining.miner import ENGINES

ROWS = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)


def job(**options: Any) -> MineJob:
    return MineJob.of(MineCall(image=ROWS, text=ROWS, **options))


@pytest.mark.parametrize(
    ("options", "engine", "reason"),
    [
        ({}, "Threads", None),
        ({"method": "partition", "engine": "local"}, "Threads", None),  # rows of one cluster
        ({"method": "partition", "cluster_rows": 100}, "Stages", "mining in stages needs a store"),
        ({"engine": "local"}, "Stages", "stages are of method 'partition'"),
        ({"engine": "ray"}, "Ray", "which reads a store and writes to out"),
        ({"engine": "ray", "on_progress": print}, "Ray", "on_progress is given and engine is"),
        ({"part": (1, 2)}, "OnePart", "part needs a store"),
        ({"part": (1, 2), "engine": "ray"}, "OnePart", "and engine is 'ray', for a whole"),
        ({"device": "tpu"}, "Gpu", "device is 'tpu'; use"),
        ({"device": "cuda", "method": "sample"}, "Gpu", "method is 'sample', which only the CPU"),
        ({"verdicts": "v.sqlite", "part": (1, 2)}, "UnderVerdicts", "part is (1, 2), and verdicts"),
    ],
    ids=str,
)
def test_the_engine_that_is_asked_for_says_why_it_cannot(
    options: dict[str, Any], engine: str, reason: str | None
) -> None:
    asked = job(**options)
    found = next(each for each in ENGINES if each.is_asked(asked))
    assert type(found).__name__ == engine
    why = found.accepts(asked)
    assert why is None if reason is None else reason in str(why)


def test_the_last_engine_takes_whatever_no_other_is_asked_for() -> None:
    assert [type(each).__name__ for each in ENGINES][-1] == "Threads"
    assert ENGINES[-1].is_asked(job(method="sample", device="cpu"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"cluster_rows": 1000}, "stages are of method 'partition'"),
        ({"engine": "local"}, "stages are of method 'partition'"),
        ({"engine": "ray", "on_progress": print}, "on_progress is given and engine is"),
    ],
    ids=str,
)
def test_a_table_that_is_there_answers_no_call_that_is_refused(
    tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "s"
    with helip.EmbeddingStore.create(path, image_dim=8, text_dim=8) as writer:
        writer.append([str(row) for row in range(len(ROWS))], ROWS, ROWS)
    call: dict[str, Any] = {"out": tmp_path / "p", "method": "exact", "modality": "image"}
    helip.mine(path, **call)
    with pytest.raises(helip.InvalidArgumentError, match=reason):
        helip.mine(path, **call, **options)
