"""Paired differences between two evaluations of the same queries."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.evaluation.figures import TASKS
from helip.evaluation.statistics.intervals import (
    Ints,
    Outcomes,
    drawn_from,
    joint_bounds,
    number_or_none,
    rank_outcomes,
)
from helip.evaluation.tasks.choice import choice_outcomes
from helip.evaluation.tasks.composition import composition_outcomes
from helip.evaluation.tasks.retrieval import DIRECTIONS
from helip.evaluation.tasks.zero_shot import class_outcomes

_SEEDS_OF_A_SET = 101  # more than a set has tasks


def compare(
    a: Mapping[str, Any], b: Mapping[str, Any], *, bootstrap: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Paired differences ``a - b`` of two results of :func:`evaluate` with ``keep_ranks=True``.

    Both are resampled with the same draws, so what makes a query easy or hard for either cancels:
    the intervals are much tighter than those of two separate results. Positive: ``a`` is larger.
    Returns the figures in the places where ``evaluate`` has them. Raises MismatchError when the
    two did not answer the same queries.
    """
    result: dict[str, Any] = {}
    for task, outcomes in _differences(a, b):
        result.setdefault(task, {}).update(outcomes.figures(bootstrap=bootstrap, seed=seed))
        result[task].pop("per_class", None)
    return result


def compare_jointly(
    sets: Sequence[tuple[Mapping[str, Any], Mapping[str, Any], Sequence[Sequence[str]]]],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> list[list[dict[str, Any]]]:
    """Of several data sets, (a, b, paths) each, the differences ``a - b`` of the figures at
    ``paths``, (task, …, figure), in their order.

    Their intervals hold together: in 95 % of samples each contains its true difference. Sets and
    tasks are resampled each for itself, which makes the intervals wider than they need be, never
    narrower. Of fewer than six queries a figure that is no mean has no interval.
    """
    chosen = [
        each
        for number, (a, b, paths) in enumerate(sets)
        for each in _resampled(a, b, paths, bootstrap, seed + _SEEDS_OF_A_SET * number)
    ]
    values, columns, sizes, trials, drawn = zip(*chosen, strict=True)
    low, high = joint_bounds(np.array(values), np.stack(columns, axis=1), trials, drawn)
    figures = iter(
        [
            {"value": value, "low": number_or_none(lo), "high": number_or_none(hi), "n": int(size)}
            for value, size, lo, hi in zip(values, sizes, low, high, strict=True)
        ]
    )
    return [list(itertools.islice(figures, len(paths))) for _, _, paths in sets]


def _resampled(
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    paths: Sequence[Sequence[str]],
    bootstrap: int,
    seed: int,
) -> list[tuple[float, Any, int, float | None, int]]:
    """(difference, its resamples, queries, independent ones, queries or groups drawn from) of the
    figures at ``paths``."""
    found: dict[tuple[str, ...], tuple[float, Any, int, float | None, int]] = {}
    for number, (task, outcomes) in enumerate(_differences(a, b)):
        # Both directions of retrieval have the same draws, since they are of the same pictures.
        draws = seed if task == "retrieval" else seed + number + 1
        values, table = outcomes.resampled(bootstrap=bootstrap, seed=draws)
        drawn = drawn_from(outcomes.n, outcomes.groups)
        for place, value, *of_figure in zip(
            outcomes.places, values, table.T, outcomes.sizes, outcomes.trials, strict=True
        ):
            found[(task, *place)] = (float(value), *of_figure, drawn)
    return [found[tuple(path)] for path in paths]


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, Outcomes]]:
    """Each task that both have, with paired differences of what its queries came to."""
    both = [task for task in TASKS if task in a and task in b]
    if not both:
        raise InvalidArgumentError(
            "the two results have no task in common; evaluate both with the same tasks"
        )
    for task in both:
        left, right = a[task], b[task]
        for name, side in (("a", left), ("b", right)):
            if "per_query" not in side:
                raise InvalidArgumentError(
                    f"result {name} has no ranks for {task}; evaluate with keep_ranks=True"
                )
        if left.get("queries") != right.get("queries"):
            raise MismatchError(
                f"the two results answer different queries of {task}: {left.get('queries')} and "
                f"{right.get('queries')}; evaluate both on the same rows with the same options"
            )
        for one, two in zip(_OUTCOMES[task](left), _OUTCOMES[task](right), strict=True):
            if one.n != two.n:
                raise MismatchError(
                    f"the two results hold {one.n} and {two.n} queries of {task}; evaluate both on "
                    "the same rows with the same options"
                )
            yield task, one.minus(two)


def as_measured(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """`compare` with as many resamples as ``b`` was measured with."""
    options = b.get("options", {})
    return compare(a, b, bootstrap=options.get("bootstrap", 1000), seed=options.get("seed", 0))


def _retrieval(result: Mapping[str, Any]) -> list[Outcomes]:
    found = ((way, result["per_query"][way]) for way in DIRECTIONS)
    return [rank_outcomes(_ints(q["ranks"]), _groups(q), place=(way,)) for way, q in found]


def _classes(result: Mapping[str, Any]) -> list[Outcomes]:
    queries, names = result["per_query"], [""] * result["classes"]
    return [class_outcomes(_ints(queries["ranks"]), _ints(queries["labels"]), names)]


def _composition(result: Mapping[str, Any]) -> list[Outcomes]:
    queries = result["per_query"]
    right, categories = np.asarray(queries["right"], dtype=np.bool_), _ints(queries["categories"])
    return [composition_outcomes(right, categories, queries["names"], _groups(queries))]


def _choice(result: Mapping[str, Any]) -> list[Outcomes]:
    queries = result["per_query"]
    right, sets = np.asarray(queries["right"], dtype=np.bool_), _ints(queries["sets"])
    return [choice_outcomes(right, sets, queries["names"], _ints(queries["groups"]))]


_OUTCOMES = {
    "retrieval": _retrieval,
    "zero_shot": _classes,
    "linear_probe": _classes,
    "composition": _composition,
    "choice": _choice,
}


def _groups(queries: Mapping[str, Any]) -> Ints | None:
    return None if queries["groups"] is None else _ints(queries["groups"])


def _ints(values: Sequence[int]) -> Ints:
    return np.asarray(values, dtype=np.int64)
