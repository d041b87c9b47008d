"""How far people agree: Cohen's κ of two, Fleiss' κ of more."""

from __future__ import annotations

import itertools
import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from helip.common.errors import needed
from helip.evaluation import intervals, wilson_interval
from helip_view.questions import Answer

Floats = npt.NDArray[np.float64]


def agreement_of(answers: Sequence[Answer], bootstrap: int, seed: int) -> dict[str, Any]:
    """Agreement of all who answered, over the questions that all of them answered.

    ``method`` is ``cohen`` of two people and ``fleiss`` of more; ``value`` with ``low`` and
    ``high`` is κ with the 95 % interval of a bootstrap over questions, never narrower than Wilson's
    of ``share``; None where all answers are the same, for then nothing says what chance would do;
    ``share`` of answers in pairs of people that are the same. Of three people or more ``pairs`` has
    Cohen's κ of each two. ``method`` is None where fewer than two people answered.

    UnsupportedError for two people or more without scikit-learn.
    """
    by_person: dict[str, dict[int, str]] = defaultdict(dict)
    for each in answers:
        by_person[each.person][each.question] = each.answer
    people = sorted(by_person)
    found: dict[str, Any] = {"people": people, "method": None}
    if len(people) < 2:
        return found
    common = sorted(set.intersection(*(set(given) for given in by_person.values())))
    said = [[by_person[person][question] for question in common] for person in people]
    found |= {"method": "cohen" if len(people) == 2 else "fleiss", "questions": len(common)}
    if not common:
        found |= {"value": None, "low": None, "high": None, "share": None}
    else:
        kappa = cohens_kappa(*said) if len(people) == 2 else _fleiss(said)
        (figure,) = intervals(
            lambda weights: np.array([kappa(weights)]), [len(common)], [None], n=len(common),
            groups=None, bootstrap=bootstrap, seed=seed,
        )  # fmt: skip
        del figure["n"]
        share = _share(said)
        if bootstrap and figure["value"] is not None:
            chance = _chance(said)
            ends = [(end - chance) / (1 - chance) for end in wilson_interval(share, len(common))]
            known = [end for end in (figure["low"], figure["high"]) if end is not None]
            figure |= {"low": max(-1.0, min(ends + known)), "high": max(ends + known)}
        found |= {**figure, "share": share}
    if len(people) > 2:
        found["pairs"] = [_pair(by_person, *two) for two in itertools.combinations(people, 2)]
    return found


def cohens_kappa(one: Sequence[str], other: Sequence[str]) -> Callable[[Floats], float]:
    """Cohen's κ of two people's answers as a function of the weights of the questions, NaN where it
    is not defined. J. Cohen, A coefficient of agreement for nominal scales, Educational and
    Psychological Measurement 20, 1960; by scikit-learn."""
    with needed("Cohen's kappa is scikit-learn's", "'helip[view]'"):
        from sklearn.metrics import cohen_kappa_score

    def kappa(weights: Floats) -> float:
        if not one:
            return math.nan
        with warnings.catch_warnings():  # of one label alone, which gives NaN
            warnings.simplefilter("ignore")
            return float(cohen_kappa_score(one, other, sample_weight=weights))

    return kappa


def fleiss_kappa(counts: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Fleiss' κ of counts [questions, answers]: how many of always as many people gave which.

    ``weights`` [questions]: how often each question counts. NaN where all gave one answer. J. L.
    Fleiss, Measuring nominal scale agreement among many raters, Psychological Bulletin 76, 1971.
    """
    table = np.asarray(counts, dtype=np.float64)
    people = table[0].sum()
    weight = np.ones(len(table)) if weights is None else np.asarray(weights, dtype=np.float64)
    agreed = (table * (table - 1)).sum(axis=1) / (people * (people - 1))
    observed = weight @ agreed / weight.sum()
    shares = weight @ table / (weight.sum() * people)
    chance = float(shares @ shares)
    return math.nan if chance >= 1.0 else float((observed - chance) / (1.0 - chance))


def _fleiss(said: Sequence[Sequence[str]]) -> Callable[[Floats], float]:
    counts = _counts(said)
    return lambda weights: fleiss_kappa(counts, weights)


def _counts(said: Sequence[Sequence[str]]) -> Floats:
    """[questions, answers] of [people][questions]."""
    names = sorted({answer for given in said for answer in given})
    return np.array(
        [[column.count(name) for name in names] for column in zip(*said, strict=True)], np.float64
    )


def _share(said: Sequence[Sequence[str]]) -> float:
    table, people = _counts(said), len(said)
    return float((table * (table - 1)).sum() / (len(table) * people * (people - 1)))


def _chance(said: Sequence[Sequence[str]]) -> float:
    """The share that would be the same if nobody looked: of two by the answers of each (Cohen), of
    more by those of all (Fleiss)."""
    names = sorted({answer for given in said for answer in given})
    shares = np.array([[given.count(name) / len(given) for name in names] for given in said])
    return float(shares[0] @ shares[1] if len(said) == 2 else (shares.mean(axis=0) ** 2).sum())


def _pair(by_person: Any, one: str, other: str) -> dict[str, Any]:
    common = sorted(by_person[one].keys() & by_person[other].keys())
    said = [[by_person[person][question] for question in common] for person in (one, other)]
    value = cohens_kappa(*said)(np.ones(len(common)))
    return {
        "people": [one, other],
        "value": None if math.isnan(value) else value,
        "questions": len(common),
    }
