"""A mining job in parts that is killed, stopped, starved or started twice."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import helip
from helip.common.parts import parts_folder
from helip.mining.engines import parts as mine_parts

ROWS = 6000

# The core alone: it starts in a fraction of the time that the package takes, and is what writes.
CORE = f"""
import sys, types
package = types.ModuleType("helip")
package.__path__ = [{str(Path(helip.__file__).parent)!r}]
sys.modules["helip"] = package
from helip import _core
store = _core.EmbeddingStore.open(sys.argv[1])
options = _core.MineOptions(k=20, method="exact", threads=1, parts=int(sys.argv[3]))
def follow(stage, done, total):
    if stage == "mine":
        print(done, total, flush=True)
_core.mine_store(store, options, follow, sys.argv[2])
"""


def write_store(path: Path, rows: int = ROWS) -> Path:
    values = np.random.default_rng(0).normal(size=(rows, 96)) + 0.4
    with helip.EmbeddingStore.create(path, image_dim=64, text_dim=32) as writer:
        writer.append([str(i) for i in range(rows)], values[:, :64], values[:, 64:])
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "s")


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "p"
    helip.mine(store, k=20, method="exact", device="cpu", out=out, progress=False)
    return files_of(out)


def files_of(path: Path) -> dict[str, bytes]:
    return {
        entry.name: entry.read_bytes() for entry in sorted(path.iterdir()) if entry.name != ".lock"
    }


def start(store: Path, out: Path, parts: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CORE, store, out, str(parts)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(store: Path, out: Path, parts: int) -> None:
    process = start(store, out, parts)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err


def whole_parts(out: Path) -> dict[str, dict[str, bytes]]:
    """Every part that is committed, checked to the last byte."""
    folder = parts_folder(out)
    found = {}
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (entry / "manifest.json").exists():
            helip.HardPairsPart.open(entry).verify()
            found[entry.name] = files_of(entry)
    return found


def test_killed_at_random_moments_a_job_keeps_its_parts_and_ends_in_the_same_bytes(
    store: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    dice = random.Random(4)
    out = tmp_path / "p"
    parts: dict[str, dict[str, bytes]] = {}
    kills = gained = 0
    while not (out / "manifest.json").exists() and kills < 60:
        miner = start(store, out, 12)
        assert miner.stdout is not None
        first = miner.stdout.readline()  # it mines
        for _ in range(dice.randint(0, 3)):
            miner.stdout.readline()
        time.sleep(dice.random() * 0.05)
        miner.kill()
        miner.communicate()
        if (out / "manifest.json").exists():
            break
        kills += 1
        now = whole_parts(out)
        assert parts.items() <= now.items()  # what was committed is still there, unchanged
        if first:
            begun = int(first.split()[0])
            assert begun == pytest.approx(len(parts) * ROWS / 12, abs=1)  # counted from the start
        gained += len(now) > len(parts)
        parts = now
    assert kills >= 2
    assert gained >= 1
    if not (out / "manifest.json").exists():
        finish(store, out, 12)
    assert files_of(out) == whole
    # The last kill may have come between the table and the removal of its parts.
    helip.mine(store, k=20, method="exact", device="cpu", out=out, progress=False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["p"]


CALLS = "mkdir,rename,unlink,rmdir,unlinkat,fsync,ftruncate,fallocate,pwrite64"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_killed_at_any_call_that_changes_the_disk_a_job_ends_in_the_same_bytes(
    tmp_path: Path,
) -> None:
    store = write_store(tmp_path / "s", 300)
    helip.mine(store, k=20, method="exact", device="cpu", out=tmp_path / "w", progress=False)
    whole = files_of(tmp_path / "w")
    command = [sys.executable, "-c", CORE, store, tmp_path / "c", "2"]
    trace = tmp_path / "trace"
    subprocess.run(
        ["strace", "-f", "-qq", "-o", trace, "-e", f"trace={CALLS}", *command],
        check=True, capture_output=True,
    )  # fmt: skip
    lines = [line.split(maxsplit=1) for line in trace.read_text().splitlines()]
    names = [rest.split("(")[0] for pid, rest in lines if pid == lines[0][0]]
    assert files_of(tmp_path / "c") == whole
    # strace counts each call by its name. Of the writes of data every fifth will do.
    moments = [
        (name, when)
        for name in sorted(set(names))
        for when in range(1, names.count(name) + 1, 5 if name == "pwrite64" else 1)
    ]
    assert len(moments) > 30
    killed = 0
    for name, when in moments:
        out = tmp_path / f"{name}-{when}"
        command[4] = out
        done = subprocess.run(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={name}",
             "-e", f"inject={name}:signal=SIGKILL:when={when}", *command],
            capture_output=True,
        )  # fmt: skip
        killed += done.returncode != 0
        whole_parts(out)
        if (out / "manifest.json").exists():
            assert files_of(out) == whole
            helip.mine(store, k=20, method="exact", device="cpu", out=out, progress=False)
        else:
            finish(store, out, 2)
            assert files_of(out) == whole, (name, when)
        assert not parts_folder(out).exists()
    assert killed >= len(moments) - 3


def test_of_two_miners_the_second_names_the_first_and_a_killed_one_frees_the_place(
    store: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    for parts in (1, 6):
        out = tmp_path / f"p{parts}"
        first = start(store, out, parts)
        assert first.stdout is not None
        first.stdout.readline()
        first.send_signal(signal.SIGSTOP)  # alive, and still the owner
        second = start(store, out, parts)
        _, err = second.communicate(timeout=60)
        assert second.returncode == 1
        assert f"another process (pid {first.pid} on " in err
        assert "wait for it to end, or choose another path" in err
        first.kill()
        first.communicate()
        finish(store, out, parts)
        assert files_of(out) == whole


def test_miners_that_start_together_leave_one_whole_table(
    store: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    miners = [start(store, tmp_path / "p", 3) for _ in range(4)]
    errors = [miner.communicate(timeout=300)[1] for miner in miners]
    assert 0 in [miner.returncode for miner in miners]
    for miner, error in zip(miners, errors, strict=True):
        if miner.returncode != 0:
            assert "is writing to" in error or "already holds" in error
    assert files_of(tmp_path / "p") == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("parts", [1, 40])
def test_a_signal_stops_the_command_soon_and_it_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals, parts: int
) -> None:
    store = write_store(tmp_path / "s", 30_000)
    out = tmp_path / "p"
    code = "import sys; from helip.cli.main import main; sys.argv[0] = 'helip'; main()"
    miner = subprocess.Popen(
        [sys.executable, "-c", code, "mine", store, "--out", out, "-k", "20", "--threads", "1",
         "--device", "cpu", "--parts", str(parts)],
        text=True, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and miner.poll() is None:
        if (out / ".lock").exists() and (parts == 1 or mine_parts.done_parts(out) >= 2):
            break
        time.sleep(0.01)
    assert miner.poll() is None
    sent = time.monotonic()
    miner.send_signal(number)
    _, err = miner.communicate(timeout=30)
    assert time.monotonic() - sent < 5
    assert miner.returncode == 130
    assert "Traceback" not in err
    assert not (out / "manifest.json").exists()
    if parts == 1:
        assert "begins again; with --parts N" in err
        assert not out.exists()
        return
    done = mine_parts.done_parts(out)
    assert f"{done} of {parts} parts are committed in {out}.parts; the same command" in err
    assert done >= 2
    assert len(whole_parts(out)) == done


def test_a_full_disk_is_one_clear_error_and_parts_stay(
    store: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    size = 2 * sum(map(len, whole.values()))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size // 2 + 200_000}", "tmpfs", mount],
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system can be mounted by root only")
    try:
        out = mount / "p"
        process = start(store, out, 6)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 1
        assert re.search(r"StorageError: .*No space left on device", err)
        assert not (out / "manifest.json").exists()
        parts = whole_parts(out)
        assert len(parts) >= 3  # parts and the table, both, do not fit
        subprocess.run(["mount", "-o", f"remount,size={2 * size}", mount], check=True)
        finish(store, out, 6)
        assert files_of(out) == whole
        assert not parts_folder(out).exists()
    finally:
        subprocess.run(["umount", mount], check=True)


def test_a_file_that_grows_too_large_is_one_clear_error(store: Path, tmp_path: Path) -> None:
    script = CORE.replace(
        "store = ",
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\nstore = ",
    )
    done = subprocess.run(
        [sys.executable, "-c", script, store, tmp_path / "p", "6"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert not (tmp_path / "p" / "manifest.json").exists()
    assert os.listdir(tmp_path) in ([], ["p.parts"])
