"""helip.mine(on_progress=...): what it is called with, and how it stops a job."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.mining.engines.gpu import mine_on_torch_device
from helip.mining.inputs import inputs_of
from helip.mining.options import MineOptions
from support.pair_samples import write_store

IMAGE, TEXT = np.random.default_rng(0).normal(size=(2, 300, 8)) + 0.4


def test_it_is_told_stage_done_and_total_up_to_the_end() -> None:
    seen: list[tuple[str, int, int]] = []
    pairs = helip.mine(image=IMAGE, text=TEXT, k=5, on_progress=lambda *at: seen.append(at))
    mined = [(done, total) for stage, done, total in seen if stage == "mine"]
    assert mined[-1] == (300, 300)
    assert mined == sorted(mined)
    plain = helip.mine(image=IMAGE, text=TEXT, k=5)
    np.testing.assert_array_equal(pairs.ids, plain.ids)


@pytest.mark.parametrize("part", [None, (1, 2)])
def test_false_stops_the_job_and_nothing_is_written(
    tmp_path: Path, part: tuple[int, int] | None
) -> None:
    store = write_store(tmp_path / "s")
    with pytest.raises(helip.CancelledError, match="stopped"):
        helip.mine(store, k=5, out=tmp_path / "p", part=part, on_progress=lambda *_: False)
    assert not (tmp_path / "p" / "manifest.json").exists()


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(helip.InvalidArgumentError, match="on_progress is True, must be a function"):
        helip.mine(image=IMAGE, text=TEXT, k=5, on_progress=True)


def test_a_torch_device_tells_it_too() -> None:
    seen: list[tuple[str, int, int]] = []
    inputs = inputs_of(None, IMAGE, TEXT, ("image", "text"))
    options = {"device": "cpu", "out": "", "progress": False}
    mine_on_torch_device(
        inputs, MineOptions(k=5), **options, on_progress=lambda *at: seen.append(at)
    )
    assert seen[-1][0] == "mine" and seen[-1][1] == seen[-1][2] > 0
    with pytest.raises(helip.CancelledError):
        mine_on_torch_device(inputs, MineOptions(k=5), **options, on_progress=lambda *_: False)


def test_ray_does_not_take_it(tmp_path: Path) -> None:
    with pytest.raises(
        helip.InvalidArgumentError, match="on_progress is given and engine is 'ray'"
    ):
        helip.mine(
            write_store(tmp_path / "s"),
            out=tmp_path / "p",
            engine="ray",
            on_progress=lambda *_: None,
        )
