"""What the answers of a study say: rates by kind and pair of kinds, and how far people agree."""

from __future__ import annotations

import itertools
import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from helip.common.errors import needed
from helip.evaluation import intervals, trials_of, wilson_interval
from helip_view.options import KINDS, TYPES
from helip_view.study_questions import CAPTION_ANSWERS, SAME, Answer, Question

Floats = npt.NDArray[np.float64]
Outcome = tuple[int, float]  # target, value in 0 … 1


def results_of(
    questions: Mapping[int, Question], answers: Sequence[Answer], bootstrap: int, seed: int
) -> dict[str, Any]:
    """Rates and agreement as JSON-able values; None stands where there is no answer.

    Kinds and pairs of kinds are in the order of `KINDS`, people in that of the alphabet.
    """
    asked = {kind for question in questions.values() for kind in question.kinds}
    kinds = [kind for kind in KINDS if kind in asked]
    given = [(questions[each.question], each.answer) for each in answers]
    duels = [duel for question, answer in given for duel in _duels(question, answer)]
    captions = [(q, answer) for q, answer in given if q.type == "caption"]
    drawing = {"bootstrap": bootstrap, "seed": seed}
    return {
        "people": dict(sorted(Counter(each.person for each in answers).items())),
        "caption": {kind: _captions(captions, kind, drawing) for kind in kinds},
        "harder": {kind: _wins(duels, kind, drawing) for kind in kinds},
        "pairs": [
            _pair(duels, one, other, drawing) for one, other in itertools.combinations(kinds, 2)
        ],
        "sides": _sides(given),
        "agreement": {
            each: agreement_of(
                [a for a in answers if questions[a.question].type == each], **drawing
            )
            for each in TYPES
        },
    }


def rate_of(outcomes: Sequence[Outcome], bootstrap: int, seed: int) -> dict[str, Any]:
    """A mean of values in 0 … 1 with its 95 % interval.

    Wilson's where each is 0 or 1 and has a target of its own. Else by a bootstrap over targets:
    Wilson's would be too narrow where some share a target, and too wide where some are a half; but
    never narrower than Wilson's with the variance of the resamples, and one trial a target.
    Where all targets have the same mean, no resample can differ, and it is Wilson's with one trial
    a target. ``interval`` says which. Without resamples low and high of the second are None.
    """
    of_targets: dict[int, list[float]] = {}
    for target, value in outcomes:
        of_targets.setdefault(target, []).append(value)
    n, targets = len(outcomes), len(of_targets)
    found: dict[str, Any] = {"value": None, "low": None, "high": None, "n": n, "targets": targets}
    if n == 0:
        return found | {"interval": None}
    values = np.array([value for _, value in outcomes], dtype=np.float64)
    mean = float(values.mean())
    plain = targets == n and set(values.tolist()) <= {0.0, 1.0}
    same = len({sum(each) / len(each) for each in of_targets.values()}) == 1
    if plain or same:
        low, high = wilson_interval(mean, targets)
        return found | {"value": mean, "low": low, "high": high, "interval": "wilson"}
    groups = np.unique([target for target, _ in outcomes], return_inverse=True)[1]
    (figure,) = intervals(
        lambda weights: np.array([weights @ values / weights.sum()]), [n],
        [trials_of(groups, np.ones(n))], n=n, groups=groups, bootstrap=bootstrap, seed=seed,
    )  # fmt: skip
    return found | {**figure, "interval": "bootstrap over targets" if bootstrap else None}


def _duels(question: Question, answer: str) -> Iterable[tuple[int, str, str, float]]:
    """(target, kind, other kind, what the kind won) of an answer about pools, for both of each two
    that it compares: 1 for the harder one, 0 for the other, 0.5 where they are the same."""
    if question.type != "harder":
        return
    for one, other in itertools.permutations(range(len(question.kinds)), 2):
        kinds = question.kinds[one], question.kinds[other]
        if answer == SAME:
            yield (question.target, *kinds, 0.5)
        elif str(one + 1) == answer:
            yield (question.target, *kinds, 1.0)
        elif str(other + 1) == answer:  # two that were not chosen say nothing of each other
            yield (question.target, *kinds, 0.0)


def _wins(duels: Sequence[Any], kind: str, drawing: Any) -> dict[str, Any]:
    won = [(target, value) for target, one, _, value in duels if one == kind]
    return rate_of(won, **drawing) | _tally(won)


def _pair(duels: Sequence[Any], one: str, other: str, drawing: Any) -> dict[str, Any]:
    won = [(target, value) for target, a, b, value in duels if (a, b) == (one, other)]
    return {"kinds": [one, other]} | rate_of(won, **drawing) | _tally(won)


def _tally(won: Sequence[Outcome]) -> dict[str, int]:
    counts = Counter(value for _, value in won)
    return {"won": counts[1.0], "same": counts[0.5], "lost": counts[0.0]}


def _captions(given: Sequence[tuple[Question, str]], kind: str, drawing: Any) -> dict[str, Any]:
    """The share of yes among yes and no."""
    own = [(question.target, answer) for question, answer in given if question.kinds == (kind,)]
    counts = Counter(answer for _, answer in own)
    decided = [(target, float(answer == "yes")) for target, answer in own if answer != "unsure"]
    return rate_of(decided, **drawing) | {answer: counts[answer] for answer in CAPTION_ANSWERS}


def _sides(given: Sequence[tuple[Question, str]]) -> dict[str, int]:
    """How often each side was said to be harder: far from equal, people prefer a side."""
    counts = Counter(answer for question, answer in given if question.type == "harder")
    return dict(sorted(counts.items()))


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
        share = _share_of_same(said)
        if bootstrap and figure["value"] is not None:
            chance = _chance(said)
            ends = [(end - chance) / (1 - chance) for end in wilson_interval(share, len(common))]
            known = [end for end in (figure["low"], figure["high"]) if end is not None]
            figure |= {"low": max(-1.0, min(ends + known)), "high": max(ends + known)}
        found |= {**figure, "share": share}
    if len(people) > 2:
        found["pairs"] = [_kappa(by_person, *two) for two in itertools.combinations(people, 2)]
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


def _share_of_same(said: Sequence[Sequence[str]]) -> float:
    table, people = _counts(said), len(said)
    return float((table * (table - 1)).sum() / (len(table) * people * (people - 1)))


def _chance(said: Sequence[Sequence[str]]) -> float:
    """The share that would be the same if nobody looked: of two by the answers of each (Cohen), of
    more by those of all (Fleiss)."""
    names = sorted({answer for given in said for answer in given})
    shares = np.array([[given.count(name) / len(given) for name in names] for given in said])
    return float(shares[0] @ shares[1] if len(said) == 2 else (shares.mean(axis=0) ** 2).sum())


def _kappa(by_person: Any, one: str, other: str) -> dict[str, Any]:
    common = sorted(by_person[one].keys() & by_person[other].keys())
    said = [[by_person[person][question] for question in common] for person in (one, other)]
    value = cohens_kappa(*said)(np.ones(len(common)))
    return {
        "people": [one, other],
        "value": None if math.isnan(value) else value,
        "questions": len(common),
    }
