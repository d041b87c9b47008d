"""What the page on batches for one's own trainer shows runs, as it stands there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import helip
from support.document_blocks import blocks, command_lines, helip_words

PAGE = "docs/batches.md"


@pytest.mark.usefixtures("one_thread")
def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks(PAGE):
        if block.language == "python":
            exec(compile(block.text, PAGE, "exec"), names)
    assert names["plan"].batches_of(0) == 8
    assert names["plan"].options["strategy"] == "communities"
    names["plan"].path.rename("planned")
    names["pairs"].save("cc3m.pairs")
    said = []
    for block in blocks(PAGE):
        for words in command_lines(block.text) if block.language == "bash" else []:
            command = [sys.executable, "-m", "helip", *(helip_words(words) or ["?"])]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            said.append(done.stdout)
    assert "communities" in said[-1] and "3 of 512 rows" in said[-1]
    assert helip.BatchPlan.open("plan").epochs == 3
