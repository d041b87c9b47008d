"""Results as files: one JSON an experiment, of which the tables of the pages are made.

``results/<name>.json`` holds ``table`` (rows of cells, the first the titles), ``runs`` (name ->
seed -> figures) and how they were made. A page holds a table between ``<!-- table NAME -->`` and
``<!-- end -->``; what stands there is replaced.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    ROOT / "docs" / "results.md",
    ROOT / "docs" / "results-emoji.md",
    ROOT / "docs" / "examples-of-answers.md",
    ROOT / "docs" / "when-it-helps.md",
    ROOT / "docs" / "curation.md",
    ROOT / "README.md",
)
_BLOCK = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def write(name: str, record: Mapping[str, Any]) -> Path:
    import torch

    from helip.common.machine import processor_name

    made = {"torch": torch.__version__, "processor": processor_name()}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    text = json.dumps({**record, "made": made}, indent=1, ensure_ascii=False, sort_keys=True)
    # Figures of a run stand in one line.
    text = re.sub(r"\{[^{}\[\]]*\}|\[[^\[\]{}]*\]", lambda m: re.sub(r"\s*\n\s*", " ", m[0]), text)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def read(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return record


def names() -> list[str]:
    return sorted(path.stem for path in RESULTS.glob("*.json"))


def markdown(table: Sequence[Sequence[str]]) -> str:
    """A table of cells; columns whose cells are figures are set to the right."""
    titles, *rows = table
    sides = [
        "---:" if any(row[i] for row in rows) and all(_figure(row[i]) for row in rows) else "---"
        for i in range(len(titles))
    ]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in (titles, sides, *rows))


def rendered(page: str) -> str:
    """A page with its tables as the results have them."""
    return _BLOCK.sub(lambda found: found[1] + markdown(read(found[2])["table"]) + found[3], page)


def _figure(cell: str) -> bool:
    return not cell or bool(re.fullmatch(r"[-+−]?[\d.,]+( %)?", cell))


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the tables of the pages anew.")
    parser.add_argument("--check", action="store_true", help="fail where a page differs")
    differ = []
    check = parser.parse_args().check
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if text != (new := rendered(text)):
            differ.append(page.name)
            if not check:
                page.write_text(new, encoding="utf-8")
    print(*(f"{name}: tables written" for name in differ), sep="\n")
    if check and differ:
        raise SystemExit(f"{', '.join(differ)}: run python bench/experiments/records.py")


if __name__ == "__main__":
    main()
