"""Hook of MkDocs: files outside of docs/ that pages link to become part of the site.

`../CONTRIBUTING.md` becomes the page `repository/CONTRIBUTING.md`, and a header, an example or a
notebook a page with its text. So a link is the same in the repository as on the site, and a strict
build fails for one that leads nowhere.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "repository"
PAGES = ("*.md", "examples/*.md")
SOURCES = (
    "cpp/include/helip.h",
    "cpp/include/helip/*.h",
    "examples/*.py",
    "examples/*.sh",
    "examples/cpp/*/*.cpp",
    "examples/cpp/*/*.h",
    "examples/notebooks/*.ipynb",
)
VERBATIM = ("LICENSE", "CITATION.cff")
LANGUAGES = {".h": "cpp", ".cpp": "cpp", ".py": "python", ".sh": "bash"}
# Lines of code have up to 100 columns.
WIDE = "---\nhide: [navigation, toc]\n---\n\n"
# Code keeps its brackets.
_CODE = r"(?ms:^(`{3,}).*?^\1 *$)|(?<!`)(`+)(?!`).+?(?<!`)\2(?!`)"
_LINK = re.compile(_CODE + r"|\]\((?![a-z]+:|#)(?P<link>[^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what lies outside of docs/, each under its path in the repository."""
    for path in _found(PAGES):
        files.append(_page(config, path, (ROOT / path).read_text(encoding="utf-8")))
    for path in _found(SOURCES):
        files.append(_page(config, path, _source(ROOT / path)))
    for path in VERBATIM:
        content = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, f"{FOLDER}/{path}", content=content))
    return files


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_: Any) -> str:
    """Links by the places of the repository become links by those of the site."""
    here = page.file.src_uri
    at = here.removeprefix(f"{FOLDER}/") if here.startswith(f"{FOLDER}/") else f"docs/{here}"

    def moved(link: re.Match[str]) -> str:
        if link["link"] is None:
            return link[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(at), link["link"]))
        uri = target.removeprefix("docs/") if target.startswith("docs/") else f"{FOLDER}/{target}"
        if f"{uri}.md" in files.src_uris:  # a source, whose page has an ending of its own
            uri += ".md"
        return f"]({posixpath.relpath(uri, posixpath.dirname(here) or '.')}"

    return _LINK.sub(moved, markdown)


def _found(patterns: tuple[str, ...]) -> list[str]:
    return sorted(
        path.relative_to(ROOT).as_posix() for pattern in patterns for path in ROOT.glob(pattern)
    )


def _page(config: MkDocsConfig, path: str, content: str) -> File:
    uri = f"{FOLDER}/{path}" if path.endswith(".md") else f"{FOLDER}/{path}.md"
    return File.generated(config, uri, content=content, inclusion=InclusionLevel.NOT_IN_NAV)


def _source(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return f"{WIDE}# {path.name}\n\n{_fenced(text, LANGUAGES[path.suffix])}"
    cells = [
        "".join(cell["source"])
        if cell["cell_type"] == "markdown"
        else _fenced("".join(cell["source"]), "python")
        for cell in json.loads(text)["cells"]
    ]
    return WIDE + "\n\n".join(cells)


def _fenced(text: str, language: str) -> str:
    fence = "`" * 8  # longer than any within
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"
