"""Files that are cut short, unlinked or replaced while four processes read them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import helip

ROWS, READERS, CHANGES = 3000, 4, 150

# Prints how often all was well, and how often something was refused. What is read counts only if
# the object says afterwards that its files are whole.
READER = f"""
import sys
from pathlib import Path
import numpy as np
import helip

folder = Path(sys.argv[1])
image = np.load(folder / "image.npy")
ids = np.load(folder / "ids.npy")
helip.guard_mapped_files()
print("ready", flush=True)
whole = refused = 0
while not (folder / "end").exists() or not whole:
    try:
        store = helip.EmbeddingStore.open(folder / "store")
        seen = np.array(store.image), store.rows(range(0, {ROWS}, 7))[0]
        mined = helip.mine(store, k=3, threads=1, device="cpu", progress=False)
        store.verify()
        pairs = helip.HardPairs.open(folder / "pairs")
        found = np.array(pairs.ids)
        pairs.verify()
    except helip.Error:
        refused += 1
        continue
    assert (seen[0] == image).all() and (seen[1] == image[::7]).all()
    assert (mined.ids == ids).all() and (found == ids).all()
    whole += 1
print(whole, refused)
"""


def put(contents: bytes, path: Path) -> None:
    """The file is whole again, as another one: what is mapped stays as it is."""
    other = path.with_name("other")
    other.write_bytes(contents)
    os.replace(other, path)


def test_readers_get_an_error_or_what_was_written_and_live(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(ROWS, 24)).astype(np.float32)
    with helip.EmbeddingStore.create(
        tmp_path / "store", image_dim=16, text_dim=8, dtype="float32"
    ) as writer:
        writer.append([str(row) for row in range(ROWS)], values[:, :16], values[:, 16:])
    pairs = helip.mine(
        tmp_path / "store", k=3, threads=1, device="cpu", progress=False, out=tmp_path / "pairs"
    )
    np.save(tmp_path / "ids.npy", pairs.ids)
    np.save(tmp_path / "image.npy", helip.EmbeddingStore.open(tmp_path / "store").image)
    contents = {
        path: path.read_bytes()
        for folder in ("store", "pairs")
        for path in (tmp_path / folder).iterdir()
        if path.stat().st_size > 0
    }
    readers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore:image and text look unrelated", "-c", READER, tmp_path],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(READERS)
    ]  # fmt: skip
    for reader in readers:
        assert reader.stdout is not None and reader.stdout.readline() == "ready\n"
    paths = sorted(contents)
    for change in range(CHANGES):
        path = paths[random.integers(len(paths))]
        if change % 3 == 0:
            os.truncate(path, random.integers(len(contents[path])))
        elif change % 3 == 1:
            path.unlink()
        assert all(reader.poll() is None for reader in readers), "a reader ended"
        # Readers meet it wherever they are, and find all of it whole now and then.
        time.sleep(0.05 * random.random())
        put(contents[path], path)
        time.sleep(0.1 * random.random())
    (tmp_path / "end").touch()
    told = [reader.communicate(timeout=240) for reader in readers]
    assert [error for _, error in told] == [""] * READERS
    counts = np.array([[int(number) for number in out.split()] for out, _ in told])
    whole, refused = counts.sum(axis=0)
    print(f"read whole: {whole}, refused: {refused}")
    assert whole >= READERS and refused > READERS
