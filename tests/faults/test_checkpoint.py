"""Jobs of partition that are killed, stopped, starved or started twice."""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import helip
from helip.common.errors import CorruptError, InvalidArgumentError, MismatchError
from helip.mining.engines.checkpoints import checkpoint_folder, has_checkpoint
from support.campaign import CAMPAIGN
from support.mined_samples import files_of, write_store

# Partitions take up clusters from 24,576 rows and 64 dimensions on.
ROWS = 25_000
CALL = {"k": 10, "method": "partition", "progress": False}

# The core alone: it starts in a fraction of the time that the package takes, and is what writes.
CORE = f"""
import sys, types
package = types.ModuleType("helip")
package.__path__ = [{str(Path(helip.__file__).parent)!r}]
sys.modules["helip"] = package
from helip import _core
store = _core.EmbeddingStore.open(sys.argv[1])
options = _core.MineOptions(k=10, method="partition", threads=1, checkpoint=float(sys.argv[3]))
begun = set()
def follow(stage, done, total):
    if stage not in begun:
        begun.add(stage)
        print(stage, done, total, flush=True)
_core.mine_store(store, options, follow, sys.argv[2])
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "s", ROWS)


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "p"
    pairs = helip.mine(store, **CALL, out=out)
    assert not pairs.report.get("partition", {}).get("exact", False)
    return files_of(out)


def start(store: Path, out: Path, seconds: float = 0.0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CORE, store, out, str(seconds)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(store: Path, out: Path) -> None:
    process = start(store, out)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err


def test_killed_at_random_moments_a_job_goes_on_and_ends_in_the_same_bytes(
    store: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    dice = random.Random(4)
    out = tmp_path / "p"
    kills = late = 0
    while not (out / "manifest.json").exists() and kills < 60:
        begun = has_checkpoint(out)
        miner = start(store, out)
        assert miner.stdout is not None
        for line in miner.stdout:
            stage, done, _ = line.split()
            if stage in ("build", "mine", "refine"):
                late += int(done) > 0  # counted from the start
                assert begun or int(done) == 0
                break
        time.sleep(dice.random() * 0.5)
        miner.kill()
        miner.communicate()
        kills += 1
    assert kills >= 3
    assert late >= 1
    if not (out / "manifest.json").exists():
        finish(store, out)
    assert files_of(out) == whole
    # The last kill may have come between the table and the removal of the checkpoint.
    helip.mine(store, **CALL, out=out)
    assert [entry.name for entry in tmp_path.iterdir()] == ["p"]


CALLS = "mkdir,rename,unlink,rmdir,unlinkat,fsync,ftruncate,fallocate,pwrite64"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_killed_at_any_call_that_changes_the_disk_a_job_ends_in_the_same_bytes(
    store: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", CORE, store, tmp_path / "c", "0"]
    trace = tmp_path / "trace"
    subprocess.run(
        ["strace", "-f", "-qq", "-o", trace, "-e", f"trace={CALLS}", *command],
        check=True, capture_output=True,
    )  # fmt: skip
    assert files_of(tmp_path / "c") == whole
    lines = [line.split(maxsplit=1) for line in trace.read_text().splitlines()]
    names = [rest.split("(")[0] for pid, rest in lines if pid == lines[0][0]]
    # strace counts each call by its name. There are many of the kind, save after save: the first
    # ones, the last ones, and some between.
    near, step = (6, 37) if CAMPAIGN else (2, 500)
    moments = []
    for name in sorted(set(names)):
        count = names.count(name)
        ends = {*range(1, min(count, near) + 1), *range(max(1, count - near + 1), count + 1)}
        moments += [(name, when) for when in sorted({*ends, *range(1, count, step)})]
    assert len(moments) > (40 if CAMPAIGN else 15)
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
        if not (out / "manifest.json").exists():
            finish(store, out)
        else:
            helip.mine(store, **CALL, out=out)
        assert files_of(out) == whole, (name, when)
        assert not checkpoint_folder(out).exists()
    assert killed >= len(moments) - 3


def test_of_two_miners_the_second_names_the_first_and_a_killed_one_frees_the_place(
    store: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "p"
    first = start(store, out)
    assert first.stdout is not None
    first.stdout.readline()
    first.send_signal(signal.SIGSTOP)  # alive, and still the owner
    second = start(store, out)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 1
    assert f"another process (pid {first.pid} on " in err
    first.kill()
    first.communicate()
    finish(store, out)
    assert files_of(out) == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0.0, 600.0])
def test_a_signal_stops_the_command_soon_and_it_says_how_to_go_on(
    store: Path, whole: dict[str, bytes], tmp_path: Path, number: signal.Signals,
    seconds: float,
) -> None:  # fmt: skip
    out = tmp_path / "p"
    code = "import sys; from helip.cli.main import main; sys.argv[0] = 'helip'; main()"
    command = [
        sys.executable, "-c", code, "mine", store, "--out", out, "-k", "10", "--threads", "1",
        "--method", "partition", "--checkpoint", str(seconds),
    ]  # fmt: skip
    miner = subprocess.Popen(command, text=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and miner.poll() is None:
        if has_checkpoint(out) if seconds == 0.0 else (out / ".lock").exists():
            break
        time.sleep(0.01)
    assert miner.poll() is None
    sent = time.monotonic()
    miner.send_signal(number)
    _, err = miner.communicate(timeout=30)
    assert time.monotonic() - sent < 5
    assert miner.returncode == 130
    assert "Traceback" not in err
    assert not out.exists()
    if seconds > 0.0:
        assert "nothing was saved, and the same command begins again" in err
        assert not checkpoint_folder(out).exists()
        return
    assert f"what was found so far is kept in {out}.checkpoint; the same command goes on" in err
    subprocess.run(command, check=True, capture_output=True)
    assert files_of(out) == whole


def stopped_after_a_save(store: Path, out: Path) -> None:
    miner = start(store, out)
    while not has_checkpoint(out):
        assert miner.poll() is None
        time.sleep(0.005)
    miner.kill()
    miner.communicate()
    assert not (out / "manifest.json").exists()


def test_what_was_begun_is_taken_up_by_the_same_call_alone(
    store: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "p"
    stopped_after_a_save(store, out)

    def call(**options: object) -> helip.HardPairs:
        return helip.mine(store, **{**CALL, "out": out, **options})  # type: ignore[arg-type]

    with pytest.raises(MismatchError, match=r"k 10, here 11.*go on as it was begun, or remove"):
        call(k=11)
    with pytest.raises(MismatchError, match='method "partition", here "exact"'):
        call(method="exact")
    with pytest.raises(MismatchError, match="in one part, now parts=4"):
        call(method="exact", parts=4)
    with pytest.raises(InvalidArgumentError, match="resume=True"):
        call(resume=False)
    other = write_store(tmp_path / "other", ROWS - 1)
    with pytest.raises(MismatchError, match=r"rows .* here"):
        helip.mine(other, **CALL, out=out)

    # A kill between two saves leaves both; one of them counts.
    sound = {file: file.read_bytes() for file in checkpoint_folder(out).glob("state-*")}
    for file, content in sound.items():
        damaged = bytearray(content)
        damaged[len(content) // 2] ^= 1
        file.write_bytes(damaged)
    with pytest.raises(CorruptError, match="remove that folder, and the job begins again"):
        call()
    for file, content in sound.items():
        file.write_bytes(content)
    call(method="auto")
    assert files_of(out) == whole


def test_a_full_disk_is_one_clear_error_and_what_was_saved_stays(
    store: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    size = sum(map(len, whole.values()))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={8 * size}", "tmpfs", mount], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system can be mounted by root only")
    try:
        out = mount / "p"
        stopped_after_a_save(store, out)
        (mount / "filler").write_bytes(bytes(shutil.disk_usage(mount).free - 5000))
        process = start(store, out)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 1
        assert re.search(r"StorageError: .*No space left on device", err)
        assert has_checkpoint(out)
        (mount / "filler").unlink()
        finish(store, out)
        assert files_of(out) == whole
        assert not checkpoint_folder(out).exists()
    finally:
        subprocess.run(["umount", mount], check=True)
