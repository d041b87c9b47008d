"""The command that tells beforehand whether hard pairs will help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from helip.cli.command import AsJson, Done, Quiet, command, text
from helip.cli.command_line import line_of
from helip.cli.commands.data import open_data, opening_of
from helip.cli.showing import print_json
from helip.common.errors import InvalidArgumentError
from helip.common.options import ThreadOptions
from helip.data.options import OpenOptions
from helip.diagnosis.options import DiagnoseOptions

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
