"""Jobs that write, each stopped by a signal at every change of the disk, and done again.

    python jobs.py JOB STEP SIGNAL

takes each STEP-th change, with `disk_changes.c` of this folder preloaded, and prints as JSON how
often the job was stopped and the most seconds that it took to end. A job is a child of a process
that has imported everything, so that each costs as much as the job.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import torch

import helip
from helip.models.bundle import create_model
from helip.store.importing import importing
from support import embed_samples, train_samples
from support.data_samples import write_shards
from support.loader_samples import drawing

ROWS, K = 60, 5
#: What writers name a file or a folder that is not published yet.
UNFINISHED = (".pending-", ".tmp-", ".trash-")
#: Status of a job that an interrupt ended.
INTERRUPTED = 3


@dataclass(frozen=True)
class Job:
    prepare: Callable[[Path], None]
    """Writes what the job reads below a folder."""
    run: Callable[[Path], None]
    """Writes to ``out`` there."""
    look: Callable[[Path], Any]
    """Opens ``out`` as a reader would."""
    told: Callable[[Path], Any] = lambda out: contents(out)
    """What must be the same however often the job was stopped."""
    replaces: bool = False
    """Whether ``out`` is there from the first, and always."""


def contents(out: Path) -> dict[str, bytes]:
    if out.is_file():
        return {"": out.read_bytes()}
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in files
        if path.name not in (".lock", "lock")
    }


def generations_apart(out: Path) -> dict[str, Any]:
    """Of a store: an interrupt commits the rows that are whole, which is a generation more."""
    files: dict[str, Any] = contents(out)
    manifest = json.loads(files["manifest.json"])
    del manifest["generation"], manifest["checksum"]
    return {**files, "manifest.json": manifest}


def rows_of(out: Path) -> list[bytes]:
    """Of a table whose origin names where it came from."""
    pairs = helip.HardPairs.open(out)
    return [np.asarray(array).tobytes() for array in (pairs.ids, pairs.scores, pairs.counts)]


def open_store(out: Path) -> None:
    helip.EmbeddingStore.open(out).verify()


def open_table(out: Path) -> None:
    helip.HardPairs.open(out).verify()


def write_store(path: Path, rows: int = ROWS) -> None:
    values = np.random.default_rng(0).normal(size=(rows, 24)) + 0.3
    with helip.EmbeddingStore.create(path, image_dim=16, text_dim=8) as writer:
        writer.append([f"{row:05d}" for row in range(rows)], values[:, :16], values[:, 16:])


def mined(folder: Path, **options: Any) -> helip.HardPairs:
    return helip.mine(folder / "store", k=K, threads=1, device="cpu", progress=False, **options)


def embed(folder: Path) -> None:
    bad = {7: "unreadable_image", embed_samples.SHARD: "io"}
    embed_samples.run(embed_samples.Numbered(embed_samples.SHARD + 40, bad), folder / "out")


def tars_and_table(folder: Path) -> None:
    write_shards(folder / "tars", shards=2, rows=ROWS // 2)
    data = helip.open_dataset(folder / "tars", progress=False)
    values = np.random.default_rng(0).normal(size=(ROWS, 24)) + 0.3
    with helip.EmbeddingStore.create(folder / "store", image_dim=16, text_dim=8) as writer:
        writer.append(list(data.keys), values[:, :16], values[:, 16:])
    mined(folder, out=folder / "pairs")


def reshard(folder: Path) -> None:
    helip.reshard(
        folder / "tars", folder / "pairs", out=folder / "out", store=folder / "store",
        shard_size="20KB", progress=False,
    )  # fmt: skip


def store(folder: Path) -> None:
    write_store(folder / "store")


def mine(folder: Path) -> None:
    mined(folder, out=folder / "out")


def large_store(folder: Path) -> None:
    write_store(folder / "store", 180)


def mine_in_stages(folder: Path) -> None:
    tempfile.tempdir = str(folder)  # of scratch
    mined(folder, out=folder / "out", method="partition", cluster_rows=100, overlap=1)


def store_and_table(folder: Path) -> None:
    store(folder)
    mined(folder, out=folder / "pairs")


def npy_files(folder: Path) -> None:
    values = np.random.default_rng(0).normal(size=(ROWS, 24)).astype(np.float32)
    np.save(folder / "image.npy", values[:, :16])
    np.save(folder / "text.npy", values[:, 16:])


def import_files(folder: Path) -> None:
    importing._BLOCK_BYTES, importing._COMMIT_SECONDS = 20 * 24 * 4, 0.0  # a commit for 20 rows
    helip.EmbeddingStore.import_from(
        image=folder / "image.npy", text=folder / "text.npy", out=folder / "out", progress=False
    )


def values_of(out: Path) -> list[Any]:
    """Of a store whose metadata name where it came from."""
    store = helip.EmbeddingStore.open(out)
    return [
        list(store.keys),
        store.image.tobytes(),
        store.text.tobytes(),
        store.metadata["complete"],
    ]


def to_parquet(folder: Path) -> None:
    helip.HardPairs.open(folder / "pairs").to_parquet(folder / "out")


def open_parquet(out: Path) -> None:
    if not out.exists():
        raise helip.StorageError(f"nothing at {out}")
    pyarrow.parquet.read_table(out)


def filter_table(folder: Path) -> None:
    helip.HardPairs.open(folder / "pairs").filter(
        by=folder / "store", image_max=0.5, out=folder / "out", progress=False
    )


def grown_store(folder: Path) -> None:
    store(folder)
    mine(folder)
    values = np.random.default_rng(1).normal(size=(20, 24)) + 0.3
    with helip.EmbeddingStore.append_to(folder / "store") as writer:
        writer.append([f"n{row}" for row in range(20)], values[:, :16], values[:, 16:])
        writer.delete([3, 5])


def update(folder: Path) -> None:
    helip.update(folder / "out", folder / "store", out=folder / "out", threads=1, progress=False)


def index(folder: Path) -> None:
    helip.SampleIndex.build(folder / "tars", progress=False).save(folder / "out")


def save_table(folder: Path) -> None:
    mined(folder).save(folder / "out")


def train(folder: Path) -> None:
    data = train_samples.Colours()
    helip.train(
        model=create_model("tiny", config=train_samples.CONFIG, from_scratch=True, seed=3),
        data=data, pairs=train_samples.table(data), out=folder / "out", batch_size=8, steps=4,
        checkpoint_every=2, lr=1e-3, precision="float32", device="cpu", progress=False,
        **drawing({}),
    )  # fmt: skip


def weights(out: Path) -> dict[str, Any]:
    found = helip.create_model(out).model.state_dict()
    return {name: value.numpy().tobytes() for name, value in found.items()}


def export(folder: Path) -> None:
    model = create_model("tiny", config=train_samples.CONFIG, from_scratch=True, seed=3)
    helip.export(model, folder / "out")


def nothing(folder: Path) -> None:
    pass


JOBS = {
    "embed": Job(nothing, embed, open_store, generations_apart),
    "mine": Job(store, mine, open_table),
    "stages": Job(large_store, mine_in_stages, open_table),
    "a table that is saved": Job(store, save_table, open_table),
    "update": Job(grown_store, update, open_table, replaces=True),
    "filter": Job(store_and_table, filter_table, open_table, rows_of),
    "reshard": Job(tars_and_table, reshard, lambda out: open_table(out / "pairs")),
    "index": Job(tars_and_table, index, helip.SampleIndex.open,
                 lambda out: helip.SampleIndex.open(out).fingerprint),
    "train": Job(nothing, train, lambda out: None, weights),
    "import": Job(npy_files, import_files, open_store, values_of),
    "Parquet": Job(store_and_table, to_parquet, open_parquet),
    "export": Job(nothing, export, helip.create_model),
}  # fmt: skip


def is_published(job: Job, out: Path) -> bool:
    """Whether a reader finds it; never in part."""
    try:
        job.look(out)
    except helip.CorruptError:
        raise
    except helip.Error:
        return False
    return True


def forked(call: Callable[[], None]) -> int:
    """Exit status of a child that makes the call: 0, 1 after an exception, or a signal's."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            call()
            status = 0
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(name: str, step: int, number: int) -> None:
    job = JOBS[name]
    shim = ctypes.CDLL(None)
    shim.signalled_at.restype = ctypes.c_double
    torch.set_num_threads(1)
    # As the command line takes it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def first(folder: Path, at: int) -> None:
        job.prepare(folder)
        shim.signal_before_change(ctypes.c_long(at), number)
        try:
            job.run(folder)
        except KeyboardInterrupt:
            os._exit(INTERRUPTED)

    def again(folder: Path, expected: Any) -> None:
        out = folder / "out"
        before = contents(out) if is_published(job, out) else None
        assert before is not None or not job.replaces, "what was there is gone"
        try:
            job.run(folder)
        except helip.InvalidArgumentError:
            # What was published before the signal is not written over.
            assert before is not None
            assert contents(out) == before
        assert job.told(out) == expected, "another result than that of a job that was not stopped"
        left = [path for path in folder.rglob("*") if path.name.startswith(UNFINISHED)]
        assert not left, f"left behind: {left}"

    stopped, longest = 0, 0.0
    ended = -signal.SIGKILL if number == signal.SIGKILL else INTERRUPTED
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        whole = root / "whole"
        whole.mkdir()
        job.prepare(whole)
        job.run(whole)
        expected = job.told(whole / "out")
        for at in range(0, 1_000_000, step):
            folder = root / str(at)
            folder.mkdir()
            begun = time.monotonic()
            status = forked(lambda folder=folder, at=at: first(folder, at))
            sent = shim.signalled_at()
            if sent < begun:  # there are no more changes
                assert status == 0
                break
            # A signal that comes last may find the job done.
            assert status in (ended, 0) and (status != 0 or number != signal.SIGKILL), (at, status)
            stopped += status != 0
            longest = max(longest, time.monotonic() - sent)
            status = forked(lambda folder=folder: again(folder, expected))
            assert status == 0, f"not gone on from a signal before change {at}"
    print(json.dumps({"job": name, "stopped": stopped, "seconds": longest}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
