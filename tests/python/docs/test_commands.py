"""Commands that pages show exist, with their options; each block says what runs it or why not."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import cyclopts
import pytest

from helip.cli.main import make_app
from helip.cli.registry import ENTRIES
from support.document_blocks import (
    PAGES,
    ROOT,
    Block,
    blocks,
    command_lines,
    helip_words,
    inline_commands,
)

SHELL = [block for page in PAGES for block in blocks(page) if block.language == "bash"]
NAMES = {entry.name for entry in ENTRIES}
LEFT_OUT = ("…", "...")
# A word that stands for one of the reader's own.
PLACEHOLDER = re.compile(r"\b[A-Z]+\b|\$\w|…|n/m|i/n")


@cache
def app_of(name: str) -> cyclopts.App:
    return make_app(only=name)


@cache
def options_of(name: str) -> frozenset[str]:
    arguments = app_of(name)[name].assemble_argument_collection()
    return frozenset(form for argument in arguments for form in argument.names) | {
        "--help", "--help-all", "--config", "--print-config"
    }  # fmt: skip


def problems(words: list[str], *, whole: bool) -> list[str]:
    """What the program would refuse; ``whole``: the command also has all that it needs."""
    if not words or words[0].startswith("-"):
        return [word for word in words[:1] if word not in ("--help", "--version")]
    name, *rest = words
    if name not in NAMES:
        return [f"no command {name}"]
    given = [word for word in rest if word not in LEFT_OUT]
    options = [word.split("=")[0] for word in given if re.match(r"--?[a-z]", word)]
    unknown = [f"{name} has no {option}" for option in options if option not in options_of(name)]
    open_ends = given != rest or any(PLACEHOLDER.search(word) for word in given)
    if unknown or not whole or open_ends or "--config" in options or "--help" in options:
        return unknown
    try:
        app_of(name).parse_args([name, *given], exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        return [f"{name}: {error}"]
    return []


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_a_command_of_helip_is_one_that_it_takes(block: Block) -> None:
    lines = [helip_words(words) for words in command_lines(block.text)]
    found = [said for words in lines if words is not None for said in problems(words, whole=True)]
    assert not found, f"{block}: {found}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_have_the_options_that_it_names(page: str) -> None:
    found = []
    for span in inline_commands(page):
        words = command_lines(span)[0][1:]
        if words[0] in NAMES or not re.fullmatch("[A-Z]+", words[0]):
            found += problems(words, whole=False)
    assert not found, f"{page}: {found}"


def targets_of_make() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return {
        name for names in re.findall(r"(?m)^([a-z][\w -]*):(?!=)", text) for name in names.split()
    }


def extras() -> set[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = text[text.index("[project.optional-dependencies]") : text.index("[project.scripts]")]
    return set(re.findall(r"(?m)^(\w+) = \[", table))


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_files_targets_and_extras_that_a_block_names_are_there(block: Block) -> None:
    for words in command_lines(block.text):
        program, *rest = words
        if program == "make":
            named = [word for word in rest if re.fullmatch(r"[a-z-]+", word)]
            assert set(named) <= targets_of_make(), block
        elif program == "python" and rest and rest[0].endswith(".py"):
            assert (ROOT / rest[0]).is_file(), block
            flags = {word.split("=")[0] for word in rest[1:] if word.startswith("--")}
            folder = Path(rest[0]).parent
            code = "".join(p.read_text(encoding="utf-8") for p in (ROOT / folder).rglob("*.py"))
            assert not {flag for flag in flags if f'"{flag}"' not in code}, block
        elif program == "pip":
            named = re.findall(r"(?:helip|\.)\[([\w,]+)\]", " ".join(rest))
            assert {name for names in named for name in names.split(",")} <= extras(), block


@pytest.mark.parametrize("block", [block for block in SHELL if block.fenced], ids=str)
def test_a_block_of_the_shell_holds_no_python(block: Block) -> None:
    assert not re.findall(r"(?m)^(?:\w+ = |import |from |with |print\().*", block.text)


@pytest.mark.parametrize("page", PAGES)
def test_each_block_is_run_by_a_test_or_says_why_not(page: str) -> None:
    """Marks are explained in tests/support/document_blocks.py."""
    found = blocks(page)
    silent = [str(block) for block in found if block.mark is None]
    assert not silent, "write <!-- run: FILE --> or <!-- not run: REASON --> before these blocks"
    runs = {block.mark[1] for block in found if block.mark and block.mark[0] == "run"}
    assert all((ROOT / file).is_file() for file in runs)
