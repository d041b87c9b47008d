"""Readers of a store that grows: each sees whole generations, and never an earlier one again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

import helip

ROWS = """
import sys
import numpy as np
import helip

def rows(first, last):
    values = np.arange(first, last, dtype=np.float32)[:, None] + 1
    keys = [str(row) for row in range(first, last)]
    return keys, values * np.float32([1, 0, 0, 1]), values * np.float32([0, 1])
"""

COMMITS, BATCH = 120, 40

APPENDER = f"""{ROWS}
with helip.EmbeddingStore.append_to(sys.argv[1]) as writer:
    for commit in range(1, {COMMITS}):
        first = {BATCH} * commit
        writer.append(*rows(first, first + {BATCH}))
        if commit % 3 == 0:
            writer.delete([first - 1])
        writer.commit()
"""

# Prints the generations that it saw; ends once the last one was there.
READER = f"""{ROWS}
seen, held = [], None
while not seen or seen[-1] < {COMMITS}:
    store = helip.EmbeddingStore.open(sys.argv[1])
    store.verify()
    assert len(store) == {BATCH} * store.generation, (len(store), store.generation)
    assert not seen or store.generation >= seen[-1], (seen[-1], store.generation)
    values = np.asarray(store.image)[:, 0]
    assert (values == np.arange(len(store)) + 1).all()
    assert len(store.deleted) == (store.generation - 1) // 3
    # One that was opened long ago is still whole.
    if held is None or len(seen) % 10 == 0:
        held = store
    held.verify()
    assert np.asarray(held.text)[-1, 1] == len(held)
    seen.append(store.generation)
print(len(seen), len(set(seen)))
"""


def started(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_eight_readers_that_verify_see_whole_generations_of_one_appender(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with helip.EmbeddingStore.create(path, image_dim=4, text_dim=2) as writer:
        values = np.arange(BATCH, dtype=np.float32)[:, None] + 1
        keys = [str(row) for row in range(BATCH)]
        writer.append(keys, values * np.float32([1, 0, 0, 1]), values * np.float32([0, 1]))
    readers = [started(READER, str(path)) for _ in range(8)]
    appender = started(APPENDER, str(path))
    told = [process.communicate(timeout=240) for process in [appender, *readers]]
    assert [error for _, error in told] == [""] * 9
    counts = [[int(number) for number in out.split()] for out, _ in told[1:]]
    reads, different = (sum(column) for column in zip(*counts, strict=True))
    print(f"generations verified: {reads}, different ones in a reader: {different}")
    assert different > 8 * 2  # they read while it was written


WRITER = f"""{ROWS}
mine, done, refused = int(sys.argv[2]), 0, 0
while done < 12:
    first = 1_000_000 * (mine + 1) + {BATCH} * done
    try:
        with helip.EmbeddingStore.append_to(sys.argv[1]) as writer:
            writer.append(*rows(first, first + {BATCH}))
    except helip.StorageError as error:
        assert "another process" in str(error), error
        refused += 1
    else:
        done += 1
print(done, refused)
"""


def test_of_four_writers_one_at_a_time_has_the_store_and_no_row_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with helip.EmbeddingStore.create(path, image_dim=4, text_dim=2) as writer:
        writer.append(["0"], np.ones((1, 4), np.float32), np.ones((1, 2), np.float32))
    told = [
        process.communicate(timeout=240)
        for process in [started(WRITER, str(path), str(number)) for number in range(4)]
    ]
    assert [error for _, error in told] == [""] * 4
    store = helip.EmbeddingStore.open(path)
    store.verify()
    assert len(store) == 1 + 4 * 12 * BATCH
    assert store.generation == 1 + 4 * 12
    assert sum(int(out.split()[1]) for out, _ in told) > 0  # some came while another wrote
