"""The command of the viewer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from helip.cli.command import Quiet, command, text
from helip.cli.commands.data import open_data
from helip.cli.messages import say
from helip.common.options import ThreadOptions
from helip.data.options import OpenOptions
from helip_view.options import ViewOptions


@command(ViewOptions, OpenOptions, ThreadOptions)
def view(
    pairs: Annotated[Path, text("Table of hard pairs.")],
    /,
    *,
    data: Annotated[str, text("The data set that was mined.")],
    model: Annotated[
        list[str], text("A model, or a store by one CLIP; twice: before and after tuning.")
    ] = [],  # noqa: B006
    store: Annotated[Path | None, text("Its store: similarities, near duplicates.")] = None,
    verdicts: Annotated[Path | None, text("File of verdicts; without: PAIRS.verdicts.")] = None,
    study: Annotated[Path | None, text("A study of the table: ask its questions.")] = None,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Look at hard pairs in a browser, and judge them by keys; served on this machine alone."""
    from helip_view.serving import require_extra, serve
    from helip_view.viewing import ViewCall

    require_extra()  # before data are opened, which may take long
    dataset, options = open_data(data, options, quiet)
    serve(
        ViewCall(
            pairs, dataset, model=tuple(model), store=store, verdicts=verdicts,
            study=study, progress=not quiet, **options,
        ),
        say,
    )  # fmt: skip
