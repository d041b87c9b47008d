"""What pages of the documentation show as commands and as Python, and whether a test runs it.

A mark is a comment of HTML, which a page does not show. It stands right before a block, or right
below the title for all blocks of the page that have none of their own::

    <!-- run: tests/python/docs/test_tutorial.py -->
    <!-- not run: it takes hours -->
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "examples" / "README.md", *ROOT.glob("docs/*.md"))
)
_MARK = re.compile(r"<!-- (run|not run): (.+?) -->\s*$", re.DOTALL)
# What begins a line of an indented block that is a shell's.
_COMMANDS = ("helip", "make", "pip", "python", "torchrun")
_KEYWORDS = {"while", "do", "for", "if", "then", "time", "nice", "export", "exec"}


@dataclass(frozen=True)
class Block:
    """A block of code on a page."""

    page: str
    line: int
    language: str
    text: str
    fenced: bool
    """Whether the page names the language; that of an indented block is guessed."""
    mark: tuple[str, str] | None
    """("run", the file that runs it) or ("not run", why not)."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    """The blocks of a page in the shell and in Python."""
    tokens = MarkdownIt("commonmark").parse((ROOT / page).read_text(encoding="utf-8"))
    found, whole, mark = [], None, None
    for place, token in enumerate(tokens):
        if token.type == "html_block":
            said = _MARK.match(token.content)
            mark = (said[1], " ".join(said[2].split())) if said else None
            below = tokens[place - 1]
            if mark and below.type == "heading_close" and below.tag == "h1":
                whole = mark
        elif token.type in ("fence", "code_block") and token.map is not None:
            language = token.info.split(" ")[0] if token.type == "fence" else _guess(token.content)
            if language in ("bash", "python"):
                line, fenced = token.map[0] + 1, token.type == "fence"
                found.append(Block(page, line, language, token.content, fenced, mark or whole))
            mark = None
        else:
            mark = None
    return found


def run_python(page: str) -> dict[str, Any]:
    """Runs what a page shows as Python; the names that it leaves."""
    names: dict[str, Any] = {}
    for block in blocks(page):
        if block.language == "python":
            exec(compile(block.text, page, "exec"), names)
    return names


def run_commands(page: str) -> list[str]:
    """Runs each command of helip that a page shows; what they print. AssertionError: one failed."""
    said = []
    for block in blocks(page):
        for words in command_lines(block.text) if block.language == "bash" else []:
            command = [sys.executable, "-m", "helip", *(helip_words(words) or ["?"])]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            said.append(done.stdout)
    return said


def inline_commands(page: str) -> list[str]:
    """``helip …`` in the text and tables of a page, without the short names of commands."""
    tokens = MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text("utf-8"))
    children = (child for token in tokens for child in token.children or ())
    spans = [child.content for child in children if child.type == "code_inline"]
    return [span for span in spans if re.match(r"helip [a-z]+ ", span)]


def command_lines(text: str) -> list[list[str]]:
    """The simple commands of a shell text as words; what is left out (`…`) is left out."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in [*_words(line), ";"]:
            if set(word) <= set("();<>|&"):
                found.append(words)
                words = []
            elif words or not (word in _KEYWORDS or re.match(r"[A-Z_]+=", word)):
                words.append(word)
    return [words for words in found if words]


def helip_words(words: list[str]) -> list[str] | None:
    """What follows ``helip`` in a command; None where it is another program's."""
    if words[0] == "helip":
        return words[1:]
    if words[:3] == ["python", "-m", "helip"]:
        return words[3:]
    if words[0] == "torchrun":
        for place, word in enumerate(words):
            if word == "helip":
                return words[place + 1 :]
    return None


def _words(line: str) -> Iterator[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    yield from lexer


def _guess(text: str) -> str:
    """The language of an indented block, which has no name."""
    first = [line.split(" ")[0] for line in text.splitlines()]
    if any(word in _COMMANDS for word in first):
        return "bash"
    return "python" if re.search(r"(?m)^(import |with |helip\.|\w+ = helip\.)", text) else ""
