"""What the page on channels shows runs, as it stands there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import helip
from support.document_blocks import blocks, command_lines, helip_words

PAGE = "docs/channels.md"


@pytest.mark.usefixtures("one_thread")
def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks(PAGE):
        if block.language == "python":
            exec(compile(block.text, PAGE, "exec"), names)
        for words in command_lines(block.text) if block.language == "bash" else []:
            command = [sys.executable, "-m", "helip", *(helip_words(words) or ["?"])]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    assert names["store"].matrix_names == ("image", "text", "audio")
    rules = [["image", 0.98, 1.0], ["text", 0.98, 1.0], ["audio", 0.98, 0.5]]
    assert helip.HardPairs.open("clips-sum.pairs").options["channels"] == rules
