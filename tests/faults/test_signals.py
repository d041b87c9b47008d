"""SIGTERM, as a cluster sends it before a kill: a command keeps what is whole, and ends in time."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import helip
from support.data_samples import write_shards

ROWS = 400
#: Seconds from the signal to the kill of Slurm (`KillWait`) and Kubernetes by default.
GRACE = 30.0


def embed(tars: Path, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "helip", "embed", tars, "--out", out, "--preset", "packaged",
         "--batch-size", "16"],
        text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for_rows(out: Path, command: subprocess.Popen[str]) -> None:
    """Until the command has appended rows to the store."""
    for _ in range(6000):
        assert command.poll() is None, command.communicate()
        if any(path.stat().st_size > 0 for path in out.glob(".pending-*")):
            return
        time.sleep(0.01)
    raise AssertionError("no row after a minute")


def test_embedding_that_is_stopped_keeps_its_rows_and_ends_in_time(tmp_path: Path) -> None:
    tars, out = write_shards(tmp_path / "tars", shards=2, rows=ROWS // 2), tmp_path / "s"
    with embed(tars, out) as command:
        wait_for_rows(out, command)
        command.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        said = command.communicate(timeout=60)[1]
    assert time.monotonic() - begun < GRACE
    assert command.returncode == 130
    assert "the same command goes on from there" in said
    store = helip.EmbeddingStore.open(out)
    store.verify()
    kept = len(store)
    assert 0 < kept < ROWS
    assert not store.metadata["complete"]
    assert not list(out.glob(".pending-*"))

    with embed(tars, out) as again:
        said = again.communicate(timeout=300)[1]
    assert again.returncode == 0, said
    whole = helip.EmbeddingStore.open(out)
    whole.verify()
    assert (len(whole), whole.metadata["complete"]) == (ROWS, True)
    assert (whole.rows(range(kept))[0] == store.rows(range(kept))[0]).all()
