"""Paired differences between two evaluations of the same queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.evaluation.figures import TASKS
from helip.evaluation.statistics.intervals import Ints
from helip.evaluation.statistics.outcomes import Outcomes, rank_outcomes
from helip.evaluation.tasks.composition import composition_outcomes
from helip.evaluation.tasks.retrieval import DIRECTIONS
from helip.evaluation.tasks.zero_shot import class_outcomes


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
    for task in TASKS:
        if task not in a or task not in b:
            continue
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
        result[task] = {}
        for one, two in zip(_OUTCOMES[task](left), _OUTCOMES[task](right), strict=True):
            if one.n != two.n:
                raise MismatchError(
                    f"the two results hold {one.n} and {two.n} queries of {task}; evaluate both on "
                    "the same rows with the same options"
                )
            result[task] |= one.minus(two).figures(bootstrap=bootstrap, seed=seed)
        result[task].pop("per_class", None)
    if not result:
        raise InvalidArgumentError(
            "the two results have no task in common; evaluate both with the same tasks"
        )
    return result


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


_OUTCOMES = {
    "retrieval": _retrieval,
    "zero_shot": _classes,
    "linear_probe": _classes,
    "composition": _composition,
}


def _groups(queries: Mapping[str, Any]) -> Ints | None:
    return None if queries["groups"] is None else _ints(queries["groups"])


def _ints(values: Sequence[int]) -> Ints:
    return np.asarray(values, dtype=np.int64)
