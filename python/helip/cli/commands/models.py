"""Commands on models alone: mixing two of them, and writing the layouts of other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from helip.cli.command import AsJson, Done, command, text
from helip.cli.command_line import line_of
from helip.cli.messages import say
from helip.cli.showing import print_json
from helip.models.options import ModelOptions


@command()
def interpolate(
    start: Annotated[Path, text("The model that was fine-tuned.")],
    tuned: Annotated[Path, text("What became of it.")],
    /,
    *,
    out: Annotated[Path, text("The model to write; with several, a folder of them.")],
    alpha: Annotated[list[float], text("Share of TUNED; repeatable. Default 0.5.")] = [],  # noqa: B006
    json: AsJson = False,
) -> Done:
    """Mix the weights of two models (WiSE-FT), against forgetting."""
    from helip.models.bundle import create_model
    from helip.models.interpolation import interpolate

    shares = alpha or [0.5]
    first, second = create_model(start), create_model(tuned)
    mixtures: list[dict[str, Any]] = []
    for share in shares:
        path = out if len(shares) == 1 else out / f"alpha-{share:g}"
        interpolate(first, second, share, out=path)
        mixtures.append({"path": str(path), "alpha": share})
        if not json:
            say(f"{path}: {1 - share:g} of {start} + {share:g} of {tuned}")
    if json:
        print_json({"start": str(start), "tuned": str(tuned), "mixtures": mixtures})
    models = [each["path"] for each in mixtures]
    return Done(out, line_of("eval", data=["DATA"], model=models))


@command(ModelOptions, without=("ssl_head", "from_scratch"))
def export(
    model: Annotated[str, text("open_clip name, config or saved model.")],
    /,
    *,
    out: Annotated[Path, text("The folder to write.")],
    to: Annotated[Literal["open_clip", "transformers"], text("Whose layout.")] = "open_clip",
    json: AsJson = False,
    **options: Any,
) -> Done:
    """Write a model so that open_clip or transformers opens it."""
    from helip.models.bundle import create_model
    from helip.models.saving import export

    path = export(create_model(model, **options), out, format=to)
    if json:
        print_json({"path": str(path), "format": to})
    else:
        say(f"wrote {path}")
    return Done(out)
