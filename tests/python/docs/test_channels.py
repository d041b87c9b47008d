"""What the page on channels shows runs, as it stands there."""

from __future__ import annotations

import pytest

import helip
from support.document_blocks import run_commands, run_python

PAGE = "docs/channels.md"


@pytest.mark.usefixtures("one_thread")
def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run_python(PAGE)
    run_commands(PAGE)
    assert names["store"].matrix_names == ("image", "text", "audio")
    rules = [["image", 0.98, 1.0], ["text", 0.98, 1.0], ["audio", 0.98, 0.5]]
    assert helip.HardPairs.open("clips-sum.pairs").options["channels"] == rules
