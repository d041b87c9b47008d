"""The commands that a user types next, on data of their own."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path


def program() -> str:
    """How the shell that started this process calls helip."""
    called = sys.argv[0]
    if Path(called).name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m helip"
    found = shutil.which("helip")
    if found is not None and os.path.exists(called) and os.path.samefile(found, called):
        return "helip"
    return shlex.quote(called)


def commands(start: str | os.PathLike[str] | None, *, data: str = "DATA") -> list[str]:
    """Embed, mine, and train from the model ``start``; without one, look at what was mined.

    They are complete: with the path of data in the place of ``data`` they run as they are.
    """
    if start is None:
        last = f"report my.pairs --data {data} --store my.store --out my.html"
    else:
        last = f"train {data} --model {shlex.quote(str(start))} --pairs my.pairs --out my.run"
    return [
        f"embed {data} --preset packaged --out my.store",
        "mine my.store --out my.pairs",
        last,
    ]


def words(start: str | os.PathLike[str] | None) -> str:
    """What stands under the results."""
    lines = ["Next, on data of your own:"]
    lines += [f"  {program()} {command}" for command in commands(start)]
    lines += [
        "DATA is a folder of pictures with a .txt of the same name beside each, a CSV, Parquet",
        "or tar shards. --preset packaged: the encoders of this demo; --preset paper is DINOv2",
        "and MPNet, and downloads some 500 MB.",
    ]
    if start is not None:
        lines += [
            "--model is the demo's small start model here; give the file or folder of your own",
            "CLIP, or ViT-B-32 --checkpoint laion2b_s34b_b79k, which downloads 600 MB.",
        ]
    return "\n".join(lines)
