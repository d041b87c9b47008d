"""Verdicts as files of other tools."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helip import HardPairs, Verdicts
from helip.common.errors import InvalidArgumentError
from helip.verdicts import export_verdicts


def read(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return list(csv.DictReader(text.splitlines()))


@pytest.fixture
def verdicts(tmp_path: Path) -> Verdicts:
    table = HardPairs.from_arrays(np.array([[1], [2], [0]], np.int32), np.ones((3, 1)))
    made = Verdicts.open(tmp_path / "v", pairs=table, keys=["a, b", "ü", "c"])
    made.add(0, 1, "false negative", person="Ada")
    made.add(2, None, "mismatch", person="Bo")
    made.add(2, None, "keep", person="Bo")
    made.undo("Bo")
    return made


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_each_format_has_all_rows(tmp_path: Path, verdicts: Verdicts, ending: str) -> None:
    empty = "" if ending == "csv" else None
    path = tmp_path / f"out.{ending}"
    assert export_verdicts(verdicts, path) == 2
    first, second = read(path)
    said = next(iter(verdicts)).to_dict()
    assert first == {name: str(v) if ending == "csv" else v for name, v in said.items()}
    assert (first["target_key"], first["hard_key"]) == ("a, b", "ü")
    assert (second["verdict"], second["hard"], second["hard_key"]) == ("mismatch", empty, empty)
    assert export_verdicts(verdicts, path, what="history", overwrite=True) == 3
    assert [str(row["undone"]) for row in read(path)] == ["False", "False", "True"]
    export_verdicts(verdicts, path, what="decisions", overwrite=True)
    assert [list(map(str, row.values())) for row in read(path)] == [
        ["0", "1", "false negative", "1", "0", "1", "0", "0", "0"],
        ["2", str(empty), "mismatch", "1", "0", "0", "0", "1", "0"],
    ]


def test_what_cannot_be_written_is_refused(tmp_path: Path, verdicts: Verdicts) -> None:
    with pytest.raises(InvalidArgumentError, match=r"path that ends in \.csv or \.jsonl"):
        export_verdicts(verdicts, tmp_path / "out.xlsx")
    with pytest.raises(InvalidArgumentError, match="what is 'all', must be one of"):
        export_verdicts(verdicts, tmp_path / "out.csv", what="all")  # type: ignore[arg-type]
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(InvalidArgumentError, match="exists already"):
        export_verdicts(verdicts, tmp_path / "out.csv")
