"""Before and after: evaluation results side by side, with intervals and paired differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helip.errors import InvalidArgumentError, MismatchError
from helip.evaluate import compare
from helip.report_charts import interval_plot, number
from helip.report_html import Html, join, markup

__all__ = ["metrics_section", "result_names"]

Results = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Line:
    """One figure of an evaluation: where it is in the result, and how it is shown."""

    path: tuple[str, ...]
    name: str
    percent: bool = True
    lower_is_better: bool = False


GROUPS: tuple[tuple[str, tuple[Line, ...]], ...] = (
    *(
        (
            heading,
            (
                *(Line(("retrieval", key, f"recall@{k}"), f"recall@{k}") for k in (1, 5, 10)),
                Line(("retrieval", key, "mean_reciprocal_rank"), "mean reciprocal rank"),
                Line(("retrieval", key, "median_rank"), "median rank", False, True),
            ),
        )
        for heading, key in (
            ("Image to text", "image_to_text"),
            ("Text to image", "text_to_image"),
        )
    ),
    (
        "Zero-shot classification",
        (
            Line(("zero_shot", "top1"), "top-1 accuracy"),
            Line(("zero_shot", "top5"), "top-5 accuracy"),
            Line(("zero_shot", "mean_per_class"), "mean per class"),
        ),
    ),
)


def metrics_section(metrics: Mapping[str, Any]) -> Html:
    """Tables of ``{name: result}``, or of ``{set: {name: result}}``, with a summary in words."""
    if not metrics:
        raise InvalidArgumentError("metrics is empty; give name -> result, or leave it out")
    sets = _sets(metrics)
    for name, results in sets.items():
        if not isinstance(results, Mapping) or not all(_is_result(r) for r in results.values()):
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
    return {"": metrics} if all(_is_result(value) for value in metrics.values()) else metrics


def _block(title: str, results: Results) -> Html:
    names = list(results)
    baseline = next((name for name in names if name.lower() == "control"), names[0])
    others = [name for name in names if name != baseline]
    # Where training started is no rival of the control.
    rivals = [name for name in others if name.lower() not in ("start", "before")] or others
    differences = {name: _difference(results[name], results[baseline]) for name in rivals}
    tables = join(
        _table(heading, lines, results, baseline, differences)
        for heading, lines in GROUPS
        if any(_figure(results[name], line.path) for name in names for line in lines)
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
        figures = [_figure(result, line.path) for result in results.values()]
        if not any(figures):
            continue
        cells = [_value_cell(figure, line) for figure in figures]
        cells += [_difference_cell(_figure(d, line.path), line) for d in differences.values()]
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
    n = next(f["n"] for line in lines for r in results.values() if (f := _figure(r, line.path)))
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


def _value_cell(figure: Mapping[str, Any] | None, line: Line) -> Html:
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


def _difference_cell(figure: Mapping[str, Any] | None, line: Line) -> Html:
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
        judgement=_judgement(figure, line),
        value=_signed(figure["value"], line),
        interval=interval,
    )


def _judgement(figure: Mapping[str, Any], line: Line) -> str:
    """``better`` or ``worse`` where the interval leaves out zero, else ``open``."""
    low, high = figure.get("low"), figure.get("high")
    if low is None or high is None or low <= 0 <= high:
        return "open"
    return "better" if (low > 0) != line.lower_is_better else "worse"


def _verdict(name: str, baseline: str, difference: Mapping[str, Any]) -> Html:
    judged = [
        _judgement(figure, line) if figure.get("low") is not None else "unknown"
        for line, figure in _figures(difference)
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
        for _, lines in GROUPS:
            for line in lines:
                one, two = _figure(a, line.path), _figure(b, line.path)
                if one and two:
                    place = result
                    for step in line.path[:-1]:
                        place = place.setdefault(step, {})
                    place[line.path[-1]] = {"value": one["value"] - two["value"]}
        return result


def _figures(result: Mapping[str, Any]) -> Iterator[tuple[Line, Mapping[str, Any]]]:
    for _, lines in GROUPS:
        for line in lines:
            if figure := _figure(result, line.path):
                yield line, figure


def _figure(result: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any] | None:
    value: Any = result
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) and value.get("value") is not None else None


def _is_result(value: Any) -> bool:
    return isinstance(value, Mapping) and ("retrieval" in value or "zero_shot" in value)


def _shown(value: float, line: Line) -> str:
    return f"{100 * value:.1f}" if line.percent else number(value)


def _signed(value: float, line: Line) -> str:
    scaled = 100 * value if line.percent else value
    text = f"{abs(scaled):.1f}" if line.percent else number(abs(scaled))
    if float(text.replace(",", "")) == 0:
        return text
    return f"+{text}" if scaled > 0 else f"−{text}"
