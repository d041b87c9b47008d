"""The command that copies what helip wrote to object storage and from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from helip.cli.command import AsJson, Quiet, command, text
from helip.cli.messages import say
from helip.cli.showing import print_json
from helip.common.remote.copying import CopyOptions
from helip.common.remote.urls import shown


@command(CopyOptions)
def copy(
    source: Annotated[
        Path, text("A store, a table, a part or an index of pairs: a directory or a URL.")
    ],
    target: Annotated[Path, text("Where it goes: a directory, or a URL of s3, gs or az.")],
    /,
    *,
    json: AsJson = False,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Copy what helip wrote to a bucket or from it, checked; the same call goes on."""
    from helip.common.remote.copying import copy

    there = shown(copy(source, target, progress=not quiet, **options))
    if json:
        print_json({"path": there})
    else:
        say(f"{there} is whole")
