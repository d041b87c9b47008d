"""What the page says of a table in numbers: tiles, tables, hubs and outliers, provenance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from helip.common.text import number
from helip.mining.report_words import drop_words, filter_words, share_words, weight_words
from helip.reporting.similarities import Scores

HUBS = 10
OUTLIERS = 10

Rows = list[tuple[str, str, str]]  # (name, value, note)
Table = tuple[str, str, Rows]  # (name, note, rows)


def tiles(stats: Mapping[str, Any]) -> Rows:
    """The few numbers to read first."""
    targets = max(int(stats.get("targets", 0)), 1)
    outliers, short = int(stats.get("outliers", 0)), int(stats.get("short_targets", 0))
    share, k = 100 / targets, stats.get("k")
    found: Rows = [
        ("targets", number(stats.get("targets")), "pairs of the data set"),
        ("hard pairs", number(stats.get("pairs")), f"up to {k} a target"),
        ("outliers", f"{share * outliers:.1f} %", f"{outliers:,} targets with no hard pair"),
        ("short", f"{share * short:.1f} %", f"{short:,} targets below {k}"),
    ]
    if unreadable := int(stats.get("unreadable", 0)):
        words = f"{unreadable:,} rows without an embedding"
        found.insert(2, ("unreadable", f"{share * unreadable:.1f} %", words))
    if (median := _quantiles(stats.get("score_quantiles")).get(0.5)) is not None:
        found.append(("median score", number(median), "over all hard pairs"))
    if recall := _recall(stats.get("recall")):
        found.append(("recall", *recall))
    return found


def pool_rows(stats: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Sizes of the pools of a table, as the page and the shell say them."""
    targets, outliers = f"{stats['targets']:,}", f"{stats['outliers']:,}"
    if "part" in stats:
        targets += (
            f", part {stats['part']}: {stats['first']:,} to {stats['last'] - 1:,} of "
            f"{stats['rows']:,}"
        )
    rows = [
        ("targets", targets),
        ("pool size k", f"{stats['k']:,}"),
        ("hard pairs", f"{stats['pairs']:,}"),
    ]
    if "unreadable" not in stats and stats["outliers"]:  # only a table that knows its store tells
        words = f"{outliers} (outliers, or rows that could not be read)"
        rows.append(("without a hard pair", words))
    else:
        rows.append(("outliers", f"{outliers} targets without a hard pair"))
    if unreadable := stats.get("unreadable"):
        words = f"{unreadable:,} rows without an embedding, not counted here"
        rows.append(("unreadable", words))
    rows.append(("short targets", f"{stats['short_targets']:,} with fewer than k"))
    if hubness := stats.get("hubness"):
        words = f"mean {hubness['mean_in_degree']:.1f}, max {hubness['max_in_degree']:,}"
        rows.append(("in-degree", f"{words}, never chosen {hubness['never_chosen']:,}"))
    return rows


def tables(stats: Mapping[str, Any]) -> list[Table]:
    """Every number that mining reports: pools, what was kept out of them, filters."""
    pools = [(name, value, "") for name, value in pool_rows(stats)]
    if hubness := stats.get("hubness"):
        pools.append(("skewness of in-degree", number(hubness["skewness"]), ""))
    if recall := _recall(stats.get("recall")):
        pools.append(("recall of the exact pools", " · ".join(filter(None, recall)), ""))
    found: list[Table] = [("Pools", "", pools)]
    if drops := drop_words(stats.get("drops")):
        rows = [(name, number(count), meaning) for name, count, meaning in drops]
        note = "pairs that would be in one but for this"
        found.append(("Kept out of the pools", note, rows))
    if steps := filter_words(stats.get("filters")):
        rows = [(name, share_words(share), "") for name, share in steps]
        if weights := weight_words(stats.get("filters")):
            rows.append(("what they compute with", weights, ""))
        found.append(("Filters", "pairs that pass, of a sample", rows))
    return found


def quantiles(stats: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(share, score of all pairs, score of the best pair of each target)."""
    first = _quantiles(stats.get("first_score_quantiles"))
    return [
        (f"{100 * q:g} %", f"{value:.3f}", f"{first[q]:.3f}" if q in first else "–")
        for q, value in sorted(_quantiles(stats.get("score_quantiles")).items())
    ]


def galleries(
    stats: Mapping[str, Any], scores: Scores, unreadable: Any, seed: int
) -> Iterator[dict[str, Any]]:
    """Hubs and outliers: rows to look at, with a line each.

    unreadable: rows that are no outliers, as far as they are known.
    """
    hubs = (stats.get("hubness") or {}).get("hubs") or []
    chosen = [(int(row), int(degree)) for row, degree in hubs if degree > 0][:HUBS]
    share = 100 / max(int(stats.get("targets", 0)), 1)
    if chosen:
        yield {
            "place": "hubs",
            "title": "Hubs",
            "lead": "Rows that are a hard pair of the most targets. A few strong hubs mean that "
            "the embeddings crowd around generic pictures or captions.",
            "rows": [(r, f"chosen {n:,}×, {share * n:.2g} % of targets") for r, n in chosen],
        }
    rows = np.setdiff1d(np.flatnonzero(np.isnan(scores.first)), unreadable)
    if len(rows):
        count = "1 row has" if len(rows) == 1 else f"{len(rows):,} rows have"
        some = "; some of them, drawn at random" if len(rows) > OUTLIERS else ""
        drawn = np.random.default_rng(seed).choice(rows, min(OUTLIERS, len(rows)), replace=False)
        yield {
            "place": "outliers",
            "title": "Outliers",
            "lead": f"{count} no hard pair{some}. Often picture and caption do not belong "
            + ("together." if "unreadable" in stats else "together, or the row is unreadable."),
            "rows": [(row, f"row {row}") for row in np.sort(drawn).tolist()],
        }


def provenance(pairs: Any, store: Any) -> Iterator[tuple[str, Rows]]:
    """What made the table, option by option."""
    yield "Mining options", settings(pairs.options)
    known = {"drops", "filters", "pairs", "recall"}
    if rest := {name: value for name, value in pairs.report.items() if name not in known}:
        yield "Mining report", settings(rest)
    if store is not None and store.metadata:
        yield "Store", settings(store.metadata)


def fingerprints(pairs: Any, dataset: Any, store: Any) -> Rows:
    """Of the table, and of what it is shown with."""
    prints = {
        "table made of store": pairs.fingerprint or "not recorded (mined from arrays)",
        "table made of data": pairs.data_fingerprint or "not recorded",
    }
    if dataset is not None:
        prints["data set"] = getattr(dataset, "fingerprint", "") or "unknown"
    return settings(prints if store is None else {**prints, "store": store.fingerprint})


def settings(values: Mapping[str, Any]) -> Rows:
    """Options with their values; nested mappings are flattened."""
    return [(name, value, "") for name, value in _flat(values)]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        label = f"{prefix}{str(name).replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{label} · ")
        elif isinstance(value, (list, tuple)):
            yield label, ", ".join(_shown(item) for item in value[:12]) or "–"
        else:
            yield label, _shown(value)


def _shown(value: Any) -> str:
    return number(value) if isinstance(value, (bool, int, float)) or value is None else str(value)


def _quantiles(quantiles: Iterable[tuple[float, float]] | None) -> dict[float, float]:
    """Quantiles as {q: value}."""
    return {float(q): float(value) for q, value in quantiles or ()}


def _recall(recall: Mapping[str, float] | None) -> tuple[str, str] | None:
    """(value, note) of a measured recall."""
    if not recall:
        return None
    return f"{recall['value']:.3f}", f"95 %: {recall['low']:.3f} – {recall['high']:.3f}"
