"""What the demo says before and after a stage."""

from __future__ import annotations

import itertools

import pytest

from helip_demo import stages as module
from helip_demo.stages import Stage, Stages, duration

PLAN = (Stage("draw", "draw pictures", 10), Stage("train", "a model", 100), Stage("page", "it", 2))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lines of stages of which each takes 20 s."""
    clock = itertools.count(0, 20)
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(clock)))
    return []


def test_a_stage_says_its_place_what_it_does_and_what_is_left(said: list[str]) -> None:
    with Stages(PLAN, said.append).stage("draw"):
        pass
    assert said == [
        "[1 of 3] draw: draw pictures; about 10 s, 2 min to the end",
        "[1 of 3] draw: took 20 s",
    ]


def test_what_is_left_follows_how_long_stages_took(said: list[str]) -> None:
    stages = Stages(PLAN, said.append)
    with stages.stage("draw"):
        pass
    with stages.stage("train"):
        pass
    assert said[2] == "[2 of 3] train: a model; about 2 min, 2 min to the end"  # 8 / 7 of 102 s
    assert stages.seconds == {"draw": 20, "train": 20}


def test_beside_others_all_is_expected_to_take_longer_until_stages_say_how_long(
    said: list[str],
) -> None:
    assert Stages(PLAN, said.append).total() == "2 min on 2 cores"
    stages = Stages(PLAN, said.append, slower=4)
    assert stages.total() == "7 min beside what others run now"
    stages.seconds = {"draw": 10, "train": 100}
    with stages.stage("page"):
        pass
    assert said[0].endswith("about 4 s")  # 350 / 170 of 2 s


def test_after_long_stages_the_first_minute_counts_little(said: list[str]) -> None:
    stages = Stages((Stage("a", "a", 5), Stage("b", "b", 40), Stage("c", "c", 1)), said.append)
    stages.seconds = {"a": 5000}
    with stages.stage("b"):
        pass
    assert said[0] == "[2 of 3] b: b; about 52 min, 53 min to the end"  # 5060 / 65 of 40 s


def test_what_is_kept_is_said_and_counts_for_nothing(said: list[str]) -> None:
    stages = Stages(PLAN, said.append)
    stages.keep("train")
    with stages.stage("draw"):
        pass
    with stages.stage("train"):
        pass
    assert said[0].endswith("about 10 s, 10 s to the end")
    assert said[2:] == ["[2 of 3] train: kept from an earlier run"]


def test_the_last_stage_leaves_nothing(said: list[str]) -> None:
    with Stages(PLAN, said.append).stage("page"):
        pass
    assert said[0] == "[3 of 3] page: it; about 2 s"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (7.4, "7 s"), (43, "45 s"), (89, "90 s"), (95, "2 min"), (400, "7 min")],
)
def test_a_guess_is_said_as_exactly_as_it_is_known(seconds: float, words: str) -> None:
    assert duration(seconds) == words
