"""What CONTRIBUTING.md names is there."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
WORDS = re.findall(r"`([^`\n]+)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
EXAMPLES = re.compile(r"lsh|slurm|jina|lance|community|counting|negclip")
FOLDERS = ("python", "cpp", "tests", "bench", "scripts", "docs")


def named(pattern: str) -> list[str]:
    return sorted({w for w in WORDS if re.fullmatch(pattern, w) and not EXAMPLES.search(w)})


@functools.cache
def files() -> list[Path]:
    found = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.is_file()]
    return [p for p in found if p.suffix in (".py", ".pyi", ".h", ".cpp", ".cu", ".md", ".txt")]


@functools.cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", named(r"[\w./-]+\.(py|h|cpp|md|toml)|[\w.-]+(/[\w.-]+)+"))
def test_a_path_exists(path: str) -> None:
    """Whole, or its end: ``loading/sampling.py``."""
    whole = (ROOT / path).exists()
    assert whole or any(f"/{path}" in p.as_posix() + "/" for p in files())


@pytest.mark.parametrize("name", named(r"(helip::)?\w+(\(.*\))?"))
def test_a_name_is_used(name: str) -> None:
    word = name.removeprefix("helip::").partition("(")[0]
    sources = [p for p in files() if p.suffix != ".md" and p != Path(__file__)]
    texts = map(text_of, sources)
    targets = ((ROOT / f).read_text(encoding="utf-8") for f in ("Makefile", "pyproject.toml"))
    assert any(word in text for text in (*targets, *texts))
