"""The loss of one's own that the pages show trains, with helip.train, in open_clip, by its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import helip
from helip.training.metrics import read_metrics
from support.document_blocks import blocks
from support.open_clip_runs import flags, make_place, run
from support.train_samples import CONFIG, Colours, table

pytestmark = pytest.mark.usefixtures("one_thread")


def shown(page: str) -> str:
    here = ("run", "tests/python/docs/test_own_losses.py")
    (text,) = [block.text for block in blocks(page) if block.mark == here]
    return text


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Where open_clip trains, with the loss as a module."""
    folder = make_place(tmp_path_factory.mktemp("place"))
    (folder / "my_losses.py").write_text(shown("docs/training.md").split("helip.train(")[0])
    return folder


def test_the_loss_of_the_page_trains_and_so_does_its_control(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = Colours()
    names = {
        "helip": helip, "data": data, "pairs": table(data),
        "model": helip.create_model("tiny", config=CONFIG, from_scratch=True, seed=3),
    }  # fmt: skip
    exec(compile(shown("docs/training.md"), "training.md", "exec"), names)
    assert all(row["push"] > 0 for row in read_metrics("run/metrics.jsonl"))
    loss = names["Triplet"]()
    start = helip.create_model("tiny", config=CONFIG, from_scratch=True, seed=3)
    control = helip.train(
        model=start, data=data, pairs=names["pairs"], out="control", loss=loss, control=True
    )
    assert "push" not in control.metrics


@pytest.mark.slow
def test_the_loss_of_the_page_trains_in_open_clip(place):
    (place / "page.py").write_text(shown("docs/open_clip.md"))
    done = subprocess.run(
        [sys.executable, "page.py", *flags(place, "page")],
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    log = (place / "logs" / "page" / "out.log").read_text()
    assert "Contrastive_loss" in log and "Margin_loss" not in log


@pytest.mark.slow
def test_open_clips_program_takes_it_by_its_name(place):
    own = ["--hard-pairs", "pairs", "--loss", "my_losses:Triplet"]
    done = run(place, *flags(place, "named", *own))
    assert done.returncode == 0, done.stderr
    assert "Margin_loss" not in (place / "logs" / "named" / "out.log").read_text()


@pytest.mark.slow
def test_the_shell_takes_it_by_its_name(place):
    command = [sys.executable, "-m", "helip", "train", "data.tsv", "--model", "model"]
    command += ["--pairs", "pairs", "--out", "run", "--device", "cpu", "--steps", "1", "--quiet"]
    command += ["--loss", "my_losses:Triplet"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "push" in done.stdout
