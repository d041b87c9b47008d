"""The commands of the front page and of the tutorial are commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from helip.cli.main import make_app

DOCS = Path(__file__).resolve().parents[3] / "docs"


def commands(page: str) -> list[str]:
    """The indented lines that begin with helip, each with the lines that it goes on in."""
    text = (DOCS / page).read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(r"(?m)^    (helip .*)$", text)


@pytest.mark.parametrize(
    ("page", "line"),
    [(page, line) for page in ("index.md", "tutorial.md") for line in commands(page)],
    ids=lambda word: " ".join(word.split()[:3]),
)
def test_a_command_of_a_page_parses(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    make_app().parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", ["index.md", "tutorial.md"])
def test_a_page_has_commands(page: str) -> None:
    assert len(commands(page)) >= 5
