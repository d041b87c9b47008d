"""Paired differences between two evaluations of the same queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.evaluation.figures import TASKS
from helip.evaluation.statistics.intervals import Figure, Ints, Statistic, intervals, rank_statistic
from helip.evaluation.tasks.composition import SCORES, composition_statistic
from helip.evaluation.tasks.retrieval import DIRECTIONS, KS, RANK_FIGURES
from helip.evaluation.tasks.zero_shot import zero_shot_statistic


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
        if len(_outcomes(left)) != len(_outcomes(right)):
            raise MismatchError(
                f"the two results hold {len(_outcomes(left))} and {len(_outcomes(right))} queries "
                f"of {task}; evaluate both on the same rows with the same options"
            )
        result[task] = _COMPARE[task](left, right, bootstrap, seed)
    if not result:
        raise InvalidArgumentError(
            "the two results have no task in common; evaluate both with the same tasks"
        )
    return result


def _compare_retrieval(
    a: Mapping[str, Any], b: Mapping[str, Any], bootstrap: int, seed: int
) -> dict[str, Any]:
    result = {}
    for direction in DIRECTIONS:
        ranks = [_ints(side["per_query"][direction]["ranks"]) for side in (a, b)]
        groups = a["per_query"][direction]["groups"]
        figures = _differences(
            (rank_statistic(ranks[0], KS), rank_statistic(ranks[1], KS)),
            [len(ranks[0])] * len(RANK_FIGURES),
            None if groups is None else _ints(groups),
            bootstrap,
            seed,
        )
        result[direction] = dict(zip(RANK_FIGURES, figures, strict=True))
    return result


def _compare_classes(
    a: Mapping[str, Any], b: Mapping[str, Any], bootstrap: int, seed: int
) -> dict[str, Any]:
    labels = _ints(a["per_query"]["labels"])
    classes = a["classes"]
    figures = _differences(
        (
            zero_shot_statistic(_ints(a["per_query"]["ranks"]), labels, classes),
            zero_shot_statistic(_ints(b["per_query"]["ranks"]), labels, classes),
        ),
        [len(labels)] * (3 + len(a["per_class"])),
        None,
        bootstrap,
        seed,
    )
    return dict(zip(("top1", "top5", "mean_per_class"), figures, strict=False))


def _compare_composition(
    a: Mapping[str, Any], b: Mapping[str, Any], bootstrap: int, seed: int
) -> dict[str, Any]:
    right = [np.asarray(side["per_query"]["right"], dtype=np.bool_) for side in (a, b)]
    categories = _ints(a["per_query"]["categories"])
    groups = a["per_query"]["groups"]
    sizes = np.bincount(categories).tolist()
    scores = SCORES[: len(right[0])]
    figures = _differences(
        (
            composition_statistic(right[0], categories),
            composition_statistic(right[1], categories),
        ),
        [len(categories)] * (len(scores) + 1) + sizes,
        None if groups is None else _ints(groups),
        bootstrap,
        seed,
    )
    result: dict[str, Any] = dict(
        zip((*scores, "mean_per_category"), figures[: len(scores) + 1], strict=True)
    )
    result["categories"] = {
        name: {"text_score": figure}
        for name, figure in zip(a["per_query"]["names"], figures[len(scores) + 1 :], strict=True)
    }
    return result


_COMPARE = {
    "retrieval": _compare_retrieval,
    "zero_shot": _compare_classes,
    "linear_probe": _compare_classes,
    "composition": _compare_composition,
}


def _differences(
    pair: tuple[Statistic, Statistic],
    sizes: list[int],
    groups: Ints | None,
    bootstrap: int,
    seed: int,
) -> list[Figure]:
    return intervals(
        lambda weights: pair[0](weights) - pair[1](weights),
        sizes,
        n=sizes[0],
        groups=groups,
        bootstrap=bootstrap,
        seed=seed,
    )


def _outcomes(task: Mapping[str, Any]) -> Sequence[Any]:
    """What each query came to; one list of them where there are several."""
    outcomes: Any = task["per_query"]
    if DIRECTIONS[0] in outcomes:
        outcomes = outcomes[DIRECTIONS[0]]
    found: Sequence[Any] = outcomes["right"][0] if "right" in outcomes else outcomes["ranks"]
    return found


def _ints(values: Sequence[int]) -> Ints:
    return np.asarray(values, dtype=np.int64)
