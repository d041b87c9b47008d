"""What a study found: false negatives by kind of pool, and which pools are harder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError
from helip.reporting.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, label, new_figure, note

#: How kinds of pools are called, as the report of a table calls them.
NAMES = {"product": "HPM", "image": "image only", "text": "text only", "random": "random"}
_COLOURS = {"product": GREEN, "image": ORANGE, "text": PURPLE, "random": GREY}


def plot_study(results: Mapping[str, Any]) -> Any:
    """Rates of a study with 95 % intervals: captions that are also right, by kind of pool, and how
    often the first of two pools was said to be harder.

    ``results``: what `Study.results` gives. Returns a ``matplotlib.figure.Figure``.

    Raises InvalidArgumentError where nothing is answered, UnsupportedError without matplotlib.
    """
    if not results["people"]:
        raise InvalidArgumentError(
            "the study has 0 answers, must have one at least; ask it: helip view --study"
        )
    pairs, kinds = results["pairs"], list(results["caption"])
    figure, (left, right) = new_figure(10, 1.6 + 0.42 * max(len(pairs), len(kinds)), columns=2)
    _draw(left, [(NAMES[k], results["caption"][k], _COLOURS[k]) for k in kinds], middle=False)
    label(left, "The caption of a hard pair is also right", "share of captions (95 % interval)", "")
    _draw(right, [(_against(each["kinds"]), each, BLUE) for each in pairs], middle=True)
    right.axvline(0.5, color=GREY, linewidth=1)
    words = "share of comparisons that the first wins (95 % interval)"
    label(right, "Which pool is harder", words, "")
    people = len(results["people"])
    told = "1 person or rule" if people == 1 else f"{people:,} people or rules"
    note(figure, f"{results['study']['cards']:,} questions, {told}; hollow: the interval holds ½")
    return figure


def _against(kinds: Sequence[str]) -> str:
    return " against ".join(NAMES[kind] for kind in kinds)


def _draw(axes: Any, rows: Sequence[tuple[str, Mapping[str, Any], str]], *, middle: bool) -> None:
    """``middle``: whether a half says that nothing is told apart."""
    for place, (_, found, colour) in enumerate(rows):
        if found["value"] is None:
            axes.text(0.5, place, "no answer", ha="center", va="center", fontsize=9, color=GREY)
            continue
        low, value, high = (
            found["value"] if found[name] is None else found[name]
            for name in ("low", "value", "high")
        )
        axes.errorbar(
            value, place, xerr=np.array([[max(value - low, 0)], [max(high - value, 0)]]),
            color=colour, marker="o", markersize=6, capsize=3, linewidth=1.6,
            markerfacecolor="white" if middle and low <= 0.5 <= high else colour,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(-0.03, 1.03)
