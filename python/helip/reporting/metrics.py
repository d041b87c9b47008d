"""Before and after: evaluation results side by side, with intervals and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.evaluation.figures import Line, figure_at, figures_of, groups_of, is_result, judgement
from helip.evaluation.statistics.comparison import compare
from helip.reporting.charts import interval_plot, number
from helip.reporting.html import Html, join, markup

Results = Mapping[str, Mapping[str, Any]]


def metrics_section(metrics: Mapping[str, Any]) -> Html:
    """Tables of ``{name: result}``, or of ``{set: {name: result}}``, with a summary in words."""
    if not metrics:
        raise InvalidArgumentError("metrics is empty; give name -> result, or leave it out")
    sets = _sets(metrics)
    for name, results in sets.items():
        if not isinstance(results, Mapping) or not all(is_result(r) for r in results.values()):
            raise InvalidArgumentError(
                f"metrics[{name!r}] is no result of evaluate() and no mapping of names to results"
            )
    blocks = join(_block(name, results) for name, results in sets.items() if results)
    return markup(
        '<section id="results"><h2>Before and after</h2>{blocks}</section>', blocks=blocks
    )


def result_names(metrics: Mapping[str, Any]) -> list[str]:
    """The names of results in order, those of all sets together."""
    return list(dict.fromkeys(name for results in _sets(metrics).values() for name in results))


def _sets(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"": metrics} if all(is_result(value) for value in metrics.values()) else metrics


def _block(title: str, results: Results) -> Html:
    names = list(results)
    baseline = next((name for name in names if name.lower() == "control"), names[0])
    others = [name for name in names if name != baseline]
    # Where training started is no rival of the control.
    rivals = [name for name in others if name.lower() not in ("start", "before")] or others
    differences = {name: _difference(results[name], results[baseline]) for name in rivals}
    tables = join(
        _table(heading, lines, results, baseline, differences)
        for heading, lines in groups_of(results.values())
        if any(figure_at(results[name], line.path) for name in names for line in lines)
    )
    keys = join(
        (
            markup('<li><i class="key series{i}"></i>{name}</li>', i=i % 5, name=name)
            for i, name in enumerate(names)
        ),
        "",
    )
    return markup(
        '{title}{verdicts}<ul class="legend">{keys}</ul>{tables}'
        '<p class="note">In percent, except for ranks. Under each figure: its 95&nbsp;% bootstrap '
        "interval. A difference is paired: both models are resampled on the same queries, so its "
        "interval is the one to judge by.</p>",
        title=markup("<h3>{title}</h3>", title=title) if title else Html(),
        verdicts=join(_verdict(n, baseline, d) for n, d in differences.items()),
        keys=keys,
        tables=tables,
    )


def _table(
    heading: str,
    lines: Sequence[Line],
    results: Results,
    baseline: str,
    differences: Mapping[str, Mapping[str, Any]],
) -> Html:
    head = join(
        [
            *(markup('<th scope="col">{name}</th>', name=name) for name in results),
            *(
                markup('<th scope="col">{name} − {baseline}</th>', name=name, baseline=baseline)
                for name in differences
            ),
        ],
        "",
    )
    rows = []
    for line in lines:
        figures = [figure_at(result, line.path) for result in results.values()]
        if not any(figures):
            continue
        cells = [value_cell(figure, line) for figure in figures]
        cells += [difference_cell(figure_at(d, line.path), line) for d in differences.values()]
        shown = [figure for figure in figures if figure]
        plot = interval_plot(shown, 0.0, 1.0) if line.percent else Html()
        rows.append(
            markup(
                '<tr><th scope="row">{name}</th>{cells}<td class="plotcell">{plot}</td></tr>',
                name=line.name,
                cells=join(cells, ""),
                plot=plot,
            )
        )
    n = next(f["n"] for line in lines for r in results.values() if (f := figure_at(r, line.path)))
    return markup(
        '<div class="scroll" role="region" aria-label="{heading}" tabindex="0">'
        '<table class="metrics"><caption>{heading} <small>{n} queries</small></caption>'
        '<thead><tr><th scope="col"><span class="unseen">figure</span></th>{head}'
        '<th scope="col" class="plotcell"><span class="ends"><span>0</span><span>50</span>'
        "<span>100 %</span></span></th></tr></thead><tbody>{rows}</tbody></table></div>",
        heading=heading,
        n=number(n),
        head=head,
        rows=join(rows),
    )


def value_cell(figure: Mapping[str, Any] | None, line: Line) -> Html:
    """A figure with its interval."""
    if not figure:
        return Html("<td>–</td>")
    interval = (
        Html()
        if figure.get("low") is None
        else markup(
            "<small>{low}–{high}</small>",
            low=_shown(figure["low"], line),
            high=_shown(figure["high"], line),
        )
    )
    return markup(
        "<td><b>{value}</b>{interval}</td>", value=_shown(figure["value"], line), interval=interval
    )


def difference_cell(figure: Mapping[str, Any] | None, line: Line) -> Html:
    """A paired difference, coloured where its interval leaves out zero."""
    if not figure:
        return Html("<td>–</td>")
    interval = (
        Html("<small>no interval</small>")
        if figure.get("low") is None
        else markup(
            "<small>{low} to {high}</small>",
            low=_signed(figure["low"], line),
            high=_signed(figure["high"], line),
        )
    )
    return markup(
        '<td class="difference {judgement}"><b>{value}</b>{interval}</td>',
        judgement=judgement(figure, line),
        value=_signed(figure["value"], line),
        interval=interval,
    )


def _verdict(name: str, baseline: str, difference: Mapping[str, Any]) -> Html:
    judged = [
        judgement(figure, line) if figure.get("low") is not None else "unknown"
        for line, figure in figures_of(difference)
    ]
    if not judged:
        return Html()
    if "unknown" in judged:
        return markup(
            '<p class="verdict"><b>{name}</b> and <b>{baseline}</b>: no paired intervals, because '
            "the results were made without their ranks or on different queries.</p>",
            name=name,
            baseline=baseline,
        )
    better, worse = judged.count("better"), judged.count("worse")
    return markup(
        '<p class="verdict"><b>{name}</b> against <b>{baseline}</b>: better in {better}, worse in '
        "{worse} and undecided in {open} of {n} figures at the 95&nbsp;% level.</p>",
        name=name,
        baseline=baseline,
        better=better,
        worse=worse,
        open=len(judged) - better - worse,
        n=len(judged),
    )


def _difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Paired differences where ranks were kept, else plain ones without an interval."""
    options = b.get("options", {})
    try:
        return compare(a, b, bootstrap=options.get("bootstrap", 1000), seed=options.get("seed", 0))
    except (InvalidArgumentError, MismatchError):
        result: dict[str, Any] = {}
        for line, one in figures_of(a):
            if two := figure_at(b, line.path):
                place = result
                for step in line.path[:-1]:
                    place = place.setdefault(step, {})
                place[line.path[-1]] = {"value": one["value"] - two["value"]}
        return result


def _shown(value: float, line: Line) -> str:
    return f"{100 * value:.1f}" if line.percent else number(value)


def _signed(value: float, line: Line) -> str:
    scaled = 100 * value if line.percent else value
    text = f"{abs(scaled):.1f}" if line.percent else number(abs(scaled))
    if float(text.replace(",", "")) == 0:
        return text
    return f"+{text}" if scaled > 0 else f"−{text}"
