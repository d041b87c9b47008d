"""Commands that take what helip wrote elsewhere: to a bucket or from it, and to a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from helip.cli.command import Done, command, text
from helip.common.hub.options import PushOptions
from helip.common.remote.copying import CopyOptions
from helip.common.remote.urls import shown
from helip.models.options import ModelCardOptions, ModelLayout


@command(CopyOptions)
def copy(
    source: Annotated[
        Path, text("A store, a table, a part or an index of pairs: a directory or a URL.")
    ],
    target: Annotated[Path, text("Where it goes: a directory, or a URL of s3, gs or az.")],
    /,
    **options: Any,
) -> Done:
    """Copy what helip wrote to a bucket or from it, checked; the same call goes on."""
    from helip.common.remote.copying import copy

    there = shown(copy(source, target, **options))
    return Done(facts={"path": there}, said=[f"{there} is whole"])


@command(ModelCardOptions, PushOptions, without=("token", "progress"))
def push(
    path: Annotated[Path, text("A run, a checkpoint, a model or a table of hard pairs.")],
    repo: Annotated[str, text("NAME or OWNER/NAME on the hub.")],
    /,
    *,
    results: Annotated[Path | None, text("What helip eval --out wrote, for the card.")] = None,
    layout: Annotated[ModelLayout, text("A model: whose files.")] = "auto",
    parquet: Annotated[
        bool, Parameter(negative=(), help="A table: also a file for datasets.")
    ] = False,
    **options: Any,
) -> Done:
    """Upload a model or a table to the Hugging Face Hub, by the token of HF_TOKEN or a login."""
    from helip.integrations.pushing import push_to_hub

    measured = None
    if results is not None:
        from helip.evaluation.suite import results_as_markdown

        measured = results_as_markdown(results)
    address = push_to_hub(path, repo, results=measured, layout=layout, parquet=parquet, **options)
    return Done(facts={"url": address}, text=address)
