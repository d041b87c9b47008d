"""The list of samples that could not be embedded: durable, complete, no line twice."""

from __future__ import annotations

import pytest

from helip.common.errors import CorruptError, StorageError
from helip.encoders.quarantine import Quarantine, discard_orphan
from helip.store.embedding_store import EmbeddingStore
from support.embed_samples import BAD, LARGE, SHARD, Numbered, interrupt, lines_of, run


def test_an_orphaned_list_of_a_job_at_work_is_left_alone(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "quarantine.jsonl").write_text("{}\n")
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        discard_orphan(tmp_path)
        assert (tmp_path / "quarantine.jsonl").exists()
    discard_orphan(tmp_path)
    assert not (tmp_path / "quarantine.jsonl").exists()


def test_a_list_that_lost_committed_lines_is_corrupt(tmp_path):
    data = Numbered(LARGE, {1: "io"})
    interrupt(data, tmp_path / "s", SHARD + 1500)
    (tmp_path / "s" / "quarantine.jsonl").unlink()
    with pytest.raises(CorruptError, match=r"quarantine\.jsonl"):
        run(data, tmp_path / "s")


def test_lines_after_the_last_commit_are_dropped_when_the_job_goes_on(tmp_path):
    data = Numbered(LARGE, {1: "io", SHARD + 2: "io"})
    interrupt(data, tmp_path / "s", SHARD + 1500)
    with (tmp_path / "s" / "quarantine.jsonl").open("a") as file:
        file.write('{"row": 5000, "key": "k5000", "rea')  # torn by the kill
    run(data, tmp_path / "s")
    assert [line["row"] for line in lines_of(tmp_path / "s")] == [1, SHARD + 2]


def test_the_list_is_durable_before_the_commit_that_counts_it(tmp_path, monkeypatch):
    steps: list[str] = []
    sync, commit = Quarantine.sync, EmbeddingStore.create
    monkeypatch.setattr(Quarantine, "sync", lambda self: (steps.append("list"), sync(self))[1])

    def create(*args, **options):
        writer = commit(*args, **options)
        for name in ("commit", "finish"):
            publish = getattr(writer, name)

            def told(metadata, publish=publish):
                steps.append("store")
                return publish(metadata)

            setattr(writer, name, told)
        return writer

    monkeypatch.setattr(EmbeddingStore, "create", create)
    run(Numbered(LARGE, BAD), tmp_path / "s")
    assert steps == ["list", "store"] * 2


def test_a_full_disk_under_the_list_is_a_storage_error(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("helip.encoders.quarantine.os.fsync", full)
    with pytest.raises(StorageError, match=r"quarantine\.jsonl.*No space left") as caught:
        run(Numbered(LARGE, BAD), tmp_path / "s")
    assert caught.value.errno == 28
    monkeypatch.undo()
    assert run(Numbered(LARGE, BAD), tmp_path / "s").metadata["complete"]
