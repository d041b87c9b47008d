"""The command of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from helip.cli.command import AsJson, Done, Quiet, command, text
from helip.cli.commands.data import open_data
from helip.cli.commands.evaluation import metrics_of
from helip.cli.messages import say
from helip.cli.showing import print_json
from helip.common.options import ThreadOptions
from helip.data.options import OpenOptions
from helip.reporting.options import ReportOptions


@command(ReportOptions, OpenOptions, ThreadOptions)
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
    json: AsJson = False,
    quiet: Quiet = False,
    **options: Any,
) -> Done:
    """Write one HTML page: targets and their hard pairs, statistics, before and after."""
    from helip.pairs.hard_pairs import HardPairs
    from helip.reporting.page import report

    table = HardPairs.open(pairs)
    shown, guarded = metrics_of(metrics, guard)
    dataset, options = open_data(data, options, quiet)
    page = report(
        table, dataset, out, captions=captions, store=store, metrics=shown, guard=guarded,
        progress=not quiet, **options,
    )  # fmt: skip
    if json:
        print_json({"path": str(page), "targets": len(table)})
    else:
        say(f"wrote {page}")
    return Done(out, f"open {page} in a browser")
