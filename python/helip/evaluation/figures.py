"""The figures of an evaluation: where each stands in a result, and how people read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: What a result of ``evaluate`` can hold.
TASKS = ("retrieval", "zero_shot", "linear_probe", "composition", "choice")
RECALLS = (1, 5, 10)
SCORES = ("text_score", "image_score", "group_score")
TEXT_ONLY = "text_only_score"


@dataclass(frozen=True)
class Line:
    """One figure: its place in a result, and how it is shown."""

    path: tuple[str, ...]
    name: str
    percent: bool = True
    lower_is_better: bool = False
    short: str = ""  # its name in a table that has room for the few most important ones


def _retrieval(direction: str, arrow: str) -> tuple[Line, ...]:
    place = ("retrieval", direction)
    return (
        *(
            Line((*place, f"recall@{k}"), f"recall@{k}", short=f"{arrow} R@1" if k == 1 else "")
            for k in RECALLS
        ),
        Line((*place, "mean_reciprocal_rank"), "mean reciprocal rank"),
        Line((*place, "median_rank"), "median rank", percent=False, lower_is_better=True),
    )


def _classification(task: str, short: str) -> tuple[Line, ...]:
    return (
        Line((task, "top1"), "top-1 accuracy", short=f"{short} top-1"),
        Line((task, "top5"), "top-5 accuracy"),
        Line((task, "mean_per_class"), "mean per class", short=f"{short} per class"),
    )


_GROUPS: tuple[tuple[str, tuple[Line, ...]], ...] = (
    ("Image to text", _retrieval("image_to_text", "I→T")),
    ("Text to image", _retrieval("text_to_image", "T→I")),
    ("Zero-shot classification", _classification("zero_shot", "zero-shot")),
    ("Linear probe", _classification("linear_probe", "probe")),
    (
        "Composition",
        (
            *(
                Line(("composition", score), name := score.replace("_", " "), short=name)
                for score in SCORES
            ),
            Line(("composition", TEXT_ONLY), "text-only score", short="text-only score"),
            Line(("composition", "mean_per_category"), "mean per category"),
            Line(
                ("composition", "text_only_mean_per_category"), "mean per category, text-only score"
            ),
        ),
    ),
    (
        "Choice among candidates",
        (
            Line(("choice", "mean_per_set"), "mean per data set", short="P@1"),
            Line(("choice", "precision@1"), "precision@1"),
        ),
    ),
)

# Figures by parts of a set: task, its parts, the figure of a part, heading, short name.
_PARTS = (
    ("composition", "categories", "text_score", "Composition, text score by category", ""),
    ("composition", "categories", TEXT_ONLY, "Composition, text-only score by category", ""),
    ("choice", "groups", "mean_per_set", "Choice, mean per data set by group", "P@1 {}"),
    ("choice", "sets", "precision@1", "Choice, precision@1 by data set", ""),
)


def groups_of(results: Iterable[Mapping[str, Any]]) -> list[tuple[str, tuple[Line, ...]]]:
    """(heading, lines) of all figures that one of ``results`` may have."""
    given, found = list(results), list(_GROUPS)
    for task, part, score, heading, short in _PARTS:
        parts = ((result.get(task) or {}).get(part) or {} for result in given)
        names = dict.fromkeys(name for each in parts for name in each if score in each[name])
        lines = (Line((task, part, name, score), name, short=short.format(name)) for name in names)
        if names:
            found.append((heading, tuple(lines)))
    return found


def figures_of(result: Mapping[str, Any]) -> Iterator[tuple[Line, Mapping[str, Any]]]:
    """The figures that a result has, in the order in which they are shown."""
    for _, lines in groups_of([result]):
        for line in lines:
            if figure := figure_at(result, line.path):
                yield line, figure


def figure_at(result: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any] | None:
    """The figure at a place of a result; None where there is none."""
    value: Any = result
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) and value.get("value") is not None else None


def placed(paths: Iterable[Sequence[str]], figures: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A result that has the figures at these places; the inverse of `figure_at`."""
    result: dict[str, Any] = {}
    for (*way, name), figure in zip(paths, figures, strict=True):
        place = result
        for step in way:
            place = place.setdefault(step, {})
        place[name] = figure
    return result


def in_percent(figure: Mapping[str, Any], *, signed: bool = False) -> str:
    """A share with its interval, such as "−1.2 [−2.0, +0.4]"; without one where it has none."""
    form = "+.1f" if signed else ".1f"
    value, *ends = (
        f"{100 * figure[key]:{form}}".replace("-", "−")
        for key in ("value", "low", "high")
        if figure.get(key) is not None
    )
    return f"{value} [{', '.join(ends)}]" if ends else value


def control_of(names: Iterable[str]) -> str | None:
    """The one called "control", which others are compared with; None where there is none."""
    return next((name for name in names if name.lower() == "control"), None)


def baseline_of(names: Sequence[str]) -> str:
    """What the others are compared with: the control, else the first."""
    return control_of(names) or names[0]


def is_result(value: Any) -> bool:
    """Whether ``value`` is what ``evaluate`` returns."""
    return isinstance(value, Mapping) and any(task in value for task in TASKS)


def better_or_worse(difference: Mapping[str, Any], line: Line) -> str:
    """``better`` or ``worse`` where the interval of a difference leaves out zero, else ``open``."""
    low, high = difference.get("low"), difference.get("high")
    if low is None or high is None or low <= 0 <= high:
        return "open"
    return "better" if (low > 0) != line.lower_is_better else "worse"
