"""Before and after: evaluation results side by side, and what general data lost, with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.text import number
from helip.evaluation.figures import (
    Line,
    baseline_of,
    better_or_worse,
    figure_at,
    figures_of,
    groups_of,
    is_result,
    placed,
)
from helip.evaluation.model_source import rows_words
from helip.evaluation.statistics.comparison import as_measured
from helip.evaluation.statistics.forgetting import CHANGES, ROLES, forgetting, roles

Results = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Cell:
    """A figure of a table as it is shown."""

    value: str
    interval: str
    judgement: str = ""  # of a difference: "better", "worse" or "open"


def comparisons(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tables of ``{name: result}``, or of ``{set: {name: result}}``, with a summary in words."""
    if not metrics:
        raise InvalidArgumentError("metrics is empty; give name -> result, or leave it out")
    sets = _sets(metrics)
    for name, results in sets.items():
        if not isinstance(results, Mapping) or not all(is_result(r) for r in results.values()):
            raise InvalidArgumentError(
                f"metrics[{name!r}] is no result of evaluate() and no mapping of names to results"
            )
    return [_comparison(name, results) for name, results in sets.items() if results]


def result_names(metrics: Mapping[str, Any]) -> list[str]:
    """The names of results in order, those of all sets together."""
    return list(dict.fromkeys(name for results in _sets(metrics).values() for name in results))


def _sets(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"": metrics} if all(is_result(value) for value in metrics.values()) else metrics


def _comparison(title: str, results: Results) -> dict[str, Any]:
    names = list(results)
    baseline = baseline_of(names)
    others = [name for name in names if name != baseline]
    # Where training started is no rival of the control.
    rivals = [name for name in others if name.lower() not in ("start", "before")] or others
    differences = {name: _difference(results[name], results[baseline]) for name in rivals}
    groups = groups_of(results.values())
    return {
        "title": title,
        "baseline": baseline,
        "columns": [*names, *(f"{name} − {baseline}" for name in rivals)],
        "legend": [(f"series{place % 5}", name) for place, name in enumerate(names)],
        "trained": rows_words(results),
        "verdicts": [v for name, d in differences.items() if (v := _verdict(name, d))],
        "tables": [
            {
                "heading": heading,
                "rows": rows,
                "queries": next(row["dots"] or row["figures"] for row in rows)[0]["n"],
            }
            for heading, lines in groups
            if (rows := list(_rows(lines, results, list(differences.values()))))
        ],
    }


def _rows(
    lines: Sequence[Line], results: Results, differences: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    for line in lines:
        figures = [figure_at(result, line.path) for result in results.values()]
        shown = [figure for figure in figures if figure]
        if shown:
            cells = [value_cell(figure, line) for figure in figures]
            cells += [difference_cell(figure_at(d, line.path), line) for d in differences]
            dots = shown if line.percent else []
            yield {"name": line.name, "cells": cells, "figures": shown, "dots": dots}


def value_cell(figure: Mapping[str, Any] | None, line: Line) -> Cell | None:
    """A figure with its interval."""
    if not figure:
        return None
    known = figure.get("low") is not None
    interval = f"{_shown(figure['low'], line)}–{_shown(figure['high'], line)}" if known else ""
    return Cell(_shown(figure["value"], line), interval)


def difference_cell(figure: Mapping[str, Any] | None, line: Line) -> Cell | None:
    """A paired difference, coloured where its interval leaves out zero."""
    if not figure:
        return None
    interval = "no interval"
    if figure.get("low") is not None:
        interval = f"{_signed(figure['low'], line)} to {_signed(figure['high'], line)}"
    return Cell(_signed(figure["value"], line), interval, better_or_worse(figure, line))


def _verdict(name: str, difference: Mapping[str, Any]) -> dict[str, Any] | None:
    """In how many of the figures that have an interval a model is better."""
    found = [(line, figure) for line, figure in figures_of(difference)]
    judged = [
        better_or_worse(figure, line) for line, figure in found if figure.get("low") is not None
    ]
    if found and not judged:
        return {"name": name, "figures": 0}
    better, worse = judged.count("better"), judged.count("worse")
    undecided = len(judged) - better - worse
    counts = {"figures": len(judged), "better": better, "worse": worse, "undecided": undecided}
    return {"name": name, **counts} if judged else None


def _difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Paired differences where ranks were kept, else plain ones without an interval."""
    try:
        return as_measured(a, b)
    except (InvalidArgumentError, MismatchError):
        both = [(line, one, two) for line, one in figures_of(a) if (two := figure_at(b, line.path))]
        plain = [{"value": one["value"] - two["value"]} for _, one, two in both]
        return placed([line.path for line, _, _ in both], plain)


def _shown(value: float, line: Line) -> str:
    return f"{100 * value:.1f}" if line.percent else number(value)


def _signed(value: float, line: Line) -> str:
    text = _shown(abs(value), line)
    if float(text.replace(",", "")) == 0:
        return text
    return f"+{text}" if value > 0 else f"−{text}"


def forgotten(guard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A verdict and a table for each general set, ``{set: {name: result}}``."""
    if not guard:
        raise InvalidArgumentError("guard is empty; give set -> name -> result, or leave it out")
    for title, results in guard.items():
        if not isinstance(results, Mapping) or not all(map(is_result, results.values())):
            raise InvalidArgumentError(
                f"guard[{title!r}] is no mapping of start, control and a third name to results of "
                "evaluate()"
            )
    return [_forgotten(title, results) for title, results in guard.items()]


def _forgotten(title: str, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    start, control, tuned = roles(results)
    said = forgetting(results[start], results[control], results[tuned], name=tuned)
    changes = (f"{tuned} − {start}", f"{control} − {start}", f"{tuned} − {control}")
    return {
        "title": title,
        "words": said["words"],
        "queries": said["figures"][0]["change"]["n"],
        "columns": (start, control, tuned, *changes, "verdict"),
        "rows": [
            {"name": figure["figure"], "cells": _guard_cells(figure), "verdict": figure["verdict"]}
            for figure in said["figures"]
        ],
        "tolerance": f"{100 * said['tolerance']:g}",
    }


def _guard_cells(figure: Mapping[str, Any]) -> list[Cell | None]:
    line = Line(tuple(figure["path"]), figure["figure"])
    return [
        *(value_cell(figure[key], line) for key in ROLES),
        *(difference_cell(figure[key], line) for key in CHANGES),
    ]
