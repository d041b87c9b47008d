"""Commands on models alone: mixing two of them, and writing the layouts of other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from helip.cli.showing import say


def interpolate(
    start: Annotated[Path, typer.Argument(help="The model that was fine-tuned.")],
    tuned: Annotated[Path, typer.Argument(help="What became of it.")],
    out: Annotated[Path, typer.Option(help="The model to write; with several, a folder of them.")],
    alpha: Annotated[
        list[float] | None, typer.Option(help="Share of TUNED; repeatable. Default 0.5.")
    ] = None,
) -> None:
    """Mix the weights of two models (WiSE-FT), against forgetting."""
    import helip
    from helip.models.bundle import create_model

    shares = alpha or [0.5]
    first, second = create_model(start), create_model(tuned)
    for share in shares:
        path = out if len(shares) == 1 else out / f"alpha-{share:g}"
        helip.interpolate(first, second, share, out=path)
        say(f"{path}: {1 - share:g} of {start} + {share:g} of {tuned}")


def export(
    model: Annotated[str, typer.Argument(help="open_clip name, config or saved model.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    to: Annotated[str, typer.Option(help="open_clip or transformers.")] = "open_clip",
    checkpoint: Annotated[Path | None, typer.Option(help="Weights to load.")] = None,
) -> None:
    """Write a model so that open_clip or transformers opens it."""
    import helip
    from helip.models.bundle import create_model

    path = helip.export(create_model(model, checkpoint=checkpoint), out, format=to)
    say(f"wrote {path}")
