"""The command that does again what another has done, from the options saved beside its output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from helip.cli.command import Again, AsJson, Quiet, Verbose, command, text
from helip.cli.messages import remark
from helip.cli.saved_options import find_options, load_options
from helip.common.errors import InvalidArgumentError
from helip.common.machine import use_threads
from helip.common.remote.urls import shown

# Options that name another file which a command writes.
_BESIDE_OUT = ("csv",)


@command()
def rerun(
    path: Annotated[Path, text("What a command has written, or the helip.yaml of it.")],
    /,
    *,
    out: Annotated[Path | None, text("Another place to write to.")] = None,
    dry_run: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Print the command line alone.")
    ] = False,
    json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> Again:
    """Do a command again with the options that it has saved beside its output.

    Without --out it writes to the same place, where it goes on or refuses as the command itself
    does. Paths are as they were given: run it in the same folder.
    """
    file = find_options(path)
    saved = load_options(file)
    if isinstance(threads := saved.options.get("threads"), int):
        use_threads(max(threads, 0))  # before the core, which loads NumPy
    from helip._core import __version__

    if saved.version != __version__:
        remark(f"{file} was saved by helip {saved.version}, and this is {__version__}")
    place = None if out is None else shown(out)
    for name in _BESIDE_OUT if place is not None else ():
        if saved.options.get(name) is not None:
            flag, line = f"--{name}", f"helip {saved.command} --config {file} --out {place}"
            raise InvalidArgumentError(
                f"{file} has {flag} {saved.options[name]} as well, which would be written over; "
                f"give another place for it: {line} {flag} FILE"
            )
    words = [saved.command, "--config", str(file)]
    words += [] if place is None else ["--out", place]
    flags = {"--print-command": dry_run, "--json": json, "--quiet": quiet, "--verbose": verbose}
    return Again([*words, *(flag for flag, there in flags.items() if there)], file)
