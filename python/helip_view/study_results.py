"""What the answers of a study say: rates by kind and pair of kinds, and how far people agree."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from helip.evaluation import intervals, trials_of, wilson_interval
from helip_view.agreement import agreement_of
from helip_view.options import KINDS, TYPES
from helip_view.questions import CAPTION_ANSWERS, SAME, Answer, Question

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
