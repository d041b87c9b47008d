"""Commands that show a table and what came of it: one page, and plots."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from helip.cli.command import Done, command, text
from helip.cli.commands.data import named_paths, open_data
from helip.cli.commands.evaluation import metrics_of
from helip.common.options import ThreadOptions, hints_of
from helip.data.options import OpenOptions
from helip.reporting.options import PlotOptions, ReportOptions

_USUAL = {name for group in (ReportOptions, OpenOptions, ThreadOptions) for name in hints_of(group)}


@command(ReportOptions, OpenOptions, ThreadOptions, usual=_USUAL - {"row_per", "follow_links"})
def report(
    pairs: Annotated[Path, text("Table of hard pairs.")],
    /,
    *,
    out: Annotated[Path, text("The page to write.")],
    data: Annotated[str | None, text("What was mined; without it no pictures.")] = None,
    captions: Annotated[Path | None, text("No --data: a text file, a caption a line.")] = None,
    store: Annotated[Path | None, text("Its store: similarities, baselines, keys.")] = None,
    metrics: Annotated[
        list[str], text("NAME=FILE.json or a folder, from helip eval --out; repeatable.")
    ] = [],  # noqa: B006
    guard: Annotated[list[str], text("General data set of that folder; repeatable.")] = [],  # noqa: B006
    **options: Any,
) -> Done:
    """Write one HTML page: targets and their hard pairs, statistics, before and after."""
    from helip.pairs.hard_pairs import HardPairs
    from helip.reporting.page import report

    table = HardPairs.open(pairs)
    shown, guarded = metrics_of(metrics, guard)
    dataset, options = open_data(data, options)
    page = report(
        table, dataset, out, captions=captions, store=store, metrics=shown, guard=guarded, **options
    )
    return Done(
        out, f"open {page} in a browser",
        facts={"path": str(page), "targets": len(table)}, said=[f"wrote {page}"],
    )  # fmt: skip


@command(PlotOptions, OpenOptions, ThreadOptions)
def plot(
    pairs: Annotated[Path, text("Table of hard pairs.")],
    /,
    *,
    out: Annotated[Path, text("Folder of the pictures; those that are there are replaced.")],
    store: Annotated[Path | None, text("Its store: both similarities, and a map.")] = None,
    data: Annotated[str | None, text("The data set that was mined: pictures on the map.")] = None,
    recall: Annotated[Path | None, text("JSON of points with recall and seconds.")] = None,
    metrics: Annotated[
        list[str], text("NAME=FILE.json or a folder, from helip eval --out; repeatable.")
    ] = [],  # noqa: B006
    run: Annotated[
        list[str], text("NAME=FOLDER of helip train with --eval-every; repeatable.")
    ] = [],  # noqa: B006
    **options: Any,
) -> Done:
    """Draw a table: scores, hubness, a map of the hardest pairs; recall, validations, gains."""
    from helip.pairs.hard_pairs import HardPairs
    from helip.reporting.plots.drawing import plot
    from helip.training.metrics import read_metrics

    table = HardPairs.open(pairs)
    shown, _ = metrics_of(metrics, [])
    runs = {
        name: read_metrics(Path(folder) / "metrics.jsonl")
        for name, folder in named_paths("--run", run).items()
    }
    dataset, drawn = open_data(data, options)
    del drawn["progress"]
    drawings = plot(
        table, out, store=store, data=dataset, recall=recall, runs=runs or None, metrics=shown,
        **drawn,
    )  # fmt: skip
    return Done(
        out, f"look at the pictures in {out}",
        facts={"paths": [str(path) for path in drawings]},
        said=[f"wrote {path}" for path in drawings],
    )  # fmt: skip
