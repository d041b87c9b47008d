"""Examples in docstrings give what they show."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

PYTHON = Path(__file__).resolve().parents[3] / "python"
MODULES = sorted(
    ".".join(path.relative_to(PYTHON).with_suffix("").parts)
    for path in (PYTHON / "helip").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
# The names that most readers begin with.
FIRST = ("EmbeddingStore", "HardPairs", "HelipLoss", "PairIndex", "StreamingMiner", "mine", "plan")


def examples_of(module: str) -> list[doctest.DocTest]:
    """Also of decorated functions, which ``DocTestFinder`` takes for those of another module."""
    names = vars(importlib.import_module(module))
    own = {name: value for name, value in names.items() if _module_of(value) == module}
    finder = doctest.DocTestFinder()
    found = [t for name, value in own.items() for t in finder.find(value, name, False, {})]
    return [test for test in found if test.examples]


def _module_of(value: object) -> object:
    return getattr(value, "__module__", None)


def test_the_main_names_have_examples() -> None:
    named = {test.name for module in MODULES for test in examples_of(module)}
    assert set(FIRST) <= named


@pytest.mark.parametrize("module", MODULES)
def test_examples_give_what_they_show(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in examples_of(module):
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)
