"""The site of the documentation has every page, public name and header; links lead to files."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
OUTSIDE = "repository/"  # where scripts/site_pages.py puts what lies outside of docs/


def entries(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
        return
    for part in nav.values() if isinstance(nav, dict) else nav:
        yield from entries(part)


def source(entry: str) -> Path:
    return ROOT / entry.removeprefix(OUTSIDE) if entry.startswith(OUTSIDE) else DOCS / entry


def test_every_page_has_one_place_in_the_navigation() -> None:
    places = Counter(entries(CONFIG["nav"]))
    assert {page: places[page] for page in PAGES} == dict.fromkeys(PAGES, 1)


@pytest.mark.parametrize("entry", list(entries(CONFIG["nav"])))
def test_an_entry_of_the_navigation_exists(entry: str) -> None:
    assert source(entry).is_file()


def test_nothing_is_loaded_from_elsewhere_and_broken_links_fail() -> None:
    assert CONFIG["theme"]["font"] is False
    assert CONFIG["strict"] is True
    assert set(CONFIG["validation"].values()) == {"warn"}  # which is an error where it is strict
    # It would take a script of a public server.
    assert "offline" not in CONFIG["plugins"]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    text = re.sub(r"(?ms)^```.*?^```$|`[^`\n]*`", "", (DOCS / page).read_text(encoding="utf-8"))
    links = re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", text)
    assert not [link for link in links if not (DOCS / link).exists()]


@pytest.mark.parametrize("package", ["helip", "helip_view"])
def test_the_reference_of_python_has_every_public_name(package: str) -> None:
    stub = ast.parse((ROOT / f"python/{package}/__init__.pyi").read_text(encoding="utf-8"))
    (names,) = (
        ast.literal_eval(node.value)
        for node in stub.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    page = (DOCS / "reference-python.md").read_text(encoding="utf-8")
    shown = re.findall(rf"(?m)^::: {package}\.(\w+)$", page)
    assert sorted(shown) == sorted(set(names) - {"__version__", "cmake_prefix_path"})


def test_the_reference_of_cpp_has_every_header() -> None:
    page = (DOCS / "reference-cpp.md").read_text(encoding="utf-8")
    shown = re.findall(r"(?m)^\| \[(\w+\.h)\]", page)
    headers = {path.name for path in (ROOT / "cpp/include/helip").glob("*.h")}
    assert sorted([*shown, "data.h", "helip.h"]) == sorted(headers)
