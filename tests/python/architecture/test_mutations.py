"""The list of safeguards that `make mutations` takes out fits the sources and the tests."""

from __future__ import annotations

import importlib.util
import re
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def listed():
    path = ROOT / "tests" / "mutations" / "run.py"
    spec = importlib.util.spec_from_file_location("mutations_run", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module.MUTATIONS


MUTATIONS = listed()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_text_that_is_replaced_is_in_the_source_once(mutation):
    text = (ROOT / "cpp" / "src" / mutation.source).read_text()
    assert text.count(mutation.old) == 1


def test_each_names_a_test():
    sources = [path.read_text() for path in (ROOT / "tests" / "cpp").rglob("*.cpp")]
    names = re.findall(r'TEST_CASE\("([^"]+)"', "\n".join(sources))
    assert [each.name for each in MUTATIONS if not any_matches(names, each.tests)] == []


def any_matches(names: list[str], pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)
