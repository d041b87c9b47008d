"""Files that services read hold together with the Makefile, and name what is there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_a_new_release_of_a_linter_changes_nothing() -> None:
    dev = PROJECT["optional-dependencies"]["dev"]
    pinned = {line.partition("==")[0] for line in dev if "==" in line}
    assert {"ruff", "mypy", "clang-format", "pybind11-stubgen"} <= pinned


def test_hooks_call_what_make_lint_calls() -> None:
    recipe = MAKEFILE[MAKEFILE.index("\nlint:") :].split("\n\n")[0]
    called = {words.split("$$")[0].split(" python ")[0].strip() for words in
              re.findall(r"\$\(BIN\)/(.+)", recipe)}  # fmt: skip
    (local,) = read(".pre-commit-config.yaml")["repos"]
    hooks = {
        hook["entry"].removeprefix(".venv/bin/").replace(" --force-exclude", "")
        for hook in local["hooks"]
    }
    assert hooks == called


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda p: p.name)
def test_files_of_the_forge_are_yaml(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_workflow_runs_what_must_hold_and_may_only_read() -> None:
    workflow = read(".github/workflows/ci.yml")
    assert workflow["permissions"] == {"contents": "read"}
    assert {"run": ".ci/run"} in workflow["jobs"]["run"]["steps"]
    assert (ROOT / ".ci" / "run").is_file()


def test_both_languages_have_a_floor_of_coverage() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert config["tool"]["coverage"]["report"]["fail_under"] > 0
    assert re.search(r"--fail-under-line \$\(COVERAGE_CPP\)", MAKEFILE)
    assert int(re.search(r"COVERAGE_CPP \?= (\d+)", MAKEFILE)[1]) > 0


def test_make_bench_appends_to_the_history() -> None:
    recipe = MAKEFILE[MAKEFILE.index("\nbench:") :].split("\n\n")[0]
    written = re.findall(r"bench/(\w+)\.py", recipe)
    assert written[-1] == "history" and (ROOT / "bench" / "history.jsonl").is_file()
    assert all(f"build/bench/{name}.json" in recipe for name in written[:-1])
