"""helip.train under verdicts: what people took out is no hard pair, and no negative either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError
from helip.common.processes import Processes
from helip.losses.equal import groups_of
from helip.mining.streaming import StreamingMiner
from helip.models.bundle import create_model
from helip.training.fine_tuning import train
from helip.training.plan import plan_training
from helip.training.trainer import Trainer
from helip.verdicts import Exclusions, Verdicts
from support.loader_samples import drawing
from support.train_samples import CONFIG, ROWS, Colours, table

pytestmark = pytest.mark.usefixtures("one_thread")
_SAME = [(0, 1), (3, 4), (7, 9), (0, 20)]  # of which the last is in no pool
_MISMATCHED = 12


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    path = tmp_path / "verdicts"
    with Verdicts.open(path, pairs=table(Colours())) as verdicts:
        for target, hard in _SAME:
            verdicts.add(target, hard, "false negative", person="Ada")
        verdicts.add(5, 6, "keep", person="Ada")
        verdicts.add(_MISMATCHED, None, "mismatch", person="Ada")
    return path


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What reached the losses."""
    seen: list[dict[str, Any]] = []
    plain = Trainer.losses

    def losses(self: Trainer, encoded: Any, batch: Any) -> Any:
        seen.append(dict(batch))
        return plain(self, encoded, batch)

    monkeypatch.setattr(Trainer, "losses", losses)
    return seen


def call(**options: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "model": create_model("tiny", config=CONFIG, from_scratch=True, seed=3),
        "data": Colours(),
        "pairs": table(Colours()),
        "batch_size": 8,
        "device": "cpu",
        "lr": 1e-3,
    }
    return drawing(given | options)


def test_no_hard_pair_is_one_that_people_took_out(
    tmp_path: Path, judged: Path, batches: list[dict[str, Any]]
) -> None:
    result = train(out=tmp_path / "run", verdicts=judged, progress=False, epochs=4, **call())
    drawn = {
        frozenset((int(batch["index"][place]), int(batch["index"][target])))
        for batch in batches
        for place, target in enumerate(batch["target"].tolist())
        if place != target
    }
    assert frozenset((0, 2)) in drawn
    assert not drawn & {frozenset(pair) for pair in _SAME}
    assert not any(_MISMATCHED in pair for pair in drawn)
    # The pools of 9, 10 and 11 hold row 12, and its own pool has three.
    assert result.loader_stats["verdicts"] == {
        "pairs": 4, "rows": 1, "hard_pairs": 3 + 6, "targets": 3 + 4,
    }  # fmt: skip


@pytest.mark.parametrize("options", [{"control": True}, {"pairs": None}], ids=["control", "plain"])
def test_pairs_taken_out_are_marked_in_plain_batches_as_well(
    tmp_path: Path, judged: Path, batches: list[dict[str, Any]], options: dict[str, Any]
) -> None:
    train(out=tmp_path / "run", verdicts=judged, progress=False, steps=3, **call(**options))
    met = 0
    for batch in batches:
        rows = batch["index"].tolist()
        groups = groups_of(batch)
        for a, b in np.ndindex(len(rows), len(rows)):
            if a != b:
                wanted = tuple(sorted((rows[a], rows[b]))) in _SAME
                assert bool(((groups[a] == groups[b]) & (groups[a] != 0)).any()) == wanted
                met += wanted
    assert met > 0


def test_a_run_goes_on_under_the_same_verdicts_alone(tmp_path: Path, judged: Path) -> None:
    out = tmp_path / "run"
    train(out=out, verdicts=judged, progress=False, steps=1, **call())
    assert train(out=out, verdicts=judged, progress=False, steps=1, **call()).resumed_from == 1
    with pytest.raises(MismatchError, match="verdicts was '"):
        train(out=out, progress=False, steps=1, **call())
    with Verdicts.open(judged) as verdicts:
        verdicts.add(1, 2, "near duplicate", person="Bo")
    with pytest.raises(MismatchError, match="verdicts was '"):
        train(out=out, verdicts=judged, progress=False, steps=1, **call())


def test_verdicts_on_other_data_and_with_a_miner_are_refused(tmp_path: Path, judged: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(MismatchError, match="belongs to other data than this"):
        other = Colours(prefix="other")
        train(out=out, verdicts=judged, **call(data=other, pairs=table(other)))
    with pytest.raises(UnsupportedError, match="pairs is a StreamingMiner"):
        train(out=out, verdicts=judged, **call(pairs=StreamingMiner(memory=ROWS)))
    assert not out.exists()


def test_processes_that_read_different_verdicts_are_refused(
    tmp_path: Path, judged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Processes, "exchange", lambda self, value: [value, "another"])
    with pytest.raises(MismatchError, match="the processes have read different verdicts"):
        train(out=tmp_path / "run", verdicts=judged, **call())


def test_a_plan_counts_what_verdicts_leave(judged: Path) -> None:
    everything = Exclusions(np.empty((0, 2), np.int64), np.arange(ROWS))
    assert plan_training(verdicts=judged, epochs=1, **call()).rows == 38
    assert plan_training(epochs=1, **call()).rows == 40
    with pytest.raises(InvalidArgumentError, match="0 eligible targets"):
        plan_training(verdicts=everything, **call())
