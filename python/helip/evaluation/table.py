"""One table for many checkpoints: text, Markdown and plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.common.quantities import aligned
from helip.evaluation.figures import (
    TASKS,
    Line,
    better_or_worse,
    control_of,
    figure_at,
    groups_of,
    in_percent,
)
from helip.evaluation.model_source import rows_words
from helip.evaluation.statistics.comparison import as_measured

#: data set -> model -> result of ``evaluate``
Results = Mapping[str, Mapping[str, Mapping[str, Any]]]

_NOTE = (
    "In percent, with 95 % bootstrap intervals over queries. A difference is paired; * where its "
    "interval leaves out zero."
)


@dataclass(frozen=True)
class Row:
    """A model, or the paired difference of a model to the baseline."""

    name: str
    figures: tuple[Mapping[str, Any] | None, ...]  # one a column
    difference: bool = False

    def cell(self, figure: Mapping[str, Any] | None, line: Line) -> str:
        """A figure in percent with its interval, such as "48.1 [46.0, 50.2]"."""
        star = "*" if figure and self.difference and better_or_worse(figure, line) != "open" else ""
        return f"{in_percent(figure, signed=self.difference)}{star}" if figure else "–"


@dataclass(frozen=True)
class Table:
    """The headline figures of all models on one data set."""

    title: str
    columns: tuple[Line, ...]
    rows: tuple[Row, ...]
    note: str = ""  # what the figures count as right

    def cells(self) -> list[list[str]]:
        """The head and the rows as strings."""
        head = ["", *(line.short for line in self.columns)]
        return [head, *([row.name, *map(row.cell, row.figures, self.columns)] for row in self.rows)]


def tables(results: Results, *, baseline: str | None = None) -> list[Table]:
    """A table a data set: its models, then what sets each apart from the ``baseline``.

    Without ``baseline`` the model called "control" is it, where there is one. Differences need
    results with ``keep_ranks=True``.
    """
    made = []
    for title, models in results.items():
        against = control_of(models) if baseline is None else baseline
        if against is not None and against not in models:
            raise InvalidArgumentError(
                f"baseline {against!r} has no result on {title!r}; give one of {list(models)}"
            )
        columns = tuple(
            line
            for _, lines in groups_of(models.values())
            for line in lines
            if line.short and any(figure_at(result, line.path) for result in models.values())
        )
        rows = [Row(name, _figures(result, columns)) for name, result in models.items()]
        if against is not None:
            for name, result in models.items():
                if name != against:
                    difference = _figures(_difference(result, models[against]), columns)
                    rows.append(Row(f"{name} − {against}", difference, difference=True))
        made.append(Table(title, columns, tuple(rows), _note(models)))
    return made


def _note(models: Mapping[str, Mapping[str, Any]]) -> str:
    """What counts as right, what prompts were made of, and what models were trained on; each
    once."""
    results = list(models.values())
    said = [
        *(_retrieval_rule(result["retrieval"]) for result in results if "retrieval" in result),
        *(_prompts(result["zero_shot"]) for result in results if "zero_shot" in result),
        rows_words(models),
    ]
    return " ".join(filter(None, dict.fromkeys(said)))


def _retrieval_rule(task: Mapping[str, Any]) -> str:
    if task.get("duplicates") is None:
        return ""
    count = task.get("equal_captions", 0)
    equal = "no captions are equal" if not count else f"{count:,} captions equal another one"
    right = (
        "each caption asks for its own picture alone, as in the literature"
        if task["duplicates"] == "strict"
        else "every picture with an equal caption is right"
    )
    return f"Retrieval: {right} ({equal}); {_ties(task)}."


def _prompts(task: Mapping[str, Any]) -> str:
    templates, name = task.get("templates"), task.get("template_set")
    if templates is None or name is None:
        return ""
    of = {"default": "helip's default, no set of the literature", "own": "given, or the data's own"}
    return f"Zero-shot: {len(templates)} prompts a class ({of.get(name, name)}); {_ties(task)}."


def _ties(task: Mapping[str, Any]) -> str:
    return f"equal scores count {task.get('ties', 'against')} the model"


def tables_as_text(made: Sequence[Table]) -> str:
    """Aligned columns for a terminal."""
    parts = []
    for table in made:
        parts += [table.title, aligned(table.cells()), *filter(None, [table.note]), ""]
    return "\n".join([*parts, _NOTE])


def tables_as_markdown(made: Sequence[Table]) -> str:
    """Tables of Markdown."""
    parts = []
    for table in made:
        head, *body = ([_escaped(cell) for cell in row] for row in table.cells())
        parts += [f"### {_escaped(table.title)}", "", _bars(head), _bars(["---"] * len(head))]
        parts += [*(_bars(row) for row in body), "", *([table.note, ""] if table.note else [])]
    return "\n".join([*parts, _NOTE.replace("*", "\\*")])


def tables_as_data(made: Sequence[Table]) -> list[dict[str, Any]]:
    """The same as plain JSON types."""
    return [
        {
            "data": table.title,
            "note": table.note,
            "rows": [
                {
                    "model": row.name,
                    "difference": row.difference,
                    "figures": {
                        line.short: dict(figure)
                        for line, figure in zip(table.columns, row.figures, strict=True)
                        if figure
                    },
                }
                for row in table.rows
            ],
        }
        for table in made
    ]


def _figures(
    result: Mapping[str, Any], columns: Sequence[Line]
) -> tuple[Mapping[str, Any] | None, ...]:
    return tuple(figure_at(result, line.path) for line in columns)


def _difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    shared = [task for task in TASKS if all("per_query" in (r.get(task) or ()) for r in (a, b))]
    a, b = ({task: r[task] for task in shared} | {"options": r.get("options", {})} for r in (a, b))
    return as_measured(a, b) if shared else {}


def _escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("\n", " ")


def _bars(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
