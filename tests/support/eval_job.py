"""``helip eval`` of two models on two sets, which notes each call of an encoder and can be killed.

``python -c "from support.eval_job import run; run(…)"`` is a job of its own; a test also calls it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from helip.cli import main as cli
from helip.common import files
from helip.evaluation import suite
from helip.evaluation.encoding import Subject
from helip.models.saving import save_model
from support.evaluate_samples import COLOURS, picture, png, tiny_model, write_benchmark


def write_inputs(folder: Path) -> None:
    """Models ``start`` and ``control``; ``colours`` with classes, ``captions`` for retrieval."""
    for seed, name in enumerate(("start", "control")):
        save_model(tiny_model(seed), folder / name)
    colours = list(COLOURS.values())
    rows = [(png(picture(i, colours[i % 4])), str(i % 4)) for i in range(32)]
    write_benchmark(folder / "colours", rows[:16], classes=list(COLOURS))
    write_benchmark(folder / "colours", rows[16:], split="train", shards=1)
    captioned = [(png(picture(i)), f"one {i}\ntwo {i}") for i in range(10)]
    write_benchmark(folder / "captions", captioned, retrieval=True)


def run(
    inputs: str, out: str, notes: str, die: tuple[str, int] | None = None, *, probe: bool = False
) -> None:
    """Measure; ``notes`` gets a line an event, and at number n of ``die``'s kind SIGKILL comes.

    Kinds: ``image`` and ``text`` before a call of an encoder, ``write`` before a task's file is
    given its name, ``written`` after it has it. ``probe``: two tasks on ``colours`` alone.
    """
    torch.set_num_threads(1)
    seen = dict.fromkeys(("image", "text", "write", "written"), 0)

    def note(kind: str) -> None:
        with Path(notes).open("a") as file:
            file.write(kind + "\n")
        if kind in seen:
            seen[kind] += 1
            if die == (kind, seen[kind]):
                os.kill(os.getpid(), signal.SIGKILL)

    def noting(kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            note(kind)
            return original(*arguments, **options)

        return call

    def named(original: Callable[..., Any]) -> Callable[..., Any]:
        def sync(path: Any) -> None:
            original(path)
            of_no_task = (".tmp-table", ".tmp-helip.yaml")
            if ".tmp-" in str(path) and not any(name in str(path) for name in of_no_task):
                note("write")

        return sync

    def told(original: Callable[..., Any]) -> Callable[..., Any]:
        def replace(*arguments: Any) -> None:
            original(*arguments)
            note("written")

        return replace

    more = (
        ["--tasks", "zero_shot", "--tasks", "linear_probe"]
        if probe
        else [f"captions={inputs}/captions"]
    )
    arguments = [
        "helip", "eval", f"colours={inputs}/colours", *more,
        "--model", f"start={inputs}/start", "--model", f"control={inputs}/control",
        "--bootstrap", "20", "--batch-size", "7", "--device", "cpu", "--quiet",
        "--out", out, "--skip-existing",
    ]  # fmt: skip
    with (
        patch.object(Subject, "images", noting("image", Subject.images)),
        patch.object(Subject, "texts", noting("text", Subject.texts)),
        patch.object(suite, "evaluate", noting("evaluate", suite.evaluate)),
        patch.object(suite, "replace_file", told(suite.replace_file)),
        patch.object(files, "sync", named(files.sync)),
        patch.object(sys, "argv", arguments),
    ):
        cli.main()
