"""What the page on batches for one's own trainer shows runs, as it stands there."""

from __future__ import annotations

import pytest

import helip
from support.document_blocks import run_commands, run_python

PAGE = "docs/batches.md"


@pytest.mark.usefixtures("one_thread")
def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run_python(PAGE)
    assert names["plan"].batches_of(0) == 8
    assert names["plan"].options["strategy"] == "communities"
    assert 256 <= len(names["kept"]) < 300  # whole communities of 512 rows
    assert names["scores"][names["kept"]].mean() > names["scores"].mean()
    names["plan"].path.rename("planned")
    names["pairs"].save("cc3m.pairs")
    said = run_commands(PAGE)
    assert "communities" in said[-1] and "3 of 512 rows" in said[-1]
    assert helip.BatchPlan.open("plan").epochs == 3
