"""The tutorial runs word for word, and what it shows as output is what comes out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from support.document_blocks import ROOT, blocks

PAGE = "docs/tutorial.md"
MINE = "run", "tests/python/docs/test_tutorial.py"


def files() -> dict[str, str]:
    """What the reader is told to save, by its name."""
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    return dict(re.findall(r"`([\w.]+)`:\n\n```json\n(.*?)```", text, re.S))


def commands() -> list[str]:
    return [block.text for block in blocks(PAGE) if block.mark == MINE]


def shown() -> list[str]:
    """What each line of the outputs begins with: words, without the figures that follow, nor the
    precision of encoders, which depends on the processor."""
    tokens = MarkdownIt("commonmark").parse((ROOT / PAGE).read_text(encoding="utf-8"))
    lines = [
        line
        for token in tokens
        if token.type == "fence" and token.info == "text"
        for line in token.content.splitlines()
    ]
    labels = [re.split(r"  |:|, fingerprint| in float32", line.strip())[0] for line in lines]
    return [label for label in labels if re.match(r"[a-z]", label)]


def test_the_tutorial_has_commands_outputs_and_a_file() -> None:
    assert len(commands()) >= 9 and len(shown()) >= 12 and set(files()) == {"small.json"}


@pytest.mark.slow
def test_the_tutorial_runs_word_for_word(tmp_path: Path) -> None:
    work = tmp_path / "tutorial"
    work.mkdir()
    for name, text in files().items():
        (work / name).write_text(text, encoding="utf-8")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, words in (("python", '"$@"'), ("helip", '-m helip "$@"')):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}\n')
        (programs / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    env.pop("OMP_NUM_THREADS", None)  # the reader has all cores
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands())],
        cwd=work, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    assert not [label for label in shown() if label not in said]
    assert {path.name for path in work.glob("*.html")} == {"pairs.html", "report.html"}
