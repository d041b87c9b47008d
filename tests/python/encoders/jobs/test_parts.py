"""Embedding in parts: the store of one process, whoever made the parts, and refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from helip.common.errors import Error, InvalidArgumentError, MismatchError
from helip.common.parts import part_path, parts_folder
from helip.encoders.quarantine import stage_list
from helip.store.embedding_store import EmbeddingStore
from support.embed_samples import BAD, LARGE, SHARD, Colours, Numbered, files_of, lines_of, run


def same_store(path: Path, whole: Path) -> None:
    """Every byte but the manifest's count of generations."""
    mine, theirs = files_of(path), files_of(whole)
    assert mine.keys() == theirs.keys()
    assert {n: b for n, b in mine.items() if n != "manifest.json"} == {
        n: b for n, b in theirs.items() if n != "manifest.json"
    }
    mine, theirs = EmbeddingStore.open(path), EmbeddingStore.open(whole)
    assert mine.fingerprint == theirs.fingerprint
    assert mine.metadata == theirs.metadata
    assert mine.data_fingerprint == theirs.data_fingerprint
    assert all(np.array_equal(a, b) for a, b in zip(mine.digests, theirs.digests, strict=True))
    mine.verify()


@pytest.mark.parametrize(("count", "batch_size"), [(1, 300), (2, 300), (3, 256), (5, 1000)])
def test_parts_make_the_store_of_one_process(count, batch_size, tmp_path):
    run(Numbered(LARGE, BAD), tmp_path / "whole", batch_size=batch_size)
    # In any order, as a scheduler starts them.
    for index in reversed(range(1, count + 1)):
        part = run(Numbered(LARGE, BAD), tmp_path / "s", part=(index, count), batch_size=batch_size)
        assert part.metadata["complete"]
    data = Numbered(LARGE, BAD)
    run(data, tmp_path / "s", batch_size=batch_size)
    assert not data.read
    same_store(tmp_path / "s", tmp_path / "whole")
    assert not parts_folder(tmp_path / "s").exists()


def test_batches_of_parts_are_those_of_one_process(tmp_path):
    class Counting(Colours):
        """The first column is how many pictures were encoded together."""

        def encode(self, images):
            rows = super().encode(images)
            rows[:, 0] = len(images)
            return rows

    whole = run(Numbered(LARGE), tmp_path / "whole", image_encoder=Counting())
    for index in (1, 2, 3):
        run(Numbered(LARGE), tmp_path / "s", part=(index, 3), image_encoder=Counting())
    joined = run(Numbered(LARGE), tmp_path / "s", image_encoder=Counting())
    assert np.array_equal(joined.image, whole.image)
    assert len(np.unique(whole.image[:, 0])) > 1  # short batches at the ends of shards


def test_an_interrupted_part_goes_on_and_others_are_not_read(tmp_path):
    run(Numbered(LARGE), tmp_path / "whole")
    run(Numbered(LARGE), tmp_path / "s", part=(1, 2))
    data = Numbered(LARGE)
    data.stop_at = LARGE - 1
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "s", part=(2, 2))
    assert min(data.read) >= SHARD // 2
    with pytest.raises(MismatchError, match=r"part 2 of 2 is not finished .*--part 2/2"):
        run(Numbered(LARGE), tmp_path / "s")
    data.stop_at = None
    data.read.clear()
    run(data, tmp_path / "s", part=(2, 2))
    assert min(data.read) >= SHARD  # what was committed stays
    run(Numbered(LARGE), tmp_path / "s")
    same_store(tmp_path / "s", tmp_path / "whole")


def test_a_missing_part_is_named(tmp_path):
    run(Numbered(900), tmp_path / "s", part=(3, 3))
    with pytest.raises(MismatchError, match="part 1 of 3 is not there"):
        run(Numbered(900), tmp_path / "s")


def test_parts_of_another_number_and_empty_ones_are_refused(tmp_path):
    run(Numbered(900), tmp_path / "s", part=(1, 3))
    with pytest.raises(MismatchError, match="holds parts of a job in 3, now 2"):
        run(Numbered(900), tmp_path / "s", part=(1, 2))
    with pytest.raises(InvalidArgumentError, match="3 batches of batch_size=300"):
        run(Numbered(900), tmp_path / "t", part=(4, 4))
    for part in ((0, 2), (3, 2), "1/2", (1.0, 2)):
        with pytest.raises(InvalidArgumentError, match="part is"):
            run(Numbered(900), tmp_path / "t", part=part)


def test_parts_of_other_batches_or_other_data_are_refused(tmp_path):
    run(Numbered(900), tmp_path / "s", part=(1, 2))
    run(Numbered(900), tmp_path / "s", part=(2, 2), batch_size=100)
    with pytest.raises(MismatchError, match=r"'first': 400.*'first': 300"):
        run(Numbered(900), tmp_path / "s")
    shutil.rmtree(part_path(tmp_path / "s", 2, 2))
    run(Numbered(900, prefix="other"), tmp_path / "s", part=(2, 2))
    with pytest.raises(MismatchError, match=r"part 2 of 2 of other data: .*--part 2/2"):
        run(Numbered(900), tmp_path / "s")


def test_a_part_of_data_that_changed_is_embedded_anew(tmp_path):
    run(Numbered(900), tmp_path / "s", part=(1, 2))
    run(Numbered(900), tmp_path / "s", part=(2, 2))
    run(Numbered(900, prefix="new"), tmp_path / "s", part=(2, 2))
    run(Numbered(900, prefix="new"), tmp_path / "s", part=(1, 2))
    store = run(Numbered(900, prefix="new"), tmp_path / "s")
    assert store.keys[0] == "new0"


def test_an_update_is_embedded_in_parts(tmp_path):
    bad = {row: reason for row, reason in BAD.items() if row < 5000}
    run(Numbered(5000, bad), tmp_path / "s")
    for index in (1, 2):
        data = Numbered(LARGE, BAD)
        run(data, tmp_path / "s", part=(index, 2), update=True)
        assert min(data.read) >= 5000
    data = Numbered(LARGE, BAD)
    store = run(data, tmp_path / "s", update=True)
    assert not data.read
    run(Numbered(LARGE, BAD), tmp_path / "whole")
    whole = EmbeddingStore.open(tmp_path / "whole")
    assert store.fingerprint == whole.fingerprint
    assert lines_of(tmp_path / "s") == lines_of(tmp_path / "whole")
    assert store.metadata == whole.metadata


def test_too_many_unreadable_samples_of_all_parts_together_are_an_error(tmp_path):
    bad = dict.fromkeys([*range(40), *range(860, 900)], "io")
    for index in (1, 2, 3):
        run(Numbered(900, bad), tmp_path / "s", part=(index, 3), max_quarantined=0.05)
    with pytest.raises(Error, match=r"80 samples of all parts .* allows 45 of 900"):
        run(Numbered(900, bad), tmp_path / "s", max_quarantined=0.05)
    assert run(Numbered(900, bad), tmp_path / "s").metadata["quarantined"] == {"io": 80}


def test_parts_of_other_weights_are_not_put_together(tmp_path):
    for index in (1, 2):
        encoder = Colours()
        encoder.weights = f"{index}" * 64
        run(Numbered(900), tmp_path / "s", part=(index, 2), image_encoder=encoder)
    with pytest.raises(MismatchError, match="different weights of the image encoder 'own:colours'"):
        run(Numbered(900), tmp_path / "s")


def test_a_job_that_one_process_began_is_not_done_in_parts(tmp_path):
    data = Numbered(LARGE)
    data.stop_at = LARGE - 1
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "s")
    with pytest.raises(MismatchError, match="8,192 of 8,892 rows of a job that one process began"):
        run(Numbered(LARGE), tmp_path / "s", part=(1, 2))


def test_a_kill_between_the_store_and_its_list_is_made_good(tmp_path, monkeypatch):
    for index in (1, 2):
        run(Numbered(900, {5: "io"}), tmp_path / "s", part=(index, 2))

    def stop(store):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("helip.encoders.jobs.parts.finish_joining", stop)
        with pytest.raises(KeyboardInterrupt):
            run(Numbered(900, {5: "io"}), tmp_path / "s")
    assert not (tmp_path / "s" / "quarantine.jsonl").exists()
    run(Numbered(900, {5: "io"}), tmp_path / "s")
    run(Numbered(900, {5: "io"}), tmp_path / "whole")
    same_store(tmp_path / "s", tmp_path / "whole")
    assert not parts_folder(tmp_path / "s").exists()


def test_a_list_that_was_kept_for_other_data_is_not_taken(tmp_path):
    run(Numbered(900, {5: "io"}), tmp_path / "s")
    stage_list(parts_folder(tmp_path / "s"), [], of="of-other-data")
    run(Numbered(900, {5: "io"}), tmp_path / "s")
    assert [line["row"] for line in lines_of(tmp_path / "s")] == [5]


def test_a_part_and_an_engine_are_not_asked_for_together(tmp_path):
    with pytest.raises(InvalidArgumentError, match="engine is 'ray'"):
        run(Numbered(9), tmp_path / "s", part=(1, 2), engine="ray")
    with pytest.raises(InvalidArgumentError, match="parts is 2 and engine is 'local'"):
        run(Numbered(9), tmp_path / "s", parts=2)
    with pytest.raises(InvalidArgumentError, match="image_encoder is an object of Colours"):
        run(Numbered(9), tmp_path / "s", engine="ray")
