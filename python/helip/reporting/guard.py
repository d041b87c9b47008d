"""Before and after on general data: whether fine-tuning has cost what the model knew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.evaluation.figures import Line, is_result
from helip.evaluation.statistics.forgetting import CHANGES, ROLES, forgetting, roles
from helip.reporting.metrics import Cell, difference_cell, value_cell


def verdicts(guard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A verdict and a table for each general set, ``{set: {name: result}}``."""
    if not guard:
        raise InvalidArgumentError("guard is empty; give set -> name -> result, or leave it out")
    for title, results in guard.items():
        if not isinstance(results, Mapping) or not all(map(is_result, results.values())):
            raise InvalidArgumentError(
                f"guard[{title!r}] is no mapping of start, control and a third name to results of "
                "evaluate()"
            )
    return [_verdict(title, results) for title, results in guard.items()]


def _verdict(title: str, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    start, control, tuned = roles(results)
    said = forgetting(results[start], results[control], results[tuned], name=tuned)
    changes = (f"{tuned} − {start}", f"{control} − {start}", f"{tuned} − {control}")
    return {
        "title": title,
        "words": said["words"],
        "queries": said["figures"][0]["change"]["n"],
        "columns": (start, control, tuned, *changes, "verdict"),
        "rows": [
            {"name": figure["figure"], "cells": _cells(figure), "verdict": figure["verdict"]}
            for figure in said["figures"]
        ],
        "tolerance": f"{100 * said['tolerance']:g}",
    }


def _cells(figure: Mapping[str, Any]) -> list[Cell | None]:
    line = Line(tuple(figure["path"]), figure["figure"])
    return [
        *(value_cell(figure[key], line) for key in ROLES),
        *(difference_cell(figure[key], line) for key in CHANGES),
    ]
