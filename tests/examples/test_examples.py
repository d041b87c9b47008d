"""Every example runs on real pictures, and does what it says."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import helip
from helip.common.files import DirectoryLock
from helip_demo.sample import sample

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Run = Callable[..., str]


def test_several_examples_may_use_the_sample_at_once(sample_folder: Path) -> None:
    with DirectoryLock(sample_folder / "start"), DirectoryLock(sample_folder / "embeddings"):
        found = sample(sample_folder)
    helip.create_model(found.start)
    assert len(helip.EmbeddingStore.open(found.store)) == 300


def test_two_arrays_give_near_twins(run_example: Run) -> None:
    lines = run_example("mine_arrays.py").splitlines()
    assert lines[0] == "HardPairs(targets=300, k=20, method='exact')"
    target = lines[1].partition(": ")[2].split()[0]
    found = [line.split()[1] for line in lines[2:]]
    assert found.count(target) >= 3  # the other tones of the same emoji
    scores = [float(line.split()[0]) for line in lines[2:]]
    assert scores == sorted(scores, reverse=True)


def test_a_folder_becomes_a_tuned_model_and_a_control(run_example: Run, tmp_path: Path) -> None:
    said = run_example("folder_to_model.py", tmp_path / "out")
    recalls = {line.split()[0]: float(line.split()[-2]) for line in said.splitlines()[:3]}
    assert recalls.keys() == {"start", "control", "tuned"}
    assert recalls["start"] > 100 / 300
    assert recalls["tuned"] > recalls["start"] + 5  # over five seeds 12.4 to 13.7 points more
    steps = {
        name: len((tmp_path / "out" / name / "metrics.jsonl").read_text().splitlines())
        for name in ("tuned", "control")
    }
    assert steps["tuned"] == steps["control"] > 0
    difference = re.search(r"tuned - control: ([+-]\d+\.\d) points, 95 % interval \[", said)[1]
    assert float(difference) == pytest.approx(recalls["tuned"] - recalls["control"], abs=0.11)


def test_a_retriever_is_trained_with_hard_negatives_and_beside_a_control(
    environment: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("sentence_transformers")
    command = [sys.executable, str(EXAMPLES / "hard_negatives.py"), "--packages", "numpy"]
    done = subprocess.run(
        [*command, "--epochs", "1"], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ranks = dict(re.findall(r"^(.+): mean reciprocal rank (0\.\d+)$", done.stdout, re.MULTILINE))
    assert ranks.keys() == {"before", "control", "hard negatives", "communities"}
    assert float(ranks["hard negatives"]) > float(ranks["before"]) > 0.01


def test_a_loop_of_ones_own_takes_a_step_a_batch(run_example: Run) -> None:
    rows = [ast.literal_eval(line) for line in run_example("own_loop.py").splitlines()]
    assert len(rows) == 5  # of 64 among 300 rows
    assert all(row["margin"] > 0 for row in rows)
    assert rows[0]["loss"] == pytest.approx(rows[0]["clip"] + rows[0]["margin"], abs=1e-3)


def test_open_clip_trains_with_hard_pairs_in_two_processes(
    run_example: Run, tmp_path: Path
) -> None:
    run_example("open_clip_torchrun.sh", tmp_path / "logs")
    run = tmp_path / "logs" / "tuned"
    assert (run / "checkpoints" / "epoch_1.pt").exists()
    told = (run / "out.log").read_text()
    assert "Margin_loss" in told and "world_size: 2" in (run / "params.txt").read_text()


def test_paths_with_spaces_reach_open_clip_whole(tmp_path: Path) -> None:
    (tmp_path / "helip_demo").mkdir()
    (tmp_path / "helip_demo" / "__init__.py").touch()  # so that it stands before the installed one
    (tmp_path / "helip_demo" / "sample.py").write_text(
        "from types import SimpleNamespace\n\n\n"
        "def sample(folder):\n"
        '    parts = {"pictures": "p", "pairs": "pairs", "start": "start"}\n'
        '    return SimpleNamespace(**{name: f"{folder}/{part}" for name, part in parts.items()})\n'
    )
    program = tmp_path / "python"
    lines = ("#!/bin/sh", f'[ "$1" = -c ] && exec "{sys.executable}" "$@"', 'printf "%s\\n" "$@"')
    program.write_text("\n".join(lines))
    program.chmod(0o755)
    folder = tmp_path / "my pictures"
    done = subprocess.run(
        [EXAMPLES / "open_clip_torchrun.sh", folder, tmp_path / "logs"],
        env={**os.environ, "PYTHON": str(program), "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    given = done.stdout.splitlines()
    assert given[given.index("--train-data") + 1] == f"{folder}/p"
    assert given[given.index("--hard-pairs") + 1] == f"{folder}/pairs"
    assert given[given.index("--model") + 1] == f"local-dir:{folder}/start"


def test_curating_finds_the_captions_that_were_exchanged(run_example: Run, tmp_path: Path) -> None:
    said = run_example("curate.py", tmp_path / "out")
    assert int(re.search(r"fits worst, (\d+) are", said)[1]) >= 7
    assert int(re.match(r"(\d+) pairs of pictures", said)[1]) > 10
    table = helip.HardPairs.open(tmp_path / "out" / "pairs")
    step = table.report["filter"][-1]
    assert 0 < step["flagged"] < step["pairs"]
    assert int(table.counts.sum()) == step["left"]


def test_lightning_trains_two_epochs(run_example: Run) -> None:
    pytest.importorskip("lightning")
    steps, figures = run_example("lightning_module.py").strip().splitlines()[-1].split(" steps: ")
    assert steps == "10"
    found = json.loads(figures.replace("'", '"'))
    assert found["train/margin"] > 0 and found["train/loss"] < 5


@pytest.mark.parametrize("processes", [1, 2])
def test_accelerate_trains_two_epochs(run_example: Run, processes: int) -> None:
    launch = f"-m accelerate.commands.launch --cpu --num_processes {processes} --num_machines 1"
    launch += " --mixed_precision no --dynamo_backend no --main_process_port 0"
    said = run_example("accelerate_loop.py", launcher=tuple(launch.split()))
    losses = [float(line.rpartition(" ")[2]) for line in said.splitlines()]
    assert len(losses) == 2 and losses[1] < losses[0]


def test_every_example_has_a_test() -> None:
    told = Path(__file__).read_text(encoding="utf-8")
    names = {path.name for pattern in ("*.py", "*.sh") for path in EXAMPLES.glob(pattern)}
    assert names and not {name for name in names if f'"{name}"' not in told}
