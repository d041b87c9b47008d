"""What is expected of hard pairs, suggested, and warned of."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest

from helip.diagnosis.advice import (
    ExpectedGain,
    Word,
    expected_gain,
    suggestions,
    warnings,
)
from helip.diagnosis.features import Estimate, FeatureMeasures, ModelMeasures, WindowAccuracy
from helip.diagnosis.probe import ProbeFigure, ProbeGain
from helip.diagnosis.result import _said_of_gain
from helip.diagnosis.table import ByChance, Hubs, TableMeasures, WindowMeasures
from helip.loading.options import PairOptions
from helip.losses.options import EqualOptions

ACCURACIES = {"between": 0.9, "mapped": 0.8, "among": 0.7, "within": 0.6, "violated": 0.1}


def measures(**changes: float) -> FeatureMeasures:
    """Of a model that has something to learn from hard pairs."""
    accuracies = {
        name: Estimate(changes.pop(name, value), 0.02, 400) for name, value in ACCURACIES.items()
    }
    made = FeatureMeasures(
        rows=100_000, batch_size=256, window=50, window_members=50.0, by_chance=0.13,
        none_by_chance=0.88, coverage=1.0, ranks=(),
        left_out=0, random_loss=0.3, community_loss=0.9, **accuracies,
    )  # fmt: skip
    return replace(made, **changes)


def probed(share: float, half: float = 0.001, control: float = 0.1) -> ProbeGain:
    """Of a gain that is this share of the control's recall, and half the width of its interval."""
    gain = share * control
    figure = ProbeFigure(
        candidates=9000, control=control, hard_pairs=control + gain, difference=gain,
        low=gain - half, high=gain + half, share=share,
    )  # fmt: skip
    return ProbeGain(
        rows=8100, held_out=900, batch_size=256, window=50, community_rows=8, seeds=5,
        start_steps=31, steps=253, recall=figure, recall_held_out=figure, reciprocal_rank=figure,
        seconds=60.0,
    )  # fmt: skip


def test_the_words_of_a_probe_go_by_their_bounds() -> None:
    def word(share: float, **more: float) -> str:
        gain = expected_gain(probed(share, **more))
        assert gain is not None
        assert ("may be chance" in gain.why) is (abs(share) * 0.1 <= more.get("half", 0.001))
        return gain.word

    assert word(0.11) == "large"
    assert word(0.09) == word(0.03) == "some"
    assert word(0.015) == word(-0.03, half=0.01) == word(0.2, half=0.03) == "none"
    assert word(-0.015) == "harm likely"


def test_heads_that_find_next_to_nothing_promise_nothing() -> None:
    for share in (-0.5, 0.5):
        gain = expected_gain(probed(share, control=0.003, half=0.0))
        assert gain is not None and gain.word == "none" and "next to nothing" in gain.why


def test_a_probe_decides_but_for_a_model_that_knows_nothing() -> None:
    gain = expected_gain(probed(0.2), measures())
    assert gain is not None and gain.word == "large"
    gain = expected_gain(probed(0.2), measures(between=0.01, mapped=0.3))
    assert gain is not None and gain.word == "large"
    gain = expected_gain(probed(0.2), measures(between=0.01, mapped=0.04))
    assert gain is not None and gain.word == "harm likely"
    assert gain.why.startswith("the model finds 1% among 256 random rows, 4% after a linear map")
    unknown = replace(measures(between=0.01), mapped=Estimate(None, None, 0))
    gain = expected_gain(probed(0.2), unknown)
    assert gain is not None and gain.word == "harm likely" and "linear map" not in gain.why


def test_without_a_probe_nothing_is_promised() -> None:
    assert expected_gain(None, measures()) is None
    assert _said_of_gain(None).endswith("only --store STORE --probe answers that")
    assert _said_of_gain(expected_gain(probed(0.2))).startswith("expected gain: large: with hard")


TABLE = TableMeasures(
    rows=100_000, k=100, method="exact", window=50, sampled=2000, empty=0, short=0,
    window_members=50, coverage=1.0, hubs=(),
    by_chance=(ByChance(64, 0.05, 0.95), ByChance(256, 0.2, 0.82)),
    scores=((1, 0.7), (50, 0.4)), flatness=0.57,
)  # fmt: skip


def window(first: int, last: int, near: float = 0.0, **more: Any) -> WindowMeasures:
    clean: dict[str, Any] = {
        "equal_captions": 0.0, "equal_pictures": None, "near_captions": None,
        "near_pictures": None,
    }  # fmt: skip
    return WindowMeasures(first=first, last=last, pairs=100, near=near, **{**clean, **more})


CLEAN = (window(1, 50), window(1, 10), window(11, 30), window(31, 100))


def features(*within: float) -> FeatureMeasures:
    told = [Estimate(value, 0.03, 200) for value in within]
    ranks = ((1, 10), (11, 30), (31, 100))
    return FeatureMeasures(
        rows=100_000, batch_size=256, window=50, window_members=50.0, by_chance=0.13,
        none_by_chance=0.88, coverage=1.0,
        between=Estimate(0.9, 0.02, 400), mapped=Estimate(0.9, 0.02, 400),
        among=told[0], within=told[0],
        ranks=tuple(WindowAccuracy(*r, t, 0) for r, t in zip(ranks, told, strict=True)),
        left_out=0, violated=Estimate(0.1, 0.02, 400), random_loss=0.3, community_loss=0.9,
    )  # fmt: skip


def suggested(
    word: Word | None = "large",
    windows: tuple[WindowMeasures, ...] = CLEAN,
    within: tuple[float, ...] = (0.6, 0.7, 0.8),
    table: TableMeasures = TABLE,
    batch_size: int = 256,
) -> dict[str, Any]:
    gain = None if word is None else ExpectedGain(word, "so it is")
    measured = None if word is None else features(*within)
    found = suggestions(table, windows, measured, gain, batch_size)
    assert len({each.option for each in found}) == len(found)
    return {each.option: each.value for each in found}


def test_where_a_gain_is_expected_communities_of_the_first_clean_window_are_suggested() -> None:
    for word in ("large", "some"):
        assert suggested(word) == {"strategy": "communities", "rank_max": 50}


def test_a_window_of_duplicates_is_passed_over() -> None:
    near = (CLEAN[0], window(1, 10, near=0.3), *CLEAN[2:])
    assert suggested(None, windows=near)["rank_min"] == 10
    assert suggested(None, windows=near)["rank_max"] == 60
    equal = (CLEAN[0], window(1, 10, equal_captions=0.15, near=0.1), *CLEAN[2:])
    assert suggested(None, windows=equal)["rank_min"] == 10
    deep = (CLEAN[0], *(window(f, t, near=0.5) for f, t in ((1, 10), (11, 30))), CLEAN[3])
    assert suggested(None, windows=deep)["rank_min"] == 30
    assert suggested(None, windows=deep)["rank_max"] == 80


def test_a_window_of_the_whole_pool_needs_no_rank() -> None:
    whole = replace(TABLE, k=50)
    assert suggested(table=whole) == {"strategy": "communities"}


def test_where_none_or_harm_is_expected_plain_batches_are_suggested() -> None:
    assert suggested("none") == suggested("harm likely") == {"control": True}


@pytest.mark.parametrize(
    ("word", "option"), [("large", "strategy"), ("none", "control"), ("harm likely", "control")]
)
def test_what_a_probe_found_goes_before_what_is_by_chance(word: Word, option: str) -> None:
    held = replace(TABLE, by_chance=(ByChance(64, 0.3, 0.7), ByChance(256, 1.4, 0.2)))
    gain = ExpectedGain(word, "so it was found")
    first = suggestions(held, CLEAN, None, gain, 256)[0]
    assert first.option == option
    assert option == "strategy" or "so it was found" in first.why


def test_the_ranks_that_a_probe_gained_by_are_suggested_whatever_they_hold() -> None:
    near = (CLEAN[0], window(1, 10, near=0.3), *CLEAN[2:])
    gain = ExpectedGain("some", "so it was found")
    found = suggestions(TABLE, near, features(0.6, 0.7, 0.8), gain, 256)
    assert [each.flag for each in found] == ["--strategy communities", "--rank-max 50"]


def test_without_a_model_table_and_data_are_what_is_judged() -> None:
    assert suggested(None) == {"rank_max": 50}


def test_equal_and_similar_captions_are_left_out_of_the_loss() -> None:
    windows = (
        CLEAN[0], window(1, 10, equal_captions=0.02, near_captions=0.08),
        window(11, 30, near_captions=0.01), CLEAN[3],
    )  # fmt: skip
    found = suggested(windows=windows)
    assert found["equal_captions"] == "mask"
    assert found["similar_captions"] == 0.95
    few = (CLEAN[0], window(1, 10, near_captions=0.04))
    assert "similar_captions" not in suggested(windows=few)


def test_what_is_suggested_are_options_of_training_as_the_shell_takes_them() -> None:
    near = (CLEAN[0], window(1, 10, near=0.3, equal_captions=0.1, near_captions=0.3), *CLEAN[2:])
    gain = ExpectedGain("large", "so it is")
    found = (
        *suggestions(TABLE, near, features(0.5, 0.5, 0.5), None, 256),
        *suggestions(TABLE, CLEAN, None, gain, 256),
    )
    options = {f.name for group in (PairOptions, EqualOptions) for f in dataclasses.fields(group)}
    assert {each.option for each in found} <= options
    assert [each.flag for each in found] == [
        "--rank-min 10", "--rank-max 60", "--equal-captions mask", "--similar-captions 0.95",
        "--strategy communities", "--rank-max 50",
    ]  # fmt: skip
    plain = suggestions(TABLE, CLEAN, features(0.5, 0.5, 0.5), replace(gain, word="none"), 256)
    assert [each.flag for each in plain] == ["--control"]
    assert all(each.why for each in (*found, *plain))


PLAIN_TABLE = TableMeasures(
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
    made = replace(PLAIN_TABLE, **(table or {}))
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
