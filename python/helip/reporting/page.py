"""The report: one self-contained HTML page that shows hard pairs and what came of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.files import replace_file, require_writable, storage_errors, text_lines
from helip.common.options import ProgressOptions, keywords, require
from helip.common.progress import ProgressBar
from helip.common.text import number
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.opening import open_table, open_together
from helip.pairs.unreadable import unreadable_rows
from helip.reporting import metrics, statistics
from helip.reporting.charts import histogram, learning_curves
from helip.reporting.options import ReportOptions
from helip.reporting.pictures import Pictures
from helip.reporting.rendering import render
from helip.reporting.similarities import (
    Scores,
    Similarities,
    Target,
    check_rows,
    choose_targets,
    read_scores,
    targets_of,
)
from helip.store.embedding_store import EmbeddingStore

_MADE_BY = b'<meta name="generator" content="helip">'
_HEAD_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class ReportCall(ReportOptions, ProgressOptions):
    """What `report` is asked."""

    pairs: HardPairs | str | os.PathLike[str] = field(kw_only=False)
    """A table of hard pairs, or its path."""
    data: Any = field(default=None, kw_only=False)
    """Its Dataset, or what open_dataset takes; None for a page without pictures."""
    out: str | os.PathLike[str] | None = field(default=None, kw_only=False)
    """The page to write; must be given. A page of helip that is there is replaced."""
    captions: Iterable[str | None] | str | os.PathLike[str] | None = None
    """Without data: a text a row, or the path of a file with one a line, to be shown in place of
    keys or row numbers."""
    store: EmbeddingStore | str | os.PathLike[str] | None = None
    """The store that was mined adds both similarities and their product under each picture,
    computed in float64 from the stored embeddings; without data it also names rows by its keys."""
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
    bytes.

    Without ``data`` it shows no pictures: rows have the text of ``captions``, else the key that the
    store knows, else their number.

    Raises MismatchError when table, data, captions and store do not belong together,
    UnsupportedError for a part of a table, and StorageError when ``out`` cannot be written.
    """
    require(call.out is not None, "out", call.out, "the page to write")
    path = Path(str(call.out))
    require_writable(path)
    _refuse_other_file(path)
    pairs, dataset, store = _open_inputs(call)
    keys = getattr(dataset if dataset is not None else store, "keys", None)
    scores = read_scores(pairs)
    if call.target:
        rows = _rows_of(call.target, keys, "store" if dataset is None else "data set")
    else:
        rows = _chosen(call.rows, scores, len(pairs), call.seed)
    similarities = None if store is None else Similarities(store, pairs.options)
    stats = pairs.stats()
    comparisons = [] if call.metrics is None else metrics.comparisons(call.metrics)
    # A run has one colour on the whole page.
    runs = list(dict.fromkeys([*metrics.result_names(call.metrics or {}), *(call.curves or {})]))
    summary = call.summary
    targets = targets_of(pairs, rows, call.hard, similarities, call.baselines)
    with ProgressBar(len(targets), label="report", unit="targets", enabled=call.progress) as bar:
        page = render(
            title=call.title,
            facts=_facts(pairs, captioned=dataset is not None),
            places=_places(bool(call.metrics), bool(call.guard), bool(call.curves)),
            pictures=Pictures(dataset, _captions_of(call.captions, len(pairs)), keys),
            keyed=keys is not None,
            tiles=statistics.tiles(stats),
            summary=statistics.settings(summary) if isinstance(summary, Mapping) else summary,
            comparisons=comparisons,
            guard=[] if call.guard is None else metrics.forgotten(call.guard),
            asked_for="key" if call.target else "row" if isinstance(call.rows, Sequence) else "",
            similarities=similarities,
            targets=_counted(targets, bar),
            histogram=histogram(scores),
            tables=statistics.tables(stats),
            quantiles=statistics.quantiles(stats),
            galleries=list(statistics.galleries(stats, scores, unreadable_rows(pairs), call.seed)),
            curves=learning_curves(call.curves or {}, runs),
            provenance=list(statistics.provenance(pairs, store)),
            fingerprints=statistics.fingerprints(pairs, dataset, store),
        )
    replace_file(path, page)
    return path


def _refuse_other_file(path: Path) -> None:
    """InvalidArgumentError where a file lies at ``path`` that no report was written to."""
    if not path.exists():
        return
    with storage_errors("read", path), path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head and _MADE_BY not in head:
        raise InvalidArgumentError(
            f"out is {os.fspath(path)!r}, a file that is no page of helip; choose another place"
        )


def _open_inputs(call: ReportCall) -> tuple[HardPairs, Any, Any]:
    """The table, the data set and the store, None where there is none."""
    if call.data is None:
        pairs, store = open_table(call.pairs, call.store)
        return pairs, None, store
    if call.captions is not None:
        raise InvalidArgumentError(
            "captions are given beside data, which has its own; leave out one of them"
        )
    return open_together(call.pairs, call.data, call.store)


def _chosen(rows: int | Sequence[int], scores: Scores, n: int, seed: int) -> list[int]:
    if isinstance(rows, Sequence):
        return check_rows(rows, n)
    require(rows >= 0, "rows", rows, "a number of targets, or a list of rows")
    return choose_targets(scores.first, int(rows), seed)


def _rows_of(targets: Sequence[str], keys: Sequence[str] | None, whose: str) -> list[int]:
    """The rows of keys, in the order that they were asked for."""
    if isinstance(targets, str):
        targets = [targets]
    if keys is None:
        raise InvalidArgumentError(
            f"target {targets[0]!r} is a key, and without data and store none is known; give one "
            "of these, or rows"
        )
    wanted = dict.fromkeys(targets)
    found = {key: row for row, key in enumerate(keys) if key in wanted}
    for key in wanted:
        if key not in found:
            first = ", ".join(map(repr, keys[:3]))
            raise InvalidArgumentError(
                f"target {key!r} is no key of the {whose}; its keys are such as {first}"
            )
    return [found[key] for key in wanted]


def _captions_of(captions: Any, rows: int) -> Sequence[str | None] | None:
    """A text a row, of anything iterable or the lines of a file."""
    if captions is None:
        return None
    words = "captions"
    if isinstance(captions, (str, os.PathLike)):
        words = f"captions {os.fspath(captions)!r}"
        captions = text_lines(captions, words)
    captions = list(captions)
    if len(captions) != rows:
        raise MismatchError(
            f"{words} has {len(captions):,} texts, and the table {rows:,} targets; give one a row, "
            "an empty one where there is none"
        )
    return captions


def _counted(targets: Sequence[Target], bar: ProgressBar) -> Iterator[Target]:
    """Each target when the page comes to it, which reads and encodes its pictures."""
    for target in targets:
        yield target
        bar.update()


def _facts(pairs: Any, *, captioned: bool) -> list[str]:
    method = pairs.options.get("method")
    mined = [f"{method} mining"] if method else []
    what = "captioned pictures" if captioned else "targets"
    return [f"{number(len(pairs))} {what}", *mined, f"k = {number(pairs.k)}"]


def _places(results: bool, guarded: bool, curves: bool) -> list[tuple[str, str]]:
    """The sections to which the head of the page links."""
    places = [
        ("results", "Before and after", results),
        ("guard", "Forgetting guard", guarded),
        ("targets", "Targets", True),
        ("statistics", "Statistics", True),
        ("curves", "Learning curves", curves),
        ("provenance", "Provenance", True),
    ]
    return [(place, name) for place, name, there in places if there]
