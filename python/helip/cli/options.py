"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress display.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Threads = Annotated[int, typer.Option(help="0: all cores.", min=0)]
Memory = Annotated[str | None, typer.Option(help='Bound of the buffers, such as "4GB".')]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
MiningDevice = Annotated[str, typer.Option(help='auto, cpu, cuda, "cuda:0,cuda:1", cuda:all.')]
Seed = Annotated[int, typer.Option(min=0)]
