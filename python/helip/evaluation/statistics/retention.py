"""What a tuned model has lost of its start model, on several sets, as one joint statement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.evaluation.figures import figure_at, in_percent
from helip.evaluation.statistics.comparison import compare_sets_jointly
from helip.evaluation.statistics.forgetting import (
    TOLERANCE,
    check_tolerance,
    draws_of,
    head_of,
    headlines,
    verdict_of,
    worst,
)


def retention(
    start: Mapping[str, Mapping[str, Any]],
    tuned: Mapping[str, Mapping[str, Any]],
    *,
    name: str = "the tuned model",
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """Judge ``{set: result of evaluate(keep_ranks=True)}`` of two models, without a control.

    As `forgetting` does, but for the control: each headline figure of each set has ``start``,
    ``tuned``, their paired difference ``change`` and a ``verdict``. The intervals of all figures of
    all sets hold together at 95 % (max-T), so that some loss is stated of a model that lost nothing
    in less than 5 % of samples. Raises InvalidArgumentError where the sets are not the same, and
    MismatchError where the results of one answer different queries.
    """
    check_tolerance(tolerance)
    if not tuned or list(start) != list(tuned):
        raise InvalidArgumentError(
            f"the start was measured on {list(start)} and the tuned model on {list(tuned)}; "
            "measure both on the same sets"
        )
    lines = {title: headlines(result) for title, result in tuned.items()}
    changes = compare_sets_jointly(
        [(tuned[t], start[t], [line.path for line in lines[t]]) for t in tuned],
        **draws_of(next(iter(tuned.values()))),
    )
    sets: dict[str, Any] = {}
    for title, of_set in zip(tuned, changes, strict=True):
        figures: list[dict[str, Any]] = []
        for line, change in zip(lines[title], of_set, strict=True):
            before = figure_at(start[title], line.path)
            figures.append(
                {
                    "figure": line.short,
                    "path": list(line.path),
                    "start": before,
                    "tuned": figure_at(tuned[title], line.path),
                    "change": change,
                    "verdict": verdict_of(change, before, tolerance),
                }
            )
        sets[title] = {"verdict": worst(f["verdict"] for f in figures), "figures": figures}
    overall = worst(each["verdict"] for each in sets.values())
    sentences = [
        f"{title}, {figure['figure']}: {_level(figure['start'])} % at the start, "
        f"{_level(figure['tuned'])} % now, {in_percent(figure['change'], signed=True)} points, "
        f"{figure['verdict']}."
        for title, each in sets.items()
        for figure in each["figures"]
    ]
    words = " ".join([head_of(name, overall, tolerance), *sentences])
    return {"verdict": overall, "tolerance": tolerance, "words": words, "sets": sets}


def _level(figure: Mapping[str, Any] | None) -> str:
    return "?" if figure is None else f"{100 * figure['value']:.1f}"
