"""Sections of the page: overview, targets with their pools, hubs, statistics, provenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helip.mining.report_words import drop_words, filter_words, share_words, weight_words
from helip.reporting.charts import number
from helip.reporting.html import Html, join, markup
from helip.reporting.pictures import Pictures
from helip.reporting.pools import Card


@dataclass(frozen=True)
class Strip:
    """A row of hard pairs under one heading."""

    name: str
    kind: str  # "product", "image", "text" or "other"
    ranked_by: str
    cards: Sequence[Card]


@dataclass(frozen=True)
class Target:
    """A target and its pools."""

    row: int
    key: str
    count: int
    strips: Sequence[Strip]


def overview(stats: Mapping[str, Any]) -> Html:
    """The few numbers to read first."""
    targets = max(int(stats.get("targets", 0)), 1)
    outliers, short = int(stats.get("outliers", 0)), int(stats.get("short_targets", 0))
    quantiles = quantile_map(stats.get("score_quantiles"))
    tiles = [
        ("targets", number(stats.get("targets")), "pairs of the data set"),
        ("hard pairs", number(stats.get("pairs")), f"up to {stats.get('k')} a target"),
        (
            "outliers",
            f"{100 * outliers / targets:.1f} %",
            f"{outliers:,} targets with no hard pair",
        ),
        ("short", f"{100 * short / targets:.1f} %", f"{short:,} targets below {stats.get('k')}"),
    ]
    if 0.5 in quantiles:
        tiles.append(("median score", number(quantiles[0.5]), "over all hard pairs"))
    recall = recall_text(stats.get("recall"))
    if recall:
        tiles.append(("recall", recall[0], recall[1]))
    return markup(
        '<dl class="tiles">{tiles}</dl>',
        tiles=join(
            markup(
                "<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>",
                name=name,
                value=value,
                note=note,
            )
            for name, value, note in tiles
        ),
    )


def target_article(target: Target, pictures: Pictures, positions: Mapping[int, int]) -> Html:
    """A target beside its pools; ``positions`` is the place of each row in its own full pool."""
    strips = join(_strip(strip, pictures, positions) for strip in target.strips)
    return markup(
        '<article class="target" id="row-{row}"><header>'
        '<figure class="probe">{picture}<figcaption><h3>{caption}</h3>'
        '<p class="meta">row {row} · <span class="mono">{key}</span><br>{count}</p>'
        '</figcaption></figure></header><div class="strips">{strips}</div></article>',
        row=target.row,
        picture=pictures.picture(target.row),
        caption=pictures.caption(target.row),
        key=target.key if len(target.key) <= 60 else f"…{target.key[-59:]}",
        count=f"{target.count:,} hard pairs" if target.count != 1 else "1 hard pair",
        strips=strips,
    )


def _strip(strip: Strip, pictures: Pictures, positions: Mapping[int, int]) -> Html:
    cards = join(
        _card(card, strip.kind, pictures, positions.get(card.row) if strip.kind != "product" else 0)
        for card in strip.cards
    )
    body = (
        markup('<ol class="cards">{cards}</ol>', cards=cards)
        if strip.cards
        else Html('<p class="none">No pair passes the filters.</p>')
    )
    return markup(
        '<section class="strip {kind}"><h4>{name} <small>{by}</small></h4>{body}</section>',
        kind=strip.kind,
        name=strip.name,
        by=strip.ranked_by,
        body=body,
    )


def _card(card: Card, kind: str, pictures: Pictures, position: int | None) -> Html:
    if card.image is None or card.text is None or card.product is None:
        figures = [("score", card.score, True)]
    else:
        figures = [
            ("image", card.image, kind == "image"),
            ("text", card.text, kind == "text"),
            ("product", card.product, kind == "product"),
        ]
    values = join(
        (
            markup(
                "<div{mark}><dt>{name}</dt><dd>{value}</dd></div>",
                mark=Html(' class="ranked"') if ranked else Html(),
                name=name,
                value=_cosine(value),
            )
            for name, value, ranked in figures
        ),
        "",
    )
    badge = Html()
    if position:
        badge = markup('<p class="badge in">HPM #{n}</p>', n=position)
    elif card.note:
        badge = markup('<p class="badge out">{note}</p>', note=card.note)
    return markup(
        '<li class="card"><figure><div class="frame">{picture}{badge}</div>'
        "<figcaption>{caption}</figcaption></figure>"
        '<dl class="figures">{values}</dl></li>',
        picture=pictures.picture(card.row),
        badge=badge,
        caption=pictures.caption(card.row),
        values=values,
    )


def _cosine(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # + 0.0: no minus before zero


def gallery(
    identity: str, title: str, note: str, rows: Iterable[tuple[int, str]], pictures: Pictures
) -> Html:
    """Pictures with a line each, such as the hubs with how often they were chosen."""
    cards = join(
        markup(
            '<li class="card"><figure><div class="frame">{picture}</div>'
            '<figcaption>{caption}</figcaption></figure><p class="tally">{line}</p></li>',
            picture=pictures.picture(row),
            caption=pictures.caption(row),
            line=line,
        )
        for row, line in rows
    )
    return markup(
        '<section id="{identity}"><h2>{title}</h2><p class="lead">{note}</p>'
        '<ol class="cards wide">{cards}</ol></section>',
        identity=identity,
        title=title,
        note=note,
        cards=cards,
    )


def statistics(stats: Mapping[str, Any], chart: Html) -> Html:
    """The histogram and every number that mining reports."""
    all_scores = quantile_map(stats.get("score_quantiles"))
    first = quantile_map(stats.get("first_score_quantiles"))
    hubness = dict(stats.get("hubness") or {})
    counts = [
        ("targets", stats.get("targets")),
        ("pool size k", stats.get("k")),
        ("hard pairs", stats.get("pairs")),
        ("outliers (no hard pair)", stats.get("outliers")),
        ("short targets (fewer than k)", stats.get("short_targets")),
        ("mean in-degree", hubness.get("mean_in_degree")),
        ("largest in-degree", hubness.get("max_in_degree")),
        ("rows never chosen", hubness.get("never_chosen")),
        ("skewness of in-degree", hubness.get("skewness", hubness.get("in_degree_skewness"))),
    ]
    recall = recall_text(stats.get("recall"))
    rows = [(name, number(value)) for name, value in counts if value is not None]
    if recall:
        rows.append(("recall of the exact pools", " · ".join(part for part in recall if part)))
    tables = [pairs_table("Pools", rows)]
    tables += _filter_tables(stats)
    if all_scores:
        tables.append(_quantile_table(all_scores, first))
    return markup(
        '<section id="statistics"><h2>Statistics</h2>{chart}<div class="tables">{tables}</div>'
        "</section>",
        chart=chart,
        tables=join(tables),
    )


def _filter_tables(stats: Mapping[str, Any]) -> Iterable[Html]:
    """What was kept out of the pools and why; what pairs went through before they were scored."""
    drops = drop_words(stats.get("drops"))
    if drops:
        yield pairs_table(
            _captioned("Kept out of the pools", "pairs that would be in one but for this"),
            [(_captioned(name, meaning), number(count)) for name, count, meaning in drops],
        )
    filters = stats.get("filters")
    steps = filter_words(filters)
    if steps:
        rows = [(name, share_words(share)) for name, share in steps]
        if weights := weight_words(filters):
            rows.append(("what they compute with", weights))
        yield pairs_table(_captioned("Filters", "pairs that pass, of a sample"), rows)


def _captioned(name: str, note: str) -> Html:
    return markup("{name} <small>{note}</small>", name=name, note=note)


def _quantile_table(every: Mapping[float, float], first: Mapping[float, float]) -> Html:
    return markup(
        '<table class="numbers"><caption>Score quantiles</caption><thead><tr><th scope="col">'
        'quantile</th><th scope="col">all pairs</th><th scope="col">best pair</th></tr></thead>'
        "<tbody>{rows}</tbody></table>",
        rows=join(
            markup(
                '<tr><th scope="row">{q}</th><td>{a}</td><td>{b}</td></tr>',
                q=f"{100 * q:g} %",
                a=f"{value:.3f}",
                b=f"{first[q]:.3f}" if q in first else "–",
            )
            for q, value in sorted(every.items())
        ),
    )


def pairs_table(caption: str, rows: Iterable[tuple[str, str]]) -> Html:
    """A table of names and values."""
    return markup(
        '<table class="numbers"><caption>{caption}</caption><tbody>{rows}</tbody></table>',
        caption=caption,
        rows=join(
            markup('<tr><th scope="row">{name}</th><td>{value}</td></tr>', name=name, value=value)
            for name, value in rows
        ),
    )


def settings(caption: str, values: Mapping[str, Any]) -> Html:
    """A table of options; nested mappings are flattened."""
    return pairs_table(caption, _flat(values))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        label = f"{prefix}{str(name).replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{label} · ")
        elif isinstance(value, (list, tuple)):
            yield label, ", ".join(number_or_text(item) for item in value[:12]) or "–"
        else:
            yield label, number_or_text(value)


def number_or_text(value: Any) -> str:
    return number(value) if isinstance(value, (bool, int, float)) or value is None else str(value)


def quantile_map(quantiles: Any) -> dict[float, float]:
    """Quantiles as {q: value}, from pairs or from a mapping."""
    items = quantiles.items() if isinstance(quantiles, Mapping) else quantiles or ()
    return {float(q): float(value) for q, value in items}


def recall_text(recall: Any) -> tuple[str, str] | None:
    """(value, note) of a measured recall: a number, or a mapping with an interval."""
    if recall is None or isinstance(recall, bool):
        return None
    if isinstance(recall, Mapping):
        value = recall.get("value")
        if value is None:
            return None
        low, high = recall.get("low"), recall.get("high")
        note = "" if low is None or high is None else f"95 %: {low:.3f} – {high:.3f}"
        return f"{value:.3f}", note
    return (f"{float(recall):.3f}", "") if isinstance(recall, (int, float)) else None
