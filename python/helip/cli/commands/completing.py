"""The command that teaches a shell the others."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from helip.cli.command import command, text


@command()
def completion(shell: Annotated[Literal["bash", "zsh", "fish"], text("Which shell.")], /) -> None:
    """Print a script by which a shell completes commands, options and choices on Tab.

    bash: helip completion bash > ~/.local/share/bash-completion/completions/helip
    zsh: helip completion zsh > a folder of $fpath, as _helip
    fish: helip completion fish > ~/.config/fish/completions/helip.fish
    """
    from helip.cli.main import make_app

    sys.stdout.write(make_app(show_all=True).generate_completion(shell=shell))
