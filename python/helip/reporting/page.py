"""The report: one self-contained HTML page that shows hard pairs and what came of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.files import replace_file
from helip.common.options import keywords, require
from helip.data.opening import open_dataset
from helip.pairs.hard_pairs import HardPairs
from helip.reporting.charts import curves as curve_chart
from helip.reporting.charts import histogram, number
from helip.reporting.guard import guard_section
from helip.reporting.html import Html, document, join, markup
from helip.reporting.metrics import metrics_section, result_names
from helip.reporting.options import ReportOptions
from helip.reporting.pictures import Pictures
from helip.reporting.pools import (
    Card,
    Scores,
    Similarities,
    check_rows,
    choose_targets,
    pool_of,
    read_scores,
)
from helip.reporting.sections import (
    Strip,
    Target,
    gallery,
    overview,
    settings,
    statistics,
    target_article,
)
from helip.store.embedding_store import EmbeddingStore

HUBS = 10
OUTLIERS = 10
CURVES = (
    *("loss", "clip", "margin", "violated", "hard_similarity", "ordinary_similarity"),
    *("temperature", "data_wait_seconds"),
)


@dataclass(frozen=True, kw_only=True)
class ReportCall(ReportOptions):
    """What `report` is asked."""

    pairs: HardPairs | str | os.PathLike[str] = field(kw_only=False)
    """A table of hard pairs, or its path."""
    data: Any = field(kw_only=False)
    """Its Dataset, or what open_dataset takes."""
    out: str | os.PathLike[str] = field(kw_only=False)
    """The page to write."""
    store: EmbeddingStore | str | os.PathLike[str] | None = None
    """The store that was mined adds both similarities and their product under each picture,
    computed in float64 from the stored embeddings."""
    baselines: Mapping[str, HardPairs] | None = None
    """Name to table, shown beside. Without them, but with a store, the pools by image and by text
    alone are computed for the targets shown."""
    metrics: Mapping[str, Any] | None = None
    """Names to results of evaluate(), such as start, control and HELIP; one named "control" is what
    the others are compared with. Sets of results may be grouped: set to name to result."""
    guard: Mapping[str, Any] | None = None
    """General sets to the results of "start", "control" and the tuned model, made with keep_ranks:
    the page says what was forgotten."""
    curves: Mapping[str, Sequence[Mapping[str, Any]]] | None = None
    """Names to rows of a metrics.jsonl."""
    summary: Mapping[str, Any] | str | None = None
    """A paragraph, or a mapping of things to say about the run."""


@keywords(ReportCall)
def report(call: ReportCall) -> Path:
    """Write a page about a table of hard pairs.

    The page has no scripts, loads nothing, and a policy in its head forbids both. Pictures are
    encoded anew; captions are inserted as text in which hidden characters are spelled out. Rows
    that cannot be read are shown as placeholders and counted. The same arguments give the same
    bytes. Raises MismatchError when table, data and store do not belong together, and
    StorageError when ``out`` cannot be written.
    """
    metrics, guard, curves = call.metrics, call.guard, call.curves
    pairs, dataset, store = _opened(call.pairs, call.data, call.store)
    _check_match(pairs, dataset, store)
    scores = read_scores(pairs)
    shown = _chosen(call.rows, scores, len(pairs), call.seed)
    pictures = Pictures(dataset)
    similarities = None if store is None else Similarities(store, pairs.options)
    targets = _targets(pairs, dataset, shown, call.hard, similarities, call.baselines)
    stats = pairs.stats()

    sections = [
        Html() if metrics is None else metrics_section(metrics),
        Html() if guard is None else guard_section(guard),
        _targets_section(targets, pairs, pictures, similarities, isinstance(call.rows, Sequence)),
        statistics(stats, histogram(scores)),
        _hubs(stats, pictures),
        _outliers(scores, pictures, call.seed),
        Html() if not curves else _curves(curves, metrics or {}),
        _provenance(pairs, dataset, store),
    ]
    body = markup(
        "{head}<main>{notice}{overview}{summary}{sections}</main>"
        "<footer><p>Made with helip. Method: Getting More Juice Out of Your Data, "
        "arXiv 2305.05208.</p></footer>",
        head=_head(call.title, pairs, len(dataset), bool(metrics), bool(guard), bool(curves)),
        notice=_failures(pictures),
        overview=overview(stats),
        summary=_summary(call.summary),
        sections=join(section for section in sections if section),
    )
    path = Path(call.out)
    replace_file(path, document(call.title, body))
    return path


def _opened(pairs: Any, data: Any, store: Any) -> tuple[Any, Any, Any]:
    if isinstance(pairs, (str, os.PathLike)):
        pairs = HardPairs.open(pairs)
    if isinstance(store, (str, os.PathLike)):
        store = EmbeddingStore.open(store)
    dataset = data if hasattr(data, "caption") and hasattr(data, "keys") else open_dataset(data)
    return pairs, dataset, store


def _check_match(pairs: Any, dataset: Any, store: Any) -> None:
    """Rows mean the same thing everywhere, or nothing on the page would be true."""
    checks = [("data set", pairs.keys_fingerprint, lambda: dataset.fingerprint)]
    if store is not None:
        checks.append(("store", pairs.fingerprint, lambda: store.fingerprint))
    for name, expected, read in checks:
        if expected and (found := read()) != expected:
            raise MismatchError(
                f"the table was made of a {name} with fingerprint {expected}, this one has "
                f"{found}; give the one that was mined, or mine again"
            )
    sizes = {"table": len(pairs), "data set": len(dataset)}
    if store is not None:
        sizes["store"] = len(store)
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        raise MismatchError(f"row counts differ: {shown}; give the data that the table was made of")
    if len(pairs) == 0:
        raise InvalidArgumentError("the table has 0 targets; there is nothing to show")


def _chosen(rows: int | Sequence[int], scores: Scores, n: int, seed: int) -> list[int]:
    if isinstance(rows, Sequence):
        return check_rows(rows, n)
    require(rows >= 0, "rows", rows, "a number of targets, or a list of rows")
    return choose_targets(scores.first, int(rows), seed)


def _targets(
    pairs: Any,
    dataset: Any,
    shown: Sequence[int],
    hard: int,
    similarities: Similarities | None,
    baselines: Mapping[str, Any] | None,
) -> list[Target]:
    modality = pairs.options.get("modality", "both")
    main = {
        "both": ("HPM", "product", "image × text"),
        "image": ("Image only", "image", "image similarity"),
        "text": ("Text only", "text", "text similarity"),
    }.get(modality, ("Mined", "product", "score"))
    pools: list[tuple[tuple[str, str, str], Mapping[int, tuple[list[int], list[float]]]]]
    pools = [(main, {target: pool_of(pairs, target, hard) for target in shown})]
    if baselines is not None:
        for name, table in baselines.items():
            if len(table) != len(pairs):
                raise MismatchError(
                    f"baseline {name!r} has {len(table):,} targets and the table {len(pairs):,}; "
                    "mine both from one store"
                )
            kind = str(table.options.get("modality", "other"))
            label = (name, kind if kind in ("image", "text") else "other", "")
            pools.append((label, {target: pool_of(table, target, hard) for target in shown}))
    elif similarities is not None and shown:
        for kind in ("image", "text"):
            label = (f"{kind.capitalize()} only", kind, f"{kind} similarity")
            pools.append((label, similarities.pools(shown, kind, hard)))
    return [
        Target(
            target,
            dataset.keys[target],
            int(pairs.counts[target]),
            [Strip(*label, _cards(similarities, target, *pool[target])) for label, pool in pools],
        )
        for target in shown
    ]


def _cards(
    similarities: Similarities | None, target: int, rows: list[int], scores: list[float]
) -> list[Card]:
    if similarities is None:
        return [Card(row, score) for row, score in zip(rows, scores, strict=True)]
    return similarities.cards(target, rows, scores)


def _targets_section(
    targets: Sequence[Target],
    pairs: Any,
    pictures: Pictures,
    similarities: Similarities | None,
    asked_for: bool,
) -> Html:
    articles = []
    for target in targets:
        pool = pairs.ids[target.row, : target.count].tolist()
        positions = {row: place for place, row in enumerate(pool, start=1)}
        articles.append(target_article(target, pictures, positions))
    choice = (
        "The targets were asked for by row."
        if asked_for
        else "Targets are drawn at random over the quantiles of their best score, best first."
    )
    legend = (
        Html()
        if similarities is None
        else markup(
            " Under each picture: the two cosine similarities to the target and their product; "
            "bold is what the row is sorted by. <b>HPM #3</b> marks a pair that is third in the "
            "target's own pool; the product of a near duplicate (image above {i}, text above {t}) "
            "or of a pair that is unlike in one modality counts as 0.",
            i=f"{similarities.image_max:g}",
            t=f"{similarities.text_max:g}",
        )
    )
    return markup(
        '<section id="targets"><h2>Targets and their hard pairs</h2>'
        '<p class="lead">{choice}{legend}</p>{articles}</section>',
        choice=choice,
        legend=legend,
        articles=join(articles)
        or Html('<p class="none">No target has a hard pair: every row is an outlier.</p>'),
    )


def _hubs(stats: Mapping[str, Any], pictures: Pictures) -> Html:
    hubs = (stats.get("hubness") or {}).get("hubs") or stats.get("hubs") or []
    chosen = [(int(row), int(degree)) for row, degree in hubs if degree > 0][:HUBS]
    if not chosen:
        return Html()
    targets = max(int(stats.get("targets", 0)), 1)
    return gallery(
        "hubs",
        "Hubs",
        "Rows that are a hard pair of the most targets. A few strong hubs mean that the "
        "embeddings crowd around generic pictures or captions.",
        [
            (row, f"chosen {degree:,}×, {100 * degree / targets:.2g} % of targets")
            for row, degree in chosen
        ],
        pictures,
    )


def _outliers(scores: Scores, pictures: Pictures, seed: int) -> Html:
    rows = np.flatnonzero(np.isnan(scores.first))
    if not len(rows):
        return Html()
    count = "1 row has" if len(rows) == 1 else f"{len(rows):,} rows have"
    some = "; some of them, drawn at random" if len(rows) > OUTLIERS else ""
    drawn = np.random.default_rng(seed).choice(rows, min(OUTLIERS, len(rows)), replace=False)
    return gallery(
        "outliers",
        "Outliers",
        f"{count} no hard pair{some}. Often picture and caption do not belong "
        "together, or the sample could not be read.",
        [(int(row), f"row {int(row)}") for row in np.sort(drawn)],
        pictures,
    )


def _curves(curves: Mapping[str, Sequence[Mapping[str, Any]]], metrics: Mapping[str, Any]) -> Html:
    # A run has one colour on the whole page.
    colours = {
        name: place for place, name in enumerate(dict.fromkeys([*result_names(metrics), *curves]))
    }
    charts = []
    for name in CURVES:
        runs = {}
        for run, lines in curves.items():
            points = [
                (float(line["step"]), float(line[name]))
                for line in lines
                if line.get("step") is not None and isinstance(line.get(name), (int, float))
            ]
            if len(points) > 1:
                runs[run] = points
        if runs:
            charts.append(curve_chart(name, runs, colours))
    if not charts:
        return Html()
    return markup(
        '<section id="curves"><h2>Learning curves</h2><div class="charts">{charts}</div></section>',
        charts=join(charts),
    )


def _provenance(pairs: Any, dataset: Any, store: Any) -> Html:
    prints = {
        "table made of store": pairs.fingerprint or "not recorded (mined from arrays)",
        "table made of keys": pairs.keys_fingerprint or "not recorded",
        "data set": getattr(dataset, "fingerprint", "") or "unknown",
    }
    tables = [settings("Mining options", pairs.options)]
    known = {"drops", "filters", "pairs", "recall"}
    rest = {name: value for name, value in pairs.report.items() if name not in known}
    if rest:
        tables.append(settings("Mining report", rest))
    if store is not None:
        prints["store"] = store.fingerprint
        metadata = getattr(store, "metadata", None)
        if metadata:
            tables.append(settings("Store", metadata))
    return markup(
        '<section id="provenance"><h2>Provenance</h2><div class="tables">{tables}</div>'
        '<div class="tables run">{prints}</div></section>',
        tables=join(tables),
        prints=settings("Fingerprints", prints),
    )


def _head(title: str, pairs: Any, rows: int, metrics: bool, guard: bool, curves: bool) -> Html:
    options = pairs.options
    facts = [f"{number(rows)} captioned pictures", f"k = {number(pairs.k)}"]
    if method := options.get("method"):
        facts.insert(1, f"{method} mining")
    places = [
        ("results", "Before and after", metrics),
        ("guard", "Forgetting guard", guard),
        ("targets", "Targets", True),
        ("statistics", "Statistics", True),
        ("curves", "Learning curves", curves),
        ("provenance", "Provenance", True),
    ]
    return markup(
        '<header class="top"><h1>{title}</h1><p class="facts">{facts}</p>'
        '<nav aria-label="Sections">{links}</nav></header>',
        title=title,
        facts=" · ".join(facts),
        links=join(
            (
                markup('<a href="#{place}">{name}</a>', place=place, name=name)
                for place, name, there in places
                if there
            ),
            " ",
        ),
    )


def _summary(summary: Mapping[str, Any] | str | None) -> Html:
    if not summary:
        return Html()
    if isinstance(summary, str):
        return markup('<p class="lead">{text}</p>', text=summary)
    return markup('<div class="tables run">{table}</div>', table=settings("This run", summary))


def _failures(pictures: Pictures) -> Html:
    if not pictures.failures:
        return Html()
    return markup(
        '<p class="notice" role="note">{n} on this page could not be read: {why}.</p>',
        n="1 sample" if pictures.failures.total() == 1 else f"{pictures.failures.total()} samples",
        why=", ".join(
            f"{reason.replace('_', ' ')} ({count})"
            for reason, count in sorted(pictures.failures.items())
        ),
    )
