"""What is out of the ordinary is said with its figure; what is not, is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from helip.diagnosis.features import Estimate, FeatureMeasures
from helip.diagnosis.result import ModelMeasures
from helip.diagnosis.table import ByChance, Hubs, TableMeasures
from helip.diagnosis.warnings import warnings
from helip.diagnosis.windows import WindowMeasures

TABLE = TableMeasures(
    rows=100_000, k=100, method="exact", window=50, sampled=2000, empty=10, short=900,
    window_members=50, coverage=1.0, by_chance=(ByChance(256, 0.13, 0.88),),
    hubs=(Hubs(10, 100_000, 0.04, 0.019, 2.0, 0.3),), scores=((1, 0.7), (50, 0.4)), flatness=0.57,
)  # fmt: skip
WINDOW = WindowMeasures(1, 10, 16_000, 0.04, 0.0, 0.0, 0.1, 0.1)
FEATURES = FeatureMeasures(
    rows=100_000, batch_size=256, window=50, window_members=50.0, by_chance=0.13,
    none_by_chance=0.88, coverage=1.0,
    between=Estimate(0.9, 0.02, 400), mapped=Estimate(0.9, 0.02, 400),
    among=Estimate(0.8, 0.02, 400),
    within=Estimate(0.7, 0.02, 400), ranks=(), left_out=9, violated=Estimate(0.1, 0.02, 400),
    random_loss=0.3, community_loss=0.9,
)  # fmt: skip


def warned(
    table: dict[str, Any] | None = None,
    window: dict[str, Any] | None = None,
    features: dict[str, Any] | None = None,
    unread: dict[str, int] | None = None,
    batch_size: int = 256,
) -> tuple[str, ...]:
    model = ModelMeasures("m", 8000, unread or {}, replace(FEATURES, **(features or {})))
    windows = (WINDOW, replace(WINDOW, **(window or {})))
    made = replace(TABLE, **(table or {}))
    assert len(warnings(made, windows, None, batch_size)) <= len(
        warnings(made, windows, model, batch_size)
    )
    return warnings(made, windows, model, batch_size)


def test_ordinary_measures_give_no_warning() -> None:
    assert warned() == ()


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"table": {"by_chance": (ByChance(256, 1.44, 0.2),)}}, "hold 1.4 hard pairs"),
        ({"table": {"empty": 10_000}}, "10,000 of 100,000 targets have no hard pair"),
        ({"table": {"short": 10_000}}, "10,000 of 100,000 pools are shorter than 100"),
        ({"table": {"flatness": 0.93}}, "saturated: rank 50 scores 0.93"),
        ({"table": {"hubs": (Hubs(10, 100_000, 0.3, 0.02, 9.0, 0.3),)}}, "fill 30%"),
        ({"window": {"equal_captions": 0.02}}, "2.0% of the hard pairs in ranks 1 to 10"),
        ({"window": {"equal_pictures": 0.015}}, "1.5% of the hard pairs in ranks 1 to 10 show"),
        ({"window": {"near": 0.2}}, "20% of the hard pairs in ranks 1 to 10 are near dup"),
        ({"features": {"batch_size": 128}}, "measured in batches of 128 rows, not 256"),
        ({"features": {"left_out": 100}}, "100 of 500 targets have fewer than seven"),
        ({"features": {"random_loss": None}}, "no logit_scale"),
        ({"unread": {"unreadable_image": 3}}, "3 unreadable_image"),
    ],
)
def test_each_finding_is_one_sentence_with_its_figure(found: dict[str, Any], said: str) -> None:
    (sentence,) = warned(**found)
    assert said in sentence
