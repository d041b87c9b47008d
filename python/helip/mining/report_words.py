"""What a mining report means, in words: for the command line and the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DROPS = {
    "image_duplicate": ("near-duplicate images", "image similarity above image_max"),
    "text_duplicate": ("near-duplicate texts", "text similarity above text_max"),
    "duplicate": ("near duplicates", "a similarity above the maximum of its channel"),
    "margin": ("false negatives", "fit the target as well as what belongs to it"),
    "positive": ("positives", "rows of the corpus that belong to the query"),
    "positive_duplicate": ("near duplicates of positives", "above image_max or text_max with one"),
    "collapsed": ("copies", "near duplicates of a better pair of the same pool"),
    "verdicts": ("judged", "people said they are no hard pairs"),
    "skipped": ("passed over", "the best pairs, left out on request"),
}
_ALWAYS = ("image_duplicate", "text_duplicate")  # worth a line even where there are none


def drop_words(drops: Any) -> list[tuple[str, int, str]]:
    """(name, number, meaning) of the filters that kept pairs out of the pools."""
    if not isinstance(drops, Mapping):
        return []
    names = [*(n for n in _DROPS if n in drops), *(n for n in drops if n not in _DROPS)]
    always = ("duplicate",) if "duplicate" in drops else _ALWAYS
    return [_named(n, int(drops[n])) for n in names if drops[n] or n in always]


def _named(name: str, number: int) -> tuple[str, int, str]:
    words, meaning = _DROPS.get(name, (name.replace("_", " "), ""))
    return words, number, meaning


def filter_words(filters: Any) -> list[tuple[str, float]]:
    """(what pairs are held against, share that passes) in order; empty where nothing was measured.

    A pair goes from one to the next, the dearer one; the last is the score itself.
    """
    if not isinstance(filters, Mapping):
        return []
    high, low, second = (int(n) for n in filters.get("dimensions", (0, 0, 0)))
    first = f"{low} leading dimensions"
    if high:
        share = share_words(float(filters.get("high_share", 0.0)))
        first += f" ({high} among the {share} of rows with the highest thresholds)"
    names = {
        "first": first,
        "second": f"{second} leading dimensions",
        "sum": "all dimensions",
        "score": "the score itself",
    }
    passed = filters.get("passed", {})
    return [(words, float(passed[name])) for name, words in names.items() if name in passed]


def weight_words(filters: Any) -> str:
    """How much the modalities count in what the filters compute; empty where they count alike."""
    if not isinstance(filters, Mapping):
        return ""
    if "factors" in filters:  # of channels
        return " + ".join(f"{factor:.2f} × {name}" for name, factor in filters["factors"].items())
    weight = float(filters.get("weight", 1.0))
    if weight == 1.0:
        return ""
    return f"{weight:.2f} × image + {1 / weight:.2f} × text"


def update_words(update: Mapping[str, Any]) -> str:
    """What bringing a table up to date took."""
    words = f"{update.get('added', 0):,} rows new, {update.get('deleted', 0):,} deleted"
    if update.get("replaced"):
        words += f", {update['replaced']:,} with other values"
    if "pairs" in update:  # not of stages
        words += (
            f", {update.get('mined_again', 0):,} old targets mined again, "
            f"{update['pairs']:,} pairs met"
        )
    afresh = update.get("afresh")
    return f"{words}; mined afresh: {afresh}" if afresh else words


_SHORTFALLS = {
    "hnsw": (
        "the graph found recall {value:.4f} with the lower limit {low:.4f}, below recall = "
        "{wanted}, at its greatest breadth {breadth}; ask for less, or use method 'partition' or "
        "'exact'"
    ),
    "stages": (
        "stages found recall {value:.4f} with the lower limit {low:.4f}, below recall = {wanted}, "
        "with each row in {overlap} clusters, some in up to {rounds} more; ask for less, or give "
        "more cluster_rows or overlap"
    ),
}


def shortfall_words(report: Mapping[str, Any], wanted: float) -> str:
    """What a table has less of than was asked for, and the mend; empty where it has all."""
    for name, words in _SHORTFALLS.items():
        if not report.get(name, {}).get("reached", True):
            rounds = len(report[name].get("widened", ()))
            return words.format(wanted=wanted, rounds=rounds, **report["recall"], **report[name])
    return ""


def stage_words(stages: Mapping[str, Any]) -> str:
    """How a table was mined in stages."""
    words = (
        f"{stages.get('clusters', 0):,} clusters, the largest of {stages.get('largest', 0):,} "
        f"rows, each row in {stages.get('overlap', 0)}; passes of refining: "
        f"{stages.get('passes', 0)}"
    )
    for rows in stages.get("widened", ()):
        words += f"; {rows:,} rows to one more"
    return words if stages.get("reached", True) else f"{words}; recall not reached"


def share_words(share: float) -> str:
    """A share in percent, three digits."""
    return f"{100 * share:.3g} %"
