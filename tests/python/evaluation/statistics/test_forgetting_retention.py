"""One joint statement of several sets about what a tuned model has lost of its start."""

from __future__ import annotations

import numpy as np
import pytest

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.evaluation.statistics.forgetting import forgetting, retention
from helip.evaluation.tasks.zero_shot import zero_shot

N = 400


def result(right, bootstrap=300):
    """Top 1 of two classes: ``right`` bool [n] says which pictures are recognised."""
    figures = zero_shot(
        np.eye(2)[np.where(right, 0, 1)], np.arange(len(right)) % 2 * 0, np.eye(2),
        class_names=["a", "b"], bootstrap=bootstrap, keep_ranks=True,
    )  # fmt: skip
    return {"zero_shot": figures, "options": {"bootstrap": bootstrap, "seed": 0}}


def flipped(right, chance, seed):
    """The same answers, a share of which are drawn anew: no better and no worse."""
    generator = np.random.default_rng(seed)
    again = generator.random(len(right)) < chance
    return np.where(again, generator.random(len(right)) < 0.6, right)


START = np.random.default_rng(0).random(N) < 0.6


def test_of_one_set_the_changes_are_those_of_the_guard_with_a_control():
    tuned = flipped(START, 0.2, 1)
    said = retention({"general": result(START)}, {"general": result(tuned)})
    right = forgetting(result(START), result(START), result(tuned))
    ours = [figure["change"] for figure in said["sets"]["general"]["figures"]]
    assert ours == [figure["change"] for figure in right["figures"]]
    assert said["verdict"] == right["verdict"]
    figure = said["sets"]["general"]["figures"][0]
    assert figure["start"]["value"] == pytest.approx(START.mean())
    assert figure["change"]["value"] == pytest.approx(tuned.mean() - START.mean())


def test_a_loss_on_one_set_is_a_loss():
    worse = START.copy()
    worse[np.flatnonzero(START)[:60]] = False
    said = retention(
        {"one": result(START), "two": result(START)},
        {"one": result(START), "two": result(worse)},
        tolerance=0.03,
    )
    assert said["verdict"] == "lost"
    assert {name: each["verdict"] for name, each in said["sets"].items()} == {
        "one": "kept", "two": "lost",
    }  # fmt: skip
    assert said["words"].startswith("the tuned model has lost some")
    assert "two, zero-shot top-1: 56.2 % at the start, 41.2 % now, −15.0 [" in said["words"]
    assert "lost." in said["words"]


def test_intervals_of_more_sets_are_wider():
    tuned = flipped(START, 0.2, 1)

    def width(sets: int) -> float:
        before = {str(n): result(flipped(START, 0.9, n)) for n in range(sets)}
        after = {str(n): result(flipped(flipped(START, 0.9, n), 0.2, 50 + n)) for n in range(sets)}
        said = retention({"x": result(START), **before}, {"x": result(tuned), **after})
        change = said["sets"]["x"]["figures"][0]["change"]
        return change["high"] - change["low"]

    assert width(0) < 0.93 * width(6)


@pytest.mark.slow
def test_a_model_that_lost_nothing_on_four_sets_is_called_lost_in_less_than_five_percent():
    """Every answer has the same chance before and after; 60 samples of four sets each."""
    rounds, sets = 60, 4

    def drawn(seed):
        right = np.random.default_rng(seed).random(N) < 0.6
        return right, flipped(right, 0.3, seed + 10**6)

    lost = single = 0
    for number in range(rounds):
        pairs = [drawn(number * sets + place) for place in range(sets)]
        before = {str(n): result(a, 100) for n, (a, _) in enumerate(pairs)}
        after = {str(n): result(b, 100) for n, (_, b) in enumerate(pairs)}
        lost += retention(before, after)["verdict"] == "lost"
        single += any(retention({n: before[n]}, {n: after[n]})["verdict"] == "lost" for n in before)
    # A loss is one side of the interval: about 2.5 %. Sets judged one by one say it of more.
    assert lost <= 0.05 * rounds
    assert single > 1.5 * lost


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"measured on \['a'\] and the tuned model on"):
        retention({"a": result(START)}, {"b": result(START)})
    with pytest.raises(InvalidArgumentError, match="measure both on the same sets"):
        retention({}, {})
    with pytest.raises(InvalidArgumentError, match="bootstrap=0"):
        retention({"a": result(START, 0)}, {"a": result(START, 0)})
    with pytest.raises(InvalidArgumentError, match="tolerance is 2"):
        retention({"a": result(START)}, {"a": result(START)}, tolerance=2)
    with pytest.raises(MismatchError, match="queries"):
        retention({"a": result(START)}, {"a": result(START[:99])})


def test_what_the_start_cannot_do_is_not_called_kept():
    poor = np.arange(N) == 3
    said = retention({"set": result(poor)}, {"set": result(poor)})
    assert said["verdict"] == "undecided"
    assert "the start model cannot do it either" in said["words"]
    assert f"{100 / N:.1f} % at the start, {100 / N:.1f} % now" in said["words"]
