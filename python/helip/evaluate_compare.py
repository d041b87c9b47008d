"""Paired differences between two evaluations of the same queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from helip.errors import InvalidArgumentError, MismatchError
from helip.evaluate_intervals import Figure, Ints, Statistic, intervals, rank_statistic
from helip.evaluate_retrieval import DIRECTIONS, KS, RANK_FIGURES
from helip.evaluate_zero_shot import zero_shot_statistic

__all__ = ["compare"]


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
    for task in ("retrieval", "zero_shot"):
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
        result[task] = (
            _compare_retrieval(left["per_query"], right["per_query"], bootstrap, seed)
            if task == "retrieval"
            else _compare_zero_shot(left, right, bootstrap, seed)
        )
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
        ranks = [_ints(side[direction]["ranks"]) for side in (a, b)]
        groups = a[direction]["groups"]
        figures = _differences(
            (rank_statistic(ranks[0], KS), rank_statistic(ranks[1], KS)),
            [len(ranks[0])] * len(RANK_FIGURES),
            None if groups is None else _ints(groups),
            bootstrap,
            seed,
        )
        result[direction] = dict(zip(RANK_FIGURES, figures, strict=True))
    return result


def _compare_zero_shot(
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


def _outcomes(task: Mapping[str, Any]) -> Sequence[int]:
    outcomes = task["per_query"]
    ranks: Sequence[int] = (outcomes if "ranks" in outcomes else outcomes[DIRECTIONS[0]])["ranks"]
    return ranks


def _ints(values: Sequence[int]) -> Ints:
    return np.asarray(values, dtype=np.int64)
