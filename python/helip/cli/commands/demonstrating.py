"""The command that shows what helip does, on pictures of a package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from helip.cli.command import AsJson, Done, Quiet, command, text
from helip.cli.messages import remark
from helip.cli.showing import print_json
from helip.common.options import Whole


@command()
def demo(
    *,
    quick: Annotated[
        bool,
        Parameter(negative=(), show_default=False, help="Show the hard pairs; train not."),
    ] = False,
    out: Annotated[Path, text("Folder for data, models and the report.")] = Path("demo-out"),
    seed: Whole = 0,
    threads: Annotated[Whole, text("0: all cores.")] = 0,
    json: AsJson = False,
    quiet: Quiet = False,
) -> Done:
    """Show hard pairs of 600 emoji pictures in a minute, then train with those of all in four."""
    remark("helip demo: loading torch")
    from helip_demo import demonstration

    found = demonstration.run(
        out,
        quick=quick,
        seed=seed,
        threads=threads or None,
        progress=not quiet,
        say=remark,
        show=remark if json else lambda words: print(words, flush=True),
    )
    if json:
        print_json(found)
    return Done(out)  # what it shows ends with the next commands
