"""Which options are suggested, for what was measured."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

from helip.diagnosis.features import Estimate, FeatureMeasures, WindowAccuracy
from helip.diagnosis.gain import ExpectedGain, Word
from helip.diagnosis.suggestions import suggestions
from helip.diagnosis.table import ByChance, TableMeasures
from helip.diagnosis.windows import WindowMeasures
from helip.loading.options import PairOptions
from helip.losses.options import EqualOptions

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
    gain = None if word is None else ExpectedGain(word, 0.1, "so it is")
    measured = None if word is None else features(*within)
    found = suggestions(table, windows, measured, gain, batch_size)
    assert len({each.option for each in found}) == len(found)
    return {each.option: each.value for each in found}


def test_where_a_gain_is_expected_communities_of_the_first_clean_window_are_suggested() -> None:
    for word in ("large", "some"):
        assert suggested(word) == {"strategy": "communities", "rank_max": 50}


def test_a_window_of_duplicates_is_passed_over() -> None:
    near = (CLEAN[0], window(1, 10, near=0.3), *CLEAN[2:])
    assert suggested(windows=near)["rank_min"] == 10
    assert suggested(windows=near)["rank_max"] == 60
    equal = (CLEAN[0], window(1, 10, equal_captions=0.15, near=0.1), *CLEAN[2:])
    assert suggested(windows=equal)["rank_min"] == 10
    deep = (CLEAN[0], *(window(f, t, near=0.5) for f, t in ((1, 10), (11, 30))), CLEAN[3])
    assert suggested(windows=deep)["rank_min"] == 30
    assert suggested(windows=deep)["rank_max"] == 80


def test_a_window_of_the_whole_pool_needs_no_rank() -> None:
    whole = replace(TABLE, k=50)
    assert suggested(table=whole) == {"strategy": "communities"}


def test_where_none_or_harm_is_expected_plain_batches_are_suggested() -> None:
    assert suggested("none") == suggested("harm likely") == {"control": True}


def test_where_a_batch_holds_hard_pairs_by_chance_plain_batches_are_suggested() -> None:
    held = replace(TABLE, by_chance=(ByChance(64, 0.3, 0.7), ByChance(256, 1.4, 0.2)))
    assert suggested(None, table=held)["control"] is True
    assert suggested("none", table=held)["control"] is True
    assert "control" not in suggested(None, table=held, batch_size=64)


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
    gain = ExpectedGain("large", 0.1, "so it is")
    found = suggestions(TABLE, near, features(0.5, 0.5, 0.5), gain, 256)
    options = {f.name for group in (PairOptions, EqualOptions) for f in dataclasses.fields(group)}
    assert {each.option for each in found} <= options
    assert [each.flag for each in found] == [
        "--strategy communities", "--rank-min 10", "--rank-max 60",
        "--equal-captions mask", "--similar-captions 0.95",
    ]  # fmt: skip
    plain = suggestions(TABLE, CLEAN, features(0.5, 0.5, 0.5), replace(gain, word="none"), 256)
    assert [each.flag for each in plain] == ["--control"]
    assert all(each.why for each in (*found, *plain))
