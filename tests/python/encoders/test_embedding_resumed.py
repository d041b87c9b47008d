"""A job of embedding that was stopped goes on to the same rows, and refuses another request."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from helip.common.errors import InvalidArgumentError, MismatchError, StorageError
from helip.store.embedding_store import EmbeddingStore, StoreWriter
from support import process_group
from support.embed_samples import (
    BAD,
    DIM_TEXT,
    LARGE,
    SHARD,
    Colours,
    Numbered,
    Numbers,
    files_of,
    interrupt,
    lines_of,
    run,
)


def shards_of(path: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(path.glob("shard-*"))]


@pytest.mark.parametrize("row", [0, 310, SHARD - 1, SHARD, SHARD + 1500, LARGE - 1])
def test_an_interrupted_job_goes_on_to_the_bytes_of_an_uninterrupted_one(row, tmp_path):
    bad = {**BAD}
    bad.pop(row, None)
    whole = Numbered(LARGE, bad)
    run(whole, tmp_path / "whole")
    data = Numbered(LARGE, bad)
    interrupt(data, tmp_path / "s", row)
    in_shard = row % SHARD
    committed = row - in_shard + in_shard // 300 * 300  # the batches before it
    if committed:
        assert len(EmbeddingStore.open(tmp_path / "s")) == committed
    store = run(data, tmp_path / "s")
    assert min(data.read) == committed
    assert store.metadata["complete"]
    store.verify()
    # Shards have later numbers where one more was committed, and the same bytes.
    assert shards_of(tmp_path / "s") == shards_of(tmp_path / "whole")
    assert lines_of(tmp_path / "s") == lines_of(tmp_path / "whole")
    whole = EmbeddingStore.open(tmp_path / "whole")
    assert (store.fingerprint, store.metadata) == (whole.fingerprint, whole.metadata)


def test_an_unfinished_store_says_so(tmp_path):
    interrupt(Numbered(LARGE, BAD), tmp_path / "s", SHARD + 10)
    store = EmbeddingStore.open(tmp_path / "s")
    assert len(store) == SHARD
    assert store.metadata["complete"] is False
    assert store.metadata["quarantined"] == {
        "io": 1, "missing_caption": 1, "unreadable_image": 2
    }  # fmt: skip


def test_a_finished_store_is_returned_without_reading_or_loading_anything(tmp_path):
    data = Numbered(50)
    first = run(data, tmp_path / "s", image_encoder=Colours())
    data.read.clear()
    again = run(data, tmp_path / "s", image_encoder=Colours(), shard_rows=2 * SHARD)
    assert data.read == []
    assert (again.fingerprint, again.generation) == (first.fingerprint, first.generation)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"image_encoder": "timm:other"}, "image_encoder is 'own:colours' there and 'timm:other'"),
        ({"text_encoder": "st:other"}, "text_encoder is 'own:numbers' there and 'st:other'"),
        ({"dtype": "float16"}, "dtype is 'float32' there and 'float16' here"),
        (
            {"data": Numbered(LARGE, prefix="x")},
            "rows are new, .* rows are gone .*: 'k0', 'k1', 'k2'",
        ),
    ],
)
def test_a_store_of_another_request_is_refused_with_what_differs(change, part, finished, tmp_path):
    rows = LARGE
    if finished:
        rows = 50
        run(Numbered(rows), tmp_path / "s")
        if "data" in change:
            change = {"data": Numbered(rows, prefix="x")}
    else:
        interrupt(Numbered(rows), tmp_path / "s", SHARD + 1)
    before = files_of(tmp_path / "s")
    options = {"data": Numbered(rows), **change}
    with pytest.raises(MismatchError, match=part):
        run(options.pop("data"), tmp_path / "s", **options)
    assert files_of(tmp_path / "s") == before


def test_an_encoder_whose_width_has_changed_does_not_continue_a_store(tmp_path):
    class Wider(Numbers):
        dim = DIM_TEXT + 1

    interrupt(Numbered(LARGE), tmp_path / "s", SHARD + 1)
    with pytest.raises(MismatchError, match="text rows of 3 numbers"):
        run(Numbered(LARGE), tmp_path / "s", text_encoder=Wider())


def test_without_resume_a_store_that_is_there_is_refused(tmp_path):
    run(Numbered(5), tmp_path / "s")
    with pytest.raises(InvalidArgumentError, match="resume=True"):
        run(Numbered(5), tmp_path / "s", resume=False)


class Deadly(Numbered):
    """Its process is killed when a row is read."""

    deadly = -1

    def _read_image(self, row):
        if row == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._read_image(row)


def _die_at(row, out):
    data = Deadly(LARGE, BAD)
    data.deadly = row
    run(data, out)


@pytest.mark.parametrize("row", [2000, SHARD + 1600])
def test_a_job_killed_outright_goes_on_to_the_same_bytes(row, tmp_path):
    assert process_group.exit_code(_die_at, row, tmp_path / "s") == -signal.SIGKILL
    run(Numbered(LARGE, BAD), tmp_path / "s")
    run(Numbered(LARGE, BAD), tmp_path / "whole")
    assert files_of(tmp_path / "s") == files_of(tmp_path / "whole")


def test_a_full_disk_leaves_the_rows_before_it_with_their_list(tmp_path, monkeypatch):
    data = Numbered(1000, {7: "io", 310: "io"})
    append = StoreWriter.append

    def until_full(self, keys, *rest):
        if "k310" in keys:
            raise StorageError(errno.ENOSPC, "no space left")
        append(self, keys, *rest)

    monkeypatch.setattr(StoreWriter, "append", until_full)
    with pytest.raises(StorageError):
        run(data, tmp_path / "s")
    monkeypatch.undo()
    store = EmbeddingStore.open(tmp_path / "s")
    assert (len(store), store.metadata["quarantined"]) == (300, {"io": 1})
    assert [line["row"] for line in lines_of(tmp_path / "s")] == [7]
    assert run(data, tmp_path / "s").metadata["quarantined"] == {"io": 2}
    assert [line["row"] for line in lines_of(tmp_path / "s")] == [7, 310]
