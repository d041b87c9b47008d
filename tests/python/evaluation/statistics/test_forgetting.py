"""The guard against forgetting: verdicts from paired differences."""

from __future__ import annotations

import numpy as np
import pytest

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.proportions import wilson_interval
from helip.evaluation.figures import in_percent
from helip.evaluation.statistics.forgetting import forgetting, roles
from helip.evaluation.statistics.intervals import rank_outcomes
from helip.evaluation.tasks.retrieval import DIRECTIONS
from helip.evaluation.tasks.zero_shot import class_figures, zero_shot

N = 2000


def result(right, **options):
    """Top 1 of two classes: ``right`` bool [N] says which pictures are recognised."""
    options = {"bootstrap": 200, "keep_ranks": True} | options
    images = np.eye(2)[np.where(right, 0, 1)]
    figures = zero_shot(
        images, np.zeros(len(images), dtype=int), np.eye(2), class_names=["a", "b"], **options
    )
    return {"zero_shot": figures, "options": {"bootstrap": options["bootstrap"], "seed": 0}}


def share(p, seed=0):
    return np.random.default_rng(seed).random(N) < p


START = share(0.6)


def lose(right, count):
    """The same, but for the first ``count`` of those that were right."""
    changed = right.copy()
    changed[np.flatnonzero(right)[:count]] = False
    return changed


@pytest.mark.parametrize(
    ("tuned", "verdict"),
    [
        (START, "kept"),
        (lose(START, 100), "lost"),  # five points of 2,000
        (share(0.6, seed=1), "undecided"),  # as good, but on other pictures
        (START | share(0.1, seed=2), "kept"),  # better
    ],
)
def test_the_verdict_is_that_of_the_interval(tuned, verdict):
    said = forgetting(result(START), result(START), result(tuned))
    assert said["verdict"] == verdict
    change = said["figures"][0]["change"]
    assert change["value"] == pytest.approx(tuned.mean() - START.mean())
    assert (change["high"] < 0) == (verdict == "lost")


def test_the_words_give_start_control_and_their_difference():
    said = forgetting(result(START), result(lose(START, 20)), result(lose(START, 100)), name="mine")
    assert said["words"].startswith("mine has lost some")
    assert "zero-shot top-1: −5.0 [" in said["words"]
    assert "the control −1.0 [" in said["words"]
    assert "mine is worse than the control" in said["words"]
    alike = forgetting(result(START), result(START), result(START))
    assert "not told apart" in alike["words"]
    assert "a loss of more than 1 points is ruled out" in alike["words"]
    better = forgetting(result(START), result(lose(START, 100)), result(START))
    assert "HELIP is better than the control" in better["words"]


def test_a_wider_tolerance_decides_what_a_narrow_one_leaves_open():
    models = [result(START), result(START), result(share(0.6, seed=1))]
    assert forgetting(*models)["verdict"] == "undecided"
    assert forgetting(*models, tolerance=0.08)["verdict"] == "kept"


@pytest.mark.parametrize(("n", "verdict"), [(20, "undecided"), (300, "undecided"), (N, "kept")])
def test_a_set_on_which_nothing_changed_is_called_kept_where_it_is_large_enough(n, verdict):
    said = forgetting(*[result(START[:n])] * 3)
    assert said["verdict"] == verdict
    top1, _ = (figure["change"] for figure in said["figures"])  # and the mean of one class
    assert top1["high"] == pytest.approx(-top1["low"])
    assert top1["high"] >= wilson_interval(0.0, n)[1]


def test_points_have_signs():
    change = {"value": -0.012, "low": -0.02, "high": 0.004}
    assert in_percent(change, signed=True) == "−1.2 [−2.0, +0.4]"


def test_roles_are_told_by_name():
    assert roles({"HELIP": 1, "Start": 2, "control": 3}) == ("Start", "control", "HELIP")
    for names in (("start", "control"), ("start", "control", "a", "b"), ("a", "b", "c")):
        with pytest.raises(InvalidArgumentError, match="these are"):
            roles(dict.fromkeys(names))


def test_what_cannot_be_judged_is_refused_with_the_mend():
    plain = result(START)
    with pytest.raises(InvalidArgumentError, match="bootstrap=0"):
        forgetting(*[result(START, bootstrap=0)] * 3)
    with pytest.raises(InvalidArgumentError, match="keep_ranks=True"):
        forgetting(*[result(START, keep_ranks=False)] * 3)
    with pytest.raises(InvalidArgumentError, match="tolerance is 1"):
        forgetting(plain, plain, plain, tolerance=1.5)
    with pytest.raises(InvalidArgumentError, match="no figures"):
        forgetting({}, {}, {})
    with pytest.raises(MismatchError, match="hold 2000 and 1000"):
        forgetting(result(START[:1000]), plain, plain)


def answers(seed):
    """A model's result on a general set: four figures that have little to do with each other."""
    random = np.random.default_rng(seed)
    n, classes = 300, 10
    labels = np.arange(n) % classes
    # Some classes are harder, so that the mean per class is no copy of top 1.
    ranks = np.where(random.random(n) < 0.3 + 0.04 * labels, 1, 7)
    figures = class_figures(
        ranks, labels, [str(c) for c in range(classes)], bootstrap=0, seed=0, keep_ranks=True
    )
    retrieval = {"per_query": {}}
    for way in DIRECTIONS:
        found = np.where(random.random(n) < 0.5, 1, 20)
        retrieval |= rank_outcomes(found, place=(way,)).figures(bootstrap=0, seed=0)
        retrieval["per_query"][way] = {"ranks": found.tolist(), "groups": None}
    options = {"bootstrap": 200, "seed": seed}
    return {"retrieval": retrieval, "zero_shot": figures, "options": options}


@pytest.mark.slow
def test_a_model_that_lost_nothing_is_seldom_called_lost():
    models = [[answers(3 * number + role) for role in range(3)] for number in range(100)]
    said = [forgetting(*each) for each in models]
    assert len(said[0]["figures"]) == 4
    assert sum(each["verdict"] == "lost" for each in said) <= 5  # of 100
    # Both ends together: no interval misses the truth, which is no change, in 95 % of samples.
    missed = [
        any(not f["change"]["low"] <= 0 <= f["change"]["high"] for f in each["figures"])
        for each in said
    ]
    assert sum(missed) <= 11  # 5 % of 100, and three standard deviations


def test_a_loss_of_one_figure_among_four_is_found():
    start = answers(0)
    tuned = {**start, "zero_shot": dict(start["zero_shot"])}
    queries = start["zero_shot"]["per_query"]
    ranks = [7 if place % 5 == 0 else rank for place, rank in enumerate(queries["ranks"])]
    tuned["zero_shot"]["per_query"] = {**queries, "ranks": ranks}
    said = forgetting(start, start, tuned, tolerance=0.03)
    verdicts = {f["figure"]: f["verdict"] for f in said["figures"]}
    assert verdicts.pop("zero-shot top-1") == "lost"
    assert "lost" in verdicts.values()  # mean per class
    assert list(verdicts.values()).count("kept") == 2
