"""Commands on models alone: mixing two of them, and writing the layouts of other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from helip.cli.command import Done, command, text
from helip.cli.wording import line_of
from helip.models.options import ModelOptions


@command()
def interpolate(
    start: Annotated[Path, text("The model that was fine-tuned.")],
    tuned: Annotated[Path, text("What became of it.")],
    /,
    *,
    out: Annotated[Path, text("The model to write; with several, a folder of them.")],
    alpha: Annotated[list[float], text("Share of TUNED; repeatable. Default 0.5.")] = [],  # noqa: B006
) -> Done:
    """Mix the weights of two models (WiSE-FT), against forgetting."""
    from helip.models.bundle import create_model
    from helip.models.interpolation import interpolate

    shares = alpha or [0.5]
    first, second = create_model(start), create_model(tuned)
    paths = [out if len(shares) == 1 else out / f"alpha-{share:g}" for share in shares]
    for path, share in zip(paths, shares, strict=True):
        interpolate(first, second, share, out=path)
    mixtures = [{"path": str(p), "alpha": s} for p, s in zip(paths, shares, strict=True)]
    facts = {"start": str(start), "tuned": str(tuned), "mixtures": mixtures}
    said = [
        f"{path}: {1 - share:g} of {start} + {share:g} of {tuned}"
        for path, share in zip(paths, shares, strict=True)
    ]
    return Done(out, line_of("eval", data=["DATA"], model=paths), facts=facts, said=said)


@command(ModelOptions, without=("ssl_head", "from_scratch"))
def export(
    model: Annotated[str, text("open_clip name, config or saved model.")],
    /,
    *,
    out: Annotated[Path, text("The folder to write.")],
    to: Annotated[Literal["open_clip", "transformers"], text("Whose layout.")] = "open_clip",
    **options: Any,
) -> Done:
    """Write a model so that open_clip or transformers opens it."""
    from helip.models.bundle import create_model
    from helip.models.saving import export

    del options["progress"]
    path = export(create_model(model, **options), out, format=to)
    return Done(out, facts={"path": str(path), "format": to}, said=[f"wrote {path}"])
