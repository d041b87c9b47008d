"""Every notebook runs from its first cell to its last, and holds no outputs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "examples" / "notebooks").glob("*.ipynb"))


def output_text(notebook) -> str:
    """What the cells printed or gave."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            found.append(output.get("text", ""))
            found.append(output.get("data", {}).get("text/plain", ""))
            found.append("image/png" * ("image/png" in output.get("data", {})))
    return "\n".join(found)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(
    path: Path,
    sample_folder: Path,
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "openmoji-sample").symlink_to(sample_folder)
    for name, value in environment.items():
        monkeypatch.setitem(os.environ, name, value)
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()  # raises the error of a cell
    told = output_text(notebook)
    if path.stem == "mine_and_look":
        assert "5.0 of the first five" in told and (tmp_path / "report.html").exists()
    elif path.stem == "tune_and_measure":
        assert "('communities', 10, 10)" in told and "image/png" in told
    else:
        assert told.count("image/png") == 4 and (tmp_path / "plots" / "map.svg").exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and not any(cell.outputs or cell.execution_count for cell in code)


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 3
