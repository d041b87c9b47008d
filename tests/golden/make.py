"""Writes one of each file that helip opens for ever: `python tests/golden/make.py tests/golden/N`.

Made once for each version N of the formats, by the release that brought it, and never again.
`tests/faults/test_golden.py` says what they hold.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np

import helip

ROWS = 20
MODIFIED = 1_700_000_000  # seconds since 1970; of the tar shard
SHARDS = Path("/tmp/helip-golden")
DTYPES = ("float32", "float16", "bfloat16", "int8")


def rows(first: int, last: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Values that each dtype but int8 holds exactly."""
    i = np.arange(first, last)[:, None]
    image = ((i * 7 + np.arange(6) * 3) % 11 - 5) / np.float32(8)
    text = ((i * 5 + np.arange(4) * 2) % 7 - 3) / np.float32(4)
    return [f"key/{row} ä" for row in i[:, 0]], image + np.float32(1), text + np.float32(1)


def table() -> tuple[np.ndarray, np.ndarray]:
    """Row i has the three rows behind it, and the last row none."""
    ids = (np.arange(ROWS)[:, None] + [1, 2, 3]) % ROWS
    scores = np.tile(np.float32([0.75, 0.5, 0.25]), (ROWS, 1))
    ids[-1], scores[-1] = -1, 0
    return ids, scores


def tar(path: Path) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as out:
        for name, body in (("a.jpg", b"not decoded"), ("a.txt", b"a caption"), ("b.png", b"x"),
                           ("b.json", b'{"caption": "b"}'), ("c.txt", b"no picture")):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(body), MODIFIED
            out.addfile(member, io.BytesIO(body))


def main(out: Path) -> None:
    out.mkdir(parents=True)
    for dtype in DTYPES:
        with helip.EmbeddingStore.create(
            out / f"store-{dtype}", image_dim=6, text_dim=4, dtype=dtype, digests=dtype == "int8"
        ) as writer:
            marks = np.arange(ROWS, dtype=np.uint64)
            digests = {"digests": (marks, marks + 100)} if dtype == "int8" else {}
            writer.append(*rows(0, ROWS), **digests)
    shutil.copytree(out / "store-float32", out / "store-deleted")
    with helip.EmbeddingStore.append_to(out / "store-deleted") as writer:
        writer.delete([3, 7])
        writer.append(*rows(ROWS, ROWS + 2))
    ids, scores = table()
    helip.HardPairs.from_arrays(ids, scores).save(out / "pairs")
    helip.mine(
        out / "store-float32", k=3, method="exact", part=(2, 3), out=out / "part", device="cpu",
        image_max=1, text_max=1, progress=False,
    )  # fmt: skip
    helip.PairIndex.build(out / "store-float32", degree=4, progress=False).save(out / "index")
    tar(out / "shard.tar")
    os.utime(out / "shard.tar", (MODIFIED, MODIFIED))
    # An index names the folder of its shards: one that is no machine's.
    SHARDS.mkdir()
    shutil.copy2(out / "shard.tar", SHARDS)
    helip.SampleIndex.build(SHARDS / "shard.tar", out=out / "samples", progress=False)
    shutil.rmtree(SHARDS)
    for lock in out.glob("*/.lock"):
        lock.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
