"""Runs of open_clip's own training program with helip, of the release and of a checkout.

HELIP_OPEN_CLIP_SOURCE names a folder with another open_clip and open_clip_train than those that are
installed, such as ``src`` of a checkout of its main branch.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import helip
from helip.models.bundle import create_model
from helip.models.saving import save_model
from support.train_samples import CONFIG, Colours, table

CHECKOUT = os.environ.get("HELIP_OPEN_CLIP_SOURCE", "")

each_open_clip = pytest.mark.parametrize(
    "source",
    [
        pytest.param("", id="installed"),
        pytest.param(
            CHECKOUT,
            id="checkout",
            marks=pytest.mark.skipif(not CHECKOUT, reason="HELIP_OPEN_CLIP_SOURCE is not set"),
        ),
    ],
)


def make_place(folder: Path) -> Path:
    """A folder with pictures, a table of them, and a saved model."""
    data = Colours()
    lines = ["filepath\ttitle"]
    (folder / "pictures").mkdir()
    for row in range(len(data)):
        data._read_image(row).save(folder / "pictures" / f"{row:02d}.png")
        lines.append(f"pictures/{row:02d}.png\t{data._read_caption(row)}")
    (folder / "data.tsv").write_text("\n".join(lines) + "\n")
    opened = helip.open_dataset(folder / "data.tsv")
    table(opened).save(folder / "pairs")
    start = create_model("tiny", config=CONFIG, from_scratch=True, seed=3)
    save_model(start, folder / "model")
    return folder


def flags(place: Path, name: str, *more: str) -> list[str]:
    plain = f"--train-data data.tsv --model local-dir:{place}/model --name {name}"
    plain += " --epochs 1 --batch-size 8 --workers 0 --device cpu --precision fp32 --warmup 1"
    plain += " --lr 1e-3 --log-every-n-steps 1"
    return [*plain.split(), *more]


def run(
    place: Path, *arguments: str, source: str = "", processes: int = 1
) -> subprocess.CompletedProcess:
    """``python -m helip.open_clip_train``, under torchrun where there are several processes."""
    command = ["-m", "helip.open_clip_train"]
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        torchrun = f"-m torch.distributed.run --nproc-per-node {processes} --master-port {port} -m"
        command = [*torchrun.split(), "--", "helip.open_clip_train"]
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run(
        [sys.executable, *command, *arguments],
        cwd=place, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
