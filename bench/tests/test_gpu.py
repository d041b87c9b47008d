"""What a machine without a GPU can check of `make gpu`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

GPU = Path(__file__).resolve().parents[1] / "gpu.py"


def test_a_dry_run_collects_the_tests_and_runs_the_benchmarks_small(tmp_path):
    out = tmp_path / "gpu.json"
    done = subprocess.run(
        [sys.executable, GPU, "--dry", "--out", out], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert "test_trainer_gpu.py" in found["tests"]["tail"]
    assert "test_miner_cuda.py" in found["tests"]["tail"]
    assert found["training"]["result"]["hard pairs"]["images_per_second"] > 0
    assert found["mining-2000"]["status"] == 0
