"""Commands on a table of hard pairs: what is false in it, and whether it will help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from helip.cli.command import AsJson, Done, Quiet, command, text
from helip.cli.command_line import line_of
from helip.cli.commands.data import open_data, opening_of
from helip.cli.commands.mining import use_of
from helip.cli.showing import print_json, show_filtered
from helip.common.errors import InvalidArgumentError
from helip.common.options import ThreadOptions, hints_of
from helip.common.remote.urls import shown
from helip.data.options import OpenOptions
from helip.diagnosis.options import DiagnoseOptions
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


_USUAL = (
    "batch_size", "window", "targets", "encoded_rows", "seed", "device", "precision", "workers",
    "threads", "image_column", "caption_column", "key_column", "limit", "subset", "split",
)  # fmt: skip


@command(DiagnoseOptions, OpenOptions, ThreadOptions, usual=_USUAL)
def diagnose(
    pairs: Annotated[Path, text("Table of hard pairs.")],
    /,
    *,
    data: Annotated[str, text("The data set that was mined.")],
    model: Annotated[str | None, text("What shall be trained: name, config or folder.")] = None,
    checkpoint: Annotated[str | None, text("Its weights, where --model is a name.")] = None,
    store: Annotated[Path | None, text("The store that was mined: near duplicates.")] = None,
    json: AsJson = False,
    quiet: Quiet = False,
    **options: Any,
) -> Done:
    """Tell before training whether hard pairs will help a model on its data."""
    if checkpoint is not None and model is None:
        raise InvalidArgumentError(
            f"--checkpoint {checkpoint} is the weights of a model, and there is none; give --model"
        )
    from helip.diagnosis.diagnosing import diagnose
    from helip.evaluation.model_source import ModelSource
    from helip.pairs.hard_pairs import HardPairs

    table = HardPairs.open(pairs)
    bundle = None if model is None else ModelSource(model, checkpoint).load()
    opening = opening_of(options)
    dataset, options = open_data(data, options, quiet)
    found = diagnose(table, dataset, bundle, store=store, progress=not quiet, **options)
    if json:
        print_json(found.to_dict())
    else:
        print(found)
    trained = {"model": model or "MODEL", "checkpoint": checkpoint, "out": "RUN"}
    return Done(next=line_of("train", data=data, pairs=pairs, **trained, **opening))
