"""A killed or starved writer leaves a whole generation, and the job goes on from there."""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import helip
from support.campaign import CAMPAIGN

# Appends rows 0 .. 19,999 in batches of 50 and commits after each of them, going on from what is
# committed; says "ready" when it starts to write.
WRITER = """
import sys
import numpy as np
import helip

path = sys.argv[1]
try:
    writer = helip.EmbeddingStore.append_to(path)
except OSError:
    writer = helip.EmbeddingStore.create(path, image_dim=32, text_dim=16, shard_rows=4096)
print("ready", flush=True)
for first in range(len(writer), 20000, 50):
    rows = np.arange(first, first + 50, dtype=np.float32)[:, None]
    keys = [f"k{i}" for i in range(first, first + 50)]
    writer.append(keys, rows + np.arange(32), rows - np.arange(16))
    writer.commit({"rows": first + 50})
"""

# argv: store, table, and maybe memory and the call of progress at which it kills itself.
MINER = """
import os
import signal
import sys
import helip
from helip.mining.engines import threads

class Killing(threads.Follower):
    calls = 0

    def __call__(self, stage, done, total):
        Killing.calls += 1
        if Killing.calls == int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGKILL)

if len(sys.argv) > 4:
    threads.Follower = Killing
helip.mine(
    sys.argv[1], k=20, method="exact", device="cpu", threads=1, out=sys.argv[2],
    memory=int(sys.argv[3]) if len(sys.argv) > 3 else None, progress=False,
)
"""


def check_whole(path: Path) -> int:
    store = helip.EmbeddingStore.open(path)
    store.verify()
    rows = len(store)
    assert rows % 50 == 0
    assert store.metadata == {"rows": rows}
    np.testing.assert_array_equal(store.image[:, 0], np.arange(rows))
    np.testing.assert_array_equal(store.text[:, 3], np.arange(rows) - 3)
    assert list(store.keys) == [f"k{i}" for i in range(rows)]
    return rows


def test_a_store_writer_killed_at_random_moments_loses_nothing_committed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    moments = random.Random(0)
    rows = kills = 0
    for _ in range(25 if CAMPAIGN else 8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0.0, 0.06))
        writer.kill()
        kills += writer.wait() == -9
        writer.stdout.close()
        if (path / "manifest.json").exists():
            committed = check_whole(path)
            assert committed >= rows
            rows = committed
        if rows == 20_000:
            break
    assert kills >= (5 if CAMPAIGN else 4)
    subprocess.run([sys.executable, "-c", WRITER, path], check=True, capture_output=True)
    assert check_whole(path) == 20_000

    # Byte for byte what a writer that was never killed leaves.
    subprocess.run([sys.executable, "-c", WRITER, tmp_path / "t"], check=True, capture_output=True)
    killed, whole = helip.EmbeddingStore.open(path), helip.EmbeddingStore.open(tmp_path / "t")
    assert killed.fingerprint == whole.fingerprint
    names = sorted(entry.name for entry in path.iterdir())
    shards = json.loads((path / "manifest.json").read_text())["shards"]
    assert names == sorted([".lock", "manifest.json", *(shard["file"] for shard in shards)])


def write_rows(path: Path, rows: int) -> None:
    random_rows = np.random.default_rng(0)
    with helip.EmbeddingStore.create(path, image_dim=64, text_dim=32) as writer:
        writer.append(
            [str(i) for i in range(rows)],
            random_rows.normal(size=(rows, 64)) + 0.5,
            random_rows.normal(size=(rows, 32)) + 0.5,
        )


def test_a_killed_miner_publishes_nothing_and_can_run_again(tmp_path: Path) -> None:
    write_rows(tmp_path / "s", 12_000)
    out = tmp_path / "p"
    for call in (1, 2, 3, 5, 8):  # 2 is the end of the first stage
        miner = subprocess.run(
            [sys.executable, "-c", MINER, tmp_path / "s", out, "4000000000", str(call)]
        )
        assert miner.returncode == -signal.SIGKILL
        assert not (out / "manifest.json").exists()
    subprocess.run([sys.executable, "-c", MINER, tmp_path / "s", out], check=True)
    pairs = helip.HardPairs.open(out)
    pairs.verify()
    again = helip.mine(tmp_path / "s", k=20, method="exact", device="cpu", progress=False)
    assert again.ids.tobytes() == pairs.ids.tobytes()
    assert not list(out.glob(".pending-*"))


def test_a_killed_miner_leaves_no_scratch_file_beside_its_table(tmp_path: Path) -> None:
    write_rows(tmp_path / "s", 12_000)
    out = tmp_path / "tables" / "p"
    out.parent.mkdir()
    for call in (1, 3, 5, 8):
        miner = subprocess.run(
            [sys.executable, "-c", MINER, tmp_path / "s", out, "1000", str(call)]
        )
        assert miner.returncode == -signal.SIGKILL
        assert not [entry for entry in out.parent.iterdir() if "codes" in entry.name]
        shutil.rmtree(out, ignore_errors=True)
    subprocess.run([sys.executable, "-c", MINER, tmp_path / "s", out, "1000"], check=True)
    assert [entry.name for entry in out.parent.iterdir()] == ["p"]
    whole = helip.mine(tmp_path / "s", k=20, method="exact", device="cpu", progress=False)
    assert helip.HardPairs.open(out).ids.tobytes() == whole.ids.tobytes()


def test_no_room_for_scratch_is_one_clear_error(tmp_path: Path) -> None:
    write_rows(tmp_path / "s", 3000)
    script = MINER.replace(
        "import helip\n",
        "import helip\nimport resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n",
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "s", tmp_path / "p", "1000"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "StorageError" in done.stderr
    assert "no scratch file could be made" in done.stderr
    assert "memory= higher" in done.stderr
    assert not (tmp_path / "p" / "manifest.json").exists()
    assert not [entry for entry in tmp_path.iterdir() if "codes" in entry.name]


def test_a_full_disk_is_one_clear_error_and_the_last_generation_stays(tmp_path: Path) -> None:
    script = WRITER.replace("import helip\n", "import helip\nimport resource, signal\n").replace(
        'print("ready", flush=True)',
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (830_000, 830_000))",
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "s"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "StorageError" in done.stderr
    assert "File too large" in done.stderr
    committed = check_whole(tmp_path / "s")
    assert 0 < committed < 20_000
    subprocess.run([sys.executable, "-c", WRITER, tmp_path / "s"], check=True, capture_output=True)
    assert check_whole(tmp_path / "s") == 20_000


def test_no_space_left_is_one_clear_error(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mount], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system can be mounted by root only")
    try:
        with (
            pytest.raises(OSError, match="No space left"),
            helip.EmbeddingStore.create(mount / "s", image_dim=256, text_dim=256) as writer,
        ):
            for first in range(0, 20_000, 500):
                block = np.ones((500, 256), np.float32)
                writer.append([str(i) for i in range(first, first + 500)], block, block)
        assert not (mount / "s").exists()
    finally:
        subprocess.run(["umount", mount], check=True)


def test_every_truncation_of_a_store_is_an_error_never_a_crash(tmp_path: Path) -> None:
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=4, text_dim=4) as writer:
        writer.append(["a", "b"], np.ones((2, 4)), np.ones((2, 4)))
    for name in ("manifest.json", "shard-00000.safetensors"):
        file = tmp_path / "s" / name
        whole = file.read_bytes()
        for size in [*range(0, len(whole), 61), len(whole) - 1]:
            file.write_bytes(whole[:size])
            with pytest.raises(helip.Error):
                helip.EmbeddingStore.open(tmp_path / "s")
        file.write_bytes(whole)
    helip.EmbeddingStore.open(tmp_path / "s").verify()


def test_bytes_changed_at_random_are_found_or_harmless(tmp_path: Path) -> None:
    ids = np.array([[1, 2], [0, 2], [0, 1]], np.int32)
    helip.HardPairs.from_arrays(ids, np.full((3, 2), 0.5, np.float32)).save(tmp_path / "p")
    dice = random.Random(1)
    files = [tmp_path / "p" / "manifest.json", tmp_path / "p" / "shard-00000.safetensors"]
    for _ in range(3000):
        file = dice.choice(files)
        whole = file.read_bytes()
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        file.write_bytes(damaged)
        if bytes(damaged) != whole:
            with pytest.raises(helip.Error):
                helip.HardPairs.open(tmp_path / "p").verify()
        file.write_bytes(whole)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 << 20


# Appends and deletes rows commit by commit, going on from what is committed.
CHANGER = """
import sys
import numpy as np
import helip

path = sys.argv[1]
dice = np.random.default_rng(0)
rows = dice.normal(size=(6000, 48)).astype(np.float32) + 0.5
with helip.EmbeddingStore.append_to(path) as writer:
    print("ready", flush=True)
    for first in range(len(writer), 6000, 50):
        part = slice(first, first + 50)
        writer.append([str(i) for i in range(first, first + 50)], rows[part, :32], rows[part, 32:])
        writer.delete([first - 100])
        writer.commit()
"""

UPDATER = """
import sys
import helip

print("ready", flush=True)
helip.update(sys.argv[1], sys.argv[2], out=sys.argv[1], threads=1, progress=False)
"""


def killed(script: str, *arguments: Path, after: float) -> bool:
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(after)
    process.kill()
    process.stdout.close()
    return process.wait() == -9


def test_killed_appends_deletions_and_updates_leave_whole_states(tmp_path: Path) -> None:
    store, table = tmp_path / "s", tmp_path / "p"
    rows = np.random.default_rng(0).normal(size=(6000, 48)).astype(np.float32) + 0.5
    with helip.EmbeddingStore.create(store, image_dim=32, text_dim=16, shard_rows=4096) as writer:
        writer.append([str(i) for i in range(3000)], rows[:3000, :32], rows[:3000, 32:])
    helip.mine(store, k=10, method="exact", device="cpu", out=table, progress=False)
    moments = random.Random(0)
    kills = 0
    for _ in range(6):
        kills += killed(CHANGER, store, after=moments.uniform(0.0, 0.1))
        now = helip.EmbeddingStore.open(store)
        now.verify()
        assert len(now) % 50 == 0
        assert now.deleted.tolist() == list(range(2900, len(now) - 100, 50))
        before = helip.HardPairs.open(table)
        kills += killed(UPDATER, table, store, after=moments.uniform(0.0, 0.3))
        after = helip.HardPairs.open(table)
        after.verify()
        assert after.fingerprint in (before.fingerprint, now.fingerprint)
    assert kills >= 4
    for script, arguments in ((CHANGER, [store]), (UPDATER, [table, store])):
        subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True)
    updated, whole = helip.HardPairs.open(table), helip.EmbeddingStore.open(store)
    assert len(whole) == 6000
    fresh = helip.mine(store, k=10, method="exact", device="cpu", progress=False)
    assert updated.fingerprint == whole.fingerprint
    assert updated.ids.tobytes() == fresh.ids.tobytes()
    assert updated.scores.tobytes() == fresh.scores.tobytes()
    shards = json.loads((table / "manifest.json").read_text())["shards"]
    names = sorted(entry.name for entry in table.iterdir())
    assert names == sorted([".lock", "manifest.json", *(shard["file"] for shard in shards)])
