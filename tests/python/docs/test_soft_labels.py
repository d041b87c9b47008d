"""What the page on soft labels shows runs, as it stands there."""

from __future__ import annotations

import pytest

from support.document_blocks import run_python


@pytest.mark.usefixtures("one_thread")
def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run_python("docs/soft-labels.md")
    labels = names["labels"]
    assert labels.rows == 400
    assert 0 < labels.labels < 400 * 20
