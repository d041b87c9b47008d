"""Before and after on general data: whether fine-tuning has cost what the model knew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.evaluation.figures import Line, is_result
from helip.evaluation.statistics.forgetting import forgetting, roles
from helip.reporting.html import Html, join, markup
from helip.reporting.metrics import difference_cell, value_cell

_KEYS = ("start", "control", "tuned")
_CHANGES = ("change", "control_change", "against_control")


def guard_section(guard: Mapping[str, Any]) -> Html:
    """A verdict and a table for each general set, ``{set: {name: result}}``."""
    if not guard:
        raise InvalidArgumentError("guard is empty; give set -> name -> result, or leave it out")
    for title, results in guard.items():
        if not isinstance(results, Mapping) or not all(map(is_result, results.values())):
            raise InvalidArgumentError(
                f"guard[{title!r}] is no mapping of start, control and a third name to results of "
                "evaluate()"
            )
    return markup(
        '<section id="guard"><h2>Forgetting guard</h2><p class="lead">General data, which the '
        "models were not tuned on: the model that training began from, the control after as many "
        "steps without hard pairs, and the model with them.</p>{blocks}</section>",
        blocks=join(_block(title, results) for title, results in guard.items()),
    )


def _block(title: str, results: Mapping[str, Mapping[str, Any]]) -> Html:
    start, control, tuned = roles(results)
    said = forgetting(results[start], results[control], results[tuned], name=tuned)
    columns = (start, control, tuned, f"{tuned} − {start}", f"{control} − {start}")
    head = join(
        (
            markup('<th scope="col">{name}</th>', name=name)
            for name in (*columns, f"{tuned} − {control}", "verdict")
        ),
        "",
    )
    return markup(
        '<h3>{title}</h3><p class="verdict">{words}</p>'
        '<div class="scroll" role="region" aria-label="{title}" tabindex="0">'
        '<table class="metrics"><caption>{title} <small>{n} queries</small></caption>'
        '<thead><tr><th scope="col"><span class="unseen">figure</span></th>{head}</tr></thead>'
        "<tbody>{rows}</tbody></table></div>"
        '<p class="note">In percent, with 95&nbsp;% intervals; differences are paired. Lost: the '
        "interval of the change lies below zero. Kept: it rules out a loss of more than {t} points."
        "</p>",
        title=title,
        words=said["words"],
        n=f"{said['figures'][0]['change']['n']:,}",
        head=head,
        rows=join(_row(figure) for figure in said["figures"]),
        t=f"{100 * said['tolerance']:g}",
    )


def _row(figure: Mapping[str, Any]) -> Html:
    line = Line(tuple(figure["path"]), figure["figure"])
    cells = [value_cell(figure[key], line) for key in _KEYS]
    cells += [difference_cell(figure[key], line) for key in _CHANGES]
    return markup(
        '<tr><th scope="row">{name}</th>{cells}<td>{verdict}</td></tr>',
        name=figure["figure"],
        cells=join(cells, ""),
        verdict=figure["verdict"],
    )
