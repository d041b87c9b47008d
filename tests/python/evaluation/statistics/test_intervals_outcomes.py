"""Means over classes: their value, and intervals where some classes have few pictures."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from helip.common.proportions import wilson_interval
from helip.evaluation.statistics.intervals import share_outcomes


def mean_per_class(hits, kinds, count, bootstrap=0, seed=0):
    places = [("each", str(kind)) for kind in range(count)]
    outcomes = share_outcomes({"top1": hits}, kinds, "mean", places)
    return outcomes.figures(bootstrap=bootstrap, seed=seed)


def test_the_mean_is_that_of_scikit_learn_whatever_classes_lack_pictures():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    for _ in range(20):
        kinds = random.choice([0, 1, 2, 5, 7], size=40, p=[0.5, 0.3, 0.1, 0.05, 0.05])
        predicted = np.where(random.random(40) < 0.6, kinds, random.integers(0, 5, 40))
        figures = mean_per_class(predicted == kinds, kinds, 9)
        with warnings.catch_warnings(action="ignore"):  # of classes without a picture
            expected = metrics.balanced_accuracy_score(kinds, predicted)
        assert figures["mean"]["value"] == pytest.approx(expected)
        assert set(figures["each"]) == {str(kind) for kind in np.unique(kinds)}


SETS = {
    "half of the classes have one picture and are hard": ([1] * 30 + [30] * 30, [0.2, 0.8]),
    "half of the classes have two pictures and are hard": ([2] * 30 + [30] * 30, [0.2, 0.8]),
    "every class has one picture": ([1] * 60, [0.5, 0.5]),
    "all classes have twenty": ([20] * 20, [0.4, 0.9]),
}


@pytest.mark.parametrize("name", SETS)
def test_intervals_are_centred_and_cover_the_mean_of_the_classes(name):
    sizes, chances = SETS[name]
    kinds = np.repeat(np.arange(len(sizes)), sizes)
    half = len(sizes) // 2
    chance = np.repeat(chances, [half, len(sizes) - half])
    random = np.random.default_rng(1)
    covered, shifts = 0, []
    for seed in range(60):
        hits = random.random(len(kinds)) < chance[kinds]
        figure = mean_per_class(hits, kinds, len(sizes), bootstrap=120, seed=seed)["mean"]
        covered += figure["low"] <= chance.mean() <= figure["high"]
        shifts.append((figure["low"] + figure["high"]) / 2 - figure["value"])
    assert covered >= 52  # of 60: 0.95 gives fewer in one of 200 cases
    assert abs(np.mean(shifts)) < 0.01


def test_an_interval_moves_to_no_class_that_happens_to_have_many_pictures():
    kinds = np.repeat(np.arange(20), [1] * 10 + [100] * 10)
    hits = kinds >= 10  # the rare half is always wrong
    figure = mean_per_class(hits, kinds, 20, bootstrap=400)["mean"]
    assert figure["value"] == 0.5
    assert figure["low"] + figure["high"] == pytest.approx(1.0)
    # None of the classes came out two ways, so it is Wilson's of a variance of zero, with one
    # query a class as the rare ones have.
    assert figure["high"] == pytest.approx(wilson_interval(0.5, 20, 0.0)[1])
