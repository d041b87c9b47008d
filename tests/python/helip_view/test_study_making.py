"""What a study asks: its targets, its pools, its balance, and what it refuses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
import helip_view
from helip.common.errors import InvalidArgumentError, MismatchError
from support.study_samples import CARDS, make
from support.view_samples import BROKEN, OUTLIER, ROWS, sides, write_store

SHOWN = 3


@pytest.fixture(scope="module")
def study(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with make(folder, tmp_path_factory.mktemp("made") / "study") as made:
        yield made


def pools_by_hand(folder: Path, target: int) -> dict[str, set[int]]:
    """The first SHOWN of each kind, by float64 cosines and the rules of mining."""
    image, text = (
        (each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-30)).astype(np.float64)
        for each in sides()
    )
    cosines = {"image": image @ image[target], "text": text @ text[target]}
    found = {}
    for kind, values in cosines.items():
        values = np.where(values > 0.98, 0, values)
        values[target] = 0
        found[kind] = set(np.argsort(-values, kind="stable")[:SHOWN].tolist())
    pairs = helip.HardPairs.open(folder / "pairs")
    return found | {"product": set(pairs.ids[target, :SHOWN].tolist())}


def test_pools_are_those_of_their_kinds(study: Any, folder: Path) -> None:
    for question in study.questions:
        expected = pools_by_hand(folder, question.target)
        for kind, pool in zip(question.kinds, question.pools, strict=True):
            assert len(set(pool)) == len(pool) and question.target not in pool
            if kind == "random":
                assert set(pool) <= set(range(ROWS))
            elif question.type == "harder":
                assert set(pool) == expected[kind]
            else:
                assert set(pool) <= expected[kind]
            assert len(pool) == (SHOWN if question.type == "harder" else 1)


def test_each_card_has_a_target_of_its_own_that_can_be_shown(study: Any) -> None:
    assert len(study) == CARDS
    assert [question.number for question in study.questions] == list(range(1, CARDS + 1))
    assert len({question.target for question in study.questions}) == CARDS
    shown = {row for question in study.questions for row in question.rows}
    assert not shown & {BROKEN, OUTLIER}
    assert study.drawn["targets"] == ROWS - 1  # the outlier has no hard pair
    assert Counter(each.type for each in study.questions) == {"harder": 12, "caption": 4}


def test_neither_the_order_of_questions_nor_that_of_rows_tells_the_kind(
    folder: Path, tmp_path: Path
) -> None:
    pairs = helip.HardPairs.open(folder / "pairs")
    kinds = ("product", "random")
    ranks, halves = Counter[int](), (Counter[str](), Counter[str]())
    with make(folder, tmp_path / "s", cards=36, kinds=kinds) as made:
        for question in made.questions:
            halves[question.number > 18][question.type] += 1
            if question.type == "harder":
                pool = question.pools[question.kinds.index("product")]
                ranks[pairs.ids[question.target].tolist().index(pool[0])] += 1
    assert set(ranks) == {0, 1, 2} and min(ranks.values()) >= 3  # 6 are expected
    assert all(min(half["harder"], half["caption"]) >= 4 for half in halves)


def test_the_same_arguments_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make(folder, tmp_path / name, seed=seed).close()
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_two_kinds_need_no_store(folder: Path, tmp_path: Path) -> None:
    kinds = ("product", "random")
    with make(folder, tmp_path / "s", kinds=kinds, cards=4, store=None) as made:
        assert {kind for question in made.questions for kind in question.kinds} == set(kinds)


def test_three_pools_stand_side_by_side(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "s").touch()  # what a kill left
    with make(folder, tmp_path / "s", choices=3, cards=28) as made:
        harder = [each for each in made.questions if each.type == "harder"]
        assert {len(each.pools) for each in harder} == {3} and len(harder) == 24
        assert harder[0].answers == ("1", "2", "3", "same")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cards": 40}, r"cards is 40, and of 40 targets 39 have the 3 hard pairs that shown asks "
         r"for; passed over of these are \d+ for .*; ask for fewer cards"),
        ({"shown": 7}, "of 40 targets 0 have the 7 hard pairs"),
        ({"store": None}, "pools by image and text alone need the store"),
        ({"out": "there"}, "a new file, and something is there"),
        ({"data": None}, "data is None, must be the data set that was mined"),
    ],
    ids=["cards", "shown", "store", "out", "data"],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused_and_leaves_nothing(
    folder: Path, tmp_path: Path, options: Any, words: str
) -> None:
    (tmp_path / "there").write_text("mine")
    given = {
        "data": folder / "pictures", "store": folder / "store", "cards": CARDS, "shown": SHOWN,
        "out": "new", "progress": False, **options,
    }  # fmt: skip
    given["out"] = tmp_path / given["out"]
    with pytest.raises(InvalidArgumentError, match=words):
        helip_view.make_study(folder / "pairs", **given)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "mine"


def test_a_store_of_other_rows_is_refused(folder: Path, tmp_path: Path) -> None:
    keys = list(helip.open_dataset(folder / "pictures").keys)
    other = write_store(tmp_path / "other", keys, *sides(seed=8))
    with pytest.raises(MismatchError, match="store with fingerprint"):
        make(folder, tmp_path / "s", store=other)
