"""The command that takes false negatives out of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from helip.cli.command import AsJson, Done, Quiet, command, text
from helip.cli.commands.data import open_data
from helip.cli.commands.mining import use_of
from helip.cli.showing import print_json, show_filtered
from helip.common.options import hints_of
from helip.common.remote.urls import shown
from helip.data.options import OpenOptions
from helip.pairs.options import FilterOptions


@command(FilterOptions, OpenOptions, name="filter", usual=tuple(hints_of(FilterOptions)))
def filter_pairs(
    pairs: Annotated[Path, text("A table of hard pairs.")],
    /,
    *,
    out: Annotated[Path, text("The table to write.")],
    by: Annotated[Path | None, text("A store of the same rows by one model, such as CLIP.")] = None,
    verdicts: Annotated[Path | None, text("A file of what people said of the pairs.")] = None,
    learnt_veto: Annotated[Path | None, text("What helip verdicts learn wrote.")] = None,
    store: Annotated[Path | None, text("learnt_veto: the store that was mined.")] = None,
    data: Annotated[str | None, text("learnt_veto: the data, where it knows captions.")] = None,
    json: AsJson = False,
    quiet: Quiet = False,
    **options: Any,
) -> Done:
    """Drop, downweight or count false negatives, by rules and by another model; mines nothing."""
    from helip.pairs.hard_pairs import HardPairs

    dataset, options = open_data(data, options, quiet)
    table = HardPairs.open(pairs, store=store)
    table = table if dataset is None else table.with_data(dataset)
    veto = None
    if learnt_veto is not None:
        from helip_view import LearntVeto

        veto = LearntVeto.open(learnt_veto)
    table = table.filter(
        by=by, verdicts=verdicts, learnt_veto=veto, out=out, progress=not quiet, **options
    )
    step = table.report["filter"][-1]
    if json:
        print_json({"path": shown(out), "options": table.options["filter"][-1], **step})
    else:
        show_filtered(step, table.options["filter"][-1]["action"])
    return Done(out, use_of(out, pairs))
