"""helip.train with soft labels: what the loss aims at, and what a run that goes on compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError, MismatchError
from helip.models.bundle import create_model
from helip.training.fine_tuning import train
from helip.training.metrics import read_metrics
from helip.training.plan import plan_training
from support.train_samples import CONFIG, Colours, table

pytestmark = pytest.mark.usefixtures("one_thread")


def call(**options: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "model": create_model("tiny", config=CONFIG, from_scratch=True, seed=3),
        "data": Colours(), "pairs": table(Colours()), "batch_size": 8, "device": "cpu",
        "lr": 1e-3, "workers": 0, "progress": False, "steps": 3,
    }  # fmt: skip
    return given | options


def labels(out: Path, weight: float) -> helip.SoftLabels:
    pairs = table(Colours())
    weights = np.full(np.shape(pairs.ids), weight)
    return helip.label_pairs(pairs, weights=weights, out=out, progress=False)


@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_the_loss_aims_at_them(tmp_path: Path, control: bool, loss: str) -> None:
    soft = labels(tmp_path / "labels", 0.5)
    shared = {"control": control, "loss": loss, "distill": 0.0, "accumulate": 2}
    rows = []
    for name, given in (("with", soft.path), ("without", None)):
        train(out=tmp_path / name, soft_labels=given, **call(**shared))
        rows.append(read_metrics(tmp_path / name / "metrics.jsonl"))
    told, plain = (next(row for row in each if "clip" in row) for each in rows)
    assert told["soft_rows"] > (0 if control else 0.5)
    assert "soft_rows" not in plain
    assert told["clip"] != plain["clip"]


def test_a_run_goes_on_with_the_same_labels_alone(tmp_path: Path) -> None:
    soft, other = (labels(tmp_path / str(weight), weight) for weight in (0.5, 0.25))
    train(out=tmp_path / "run", soft_labels=soft, **call(steps=1))
    with pytest.raises(MismatchError, match="soft_labels"):
        train(out=tmp_path / "run", soft_labels=other, **call(steps=1))
    again = train(out=tmp_path / "run", soft_labels=soft, **call(steps=1))
    assert again.resumed_from == 1
    assert plan_training(out=tmp_path / "new", soft_labels=soft, **call()) is not None


def test_a_loss_that_takes_none_is_refused(tmp_path: Path) -> None:
    def plain(image, text, scale, target, *, hard_rows, groups):
        return {"loss": ((image - text) ** 2).sum()}

    plain.options = {}  # type: ignore[attr-defined]
    with pytest.raises(InvalidArgumentError, match="takes none; give its call a parameter"):
        train(
            out=tmp_path / "run", soft_labels=labels(tmp_path / "labels", 0.5),
            **call(loss=plain, distill=0.0),
        )  # fmt: skip
