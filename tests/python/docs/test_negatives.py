"""What the page on hard negatives shows runs, as it stands there."""

from __future__ import annotations

import numpy as np
import pytest

import helip
from support.document_blocks import run_commands, run_python

PAGE = "docs/negatives.md"


@pytest.mark.usefixtures("one_thread")
def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run_python(PAGE)
    assert names["negatives"].k == 20 and len(names["data"]) > 400
    for name, rows in (("queries", names["queries"]), ("corpus", names["corpus"])):
        dims = {"image_dim": rows.shape[1], "text_dim": rows.shape[1]}
        with helip.EmbeddingStore.create(f"{name}.store", **dims) as writer:
            writer.append([f"{name[0]}{row}" for row in range(len(rows))], rows, rows)
    lines = [f"q{query}\tc{row}" for query, row in enumerate(names["positives"])]
    (tmp_path / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id", *lines]))
    assert "3,000 rows" in run_commands(PAGE)[-1]
    opened = helip.HardNegatives.open("negatives")
    assert not (opened.ids == np.asarray(names["positives"])[:, None]).any()
