"""All plots that a table and what is given beside it allow, as files in a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helip.common.errors import needed
from helip.common.files import make_directory, publish_file
from helip.common.options import keywords
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.opening import open_together
from helip.reporting.options import PlotOptions
from helip.reporting.plots.hard_map import plot_map
from helip.reporting.plots.result_plots import (
    Points,
    Rows,
    plot_curves,
    plot_gains,
    plot_recall,
    plot_validation,
    read_recall,
)
from helip.reporting.plots.style import DPI
from helip.reporting.plots.table_plots import plot_hubness, plot_scores
from helip.store.embedding_store import EmbeddingStore


@dataclass(frozen=True, kw_only=True)
class PlotCall(PlotOptions):
    """What `plot` is asked."""

    pairs: HardPairs | str | os.PathLike[str] = field(kw_only=False)
    """A table of hard pairs, or its path."""
    out: str | os.PathLike[str] = field(kw_only=False)
    """The folder of the pictures; those that are there are replaced."""
    data: Any = None
    """Its Dataset, or what open_dataset takes: pictures and captions on the map."""
    store: EmbeddingStore | str | os.PathLike[str] | None = None
    """The store that was mined adds both similarities and the map."""
    recall: Points | str | os.PathLike[str] | None = None
    """Name to points with recall and seconds, or a JSON file of them or of bench/scale.py."""
    runs: Mapping[str, Rows] | None = None
    """Name to rows of a metrics.jsonl (helip.training.read_metrics) of runs with validations."""
    metrics: Mapping[str, Any] | None = None
    """Name to result of evaluate(keep_ranks=True), or set to name to result: gains over the one
    named "control", or over the first."""


@keywords(PlotCall)
def plot(call: PlotCall) -> list[Path]:
    """Draw a table of hard pairs: ``scores``, ``hubness`` and, of what is given beside it, more.

    Writes ``scores`` and ``hubness``; with a store ``map``; with ``recall`` also ``recall``; with
    ``runs`` also ``curves`` and ``validation``; with ``metrics`` also ``gains``, each in every one
    of ``formats``. Returns their paths. The same arguments give the same plots.

    Raises MismatchError when table, data and store do not belong together, InvalidArgumentError for
    a table without a hard pair, UnsupportedError for a part of a table and without matplotlib,
    StorageError when ``out`` cannot be written.
    """
    pairs, data, store = _open_inputs(call)
    if store is not None:
        pairs = pairs.with_store(store)
    sampling: dict[str, Any] = {"sample": call.sample, "seed": call.seed}
    wanted: dict[str, Callable[[], Any]] = {
        "scores": lambda: plot_scores(pairs, **sampling),
        "hubness": lambda: plot_hubness(pairs),
    }
    if pairs.store is not None:
        wanted["map"] = lambda: plot_map(pairs, data, **sampling)
    if call.recall is not None:
        given = call.recall
        points = given if isinstance(given, Mapping) else read_recall(given)
        wanted["recall"] = lambda: plot_recall(points)
    if call.runs is not None:
        runs = call.runs
        wanted["curves"] = lambda: plot_curves(runs)
        wanted["validation"] = lambda: plot_validation(runs)
    if call.metrics is not None:
        metrics = call.metrics
        wanted["gains"] = lambda: plot_gains(metrics)
    figures = {name: draw() for name, draw in wanted.items()}  # before anything is written
    out = Path(call.out)
    make_directory(out)
    return [
        save_figure(figure, out / f"{name}.{kind}")
        for name, figure in figures.items()
        for kind in call.formats
    ]


def _open_inputs(call: PlotCall) -> tuple[HardPairs, Any, Any]:
    if call.data is not None:
        return open_together(call.pairs, call.data, call.store)
    pairs = call.pairs if isinstance(call.pairs, HardPairs) else HardPairs.open(call.pairs)
    return pairs, None, call.store


def save_figure(figure: Any, path: Path) -> Path:
    """Write a figure by its ending, ``.png`` or ``.svg``; a file that is there is replaced."""
    with needed("plots are drawn by matplotlib", "helip[log]"):
        from matplotlib import rc_context
    kind = path.suffix[1:]
    told = {"Date": None} if kind == "svg" else {"Software": None}
    # Salted, so that the same figure gives the same bytes; text stays text.
    style: dict[Any, Any] = {"svg.hashsalt": "helip", "svg.fonttype": "none"}
    with rc_context(style), publish_file(path, overwrite=True) as temporary:
        figure.savefig(temporary, format=kind, dpi=DPI, metadata=told, bbox_inches="tight")
    return path
