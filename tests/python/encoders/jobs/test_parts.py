"""Embedding in parts: the store of one process, whoever made the parts, and refusals."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helip.common.errors import (
    CorruptError,
    Error,
    InvalidArgumentError,
    MismatchError,
    StorageError,
)
from helip.common.files import DirectoryLock
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
    with pytest.raises(MismatchError, match=r"part 2 of 2 is not finished .*part=\(2, 2\)"):
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


def test_another_number_of_parts_is_refused(tmp_path):
    run(Numbered(900), tmp_path / "s", part=(1, 3))
    with pytest.raises(MismatchError, match=r"a job that differs: parts 3, here 2; .* remove"):
        run(Numbered(900), tmp_path / "s", part=(1, 2))
    for part in ((0, 2), (3, 2), "1/2", (1.0, 2)):
        with pytest.raises(InvalidArgumentError, match="part is"):
            run(Numbered(900), tmp_path / "t", part=part)
    run(Numbered(9), tmp_path / "done")
    with pytest.raises(InvalidArgumentError, match=r"part is \(9, 3\)"):
        run(Numbered(9), tmp_path / "done", part=(9, 3))


def test_there_may_be_more_parts_than_batches(tmp_path):
    for index in range(1, 6):
        run(Numbered(700), tmp_path / "s", part=(index, 5))
    store = run(Numbered(700), tmp_path / "s")
    assert store.fingerprint == run(Numbered(700), tmp_path / "whole").fingerprint


def test_ranges_are_those_that_the_job_began_with_whatever_the_batch_size(tmp_path):
    run(Numbered(900), tmp_path / "s", part=(1, 2), batch_size=300)
    data = Numbered(900)
    run(data, tmp_path / "s", part=(2, 2), batch_size=70)  # as after "out of memory"
    assert data.read == list(range(300, 900))
    assert len(run(Numbered(900), tmp_path / "s", batch_size=10)) == 900


def test_other_data_and_options_are_refused_and_nothing_is_thrown_away(tmp_path):
    run(Numbered(900), tmp_path / "s", part=(1, 2))
    for data, options, message in (
        (Numbered(900, prefix="other"), {}, "a job of other data"),
        (Numbered(901), {}, "rows 900, here 901"),
        (Numbered(900), {"dtype": "float16"}, 'dtype "float32", here "float16"'),
    ):
        for part in ((1, 2), (2, 2), None):
            with pytest.raises(MismatchError, match=f"{message}.*remove that folder"):
                run(data, tmp_path / "s", part=part, **options)
    data = Numbered(900)
    run(data, tmp_path / "s", part=(1, 2))
    assert not data.read


def test_a_part_is_not_made_twice_at_once(tmp_path):
    """The writer's lock is the part's; whoever comes second is told."""
    place = part_path(tmp_path / "s", 1, 2)

    class Curious(Numbered):
        def _read_image(self, row):
            if row == 5:
                with pytest.raises(StorageError, match=re.escape(str(place))):
                    run(Numbered(900), tmp_path / "s", part=(1, 2))
            return super()._read_image(row)

    run(Curious(900), tmp_path / "s", part=(1, 2))
    assert len(EmbeddingStore.open(place)) == 300


def test_a_part_goes_on_by_the_reader_that_began_it(tmp_path, monkeypatch):
    monkeypatch.setattr("helip.encoders.jobs.job._COMMIT_SECONDS", 0.0)
    data = Numbered(900)
    data.stop_at = 250
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "s", part=(1, 2), batch_size=100)
    begun = EmbeddingStore.open(part_path(tmp_path / "s", 1, 2))
    assert (len(begun), begun.metadata["reader"]) == (200, "pillow")
    asked = []
    monkeypatch.setattr(
        "helip.encoders.jobs.job.chosen_core", lambda reader, *_: asked.append(reader)
    )
    data.stop_at = None
    run(data, tmp_path / "s", part=(1, 2), batch_size=100)
    assert asked == ["pillow"]


def test_two_do_not_put_a_store_together_at_once(tmp_path):
    for index in (1, 2):
        run(Numbered(900), tmp_path / "s", part=(index, 2))
    with (
        DirectoryLock(parts_folder(tmp_path / "s"), name=".lock"),
        pytest.raises(StorageError, match="in use by another job"),
    ):
        run(Numbered(900), tmp_path / "s")
    run(Numbered(900), tmp_path / "s")


def test_the_list_of_failures_is_that_of_one_process_word_for_word(tmp_path):
    lines = ["filepath,title"]
    for row in range(30):
        Image.new("RGB", (9, 9), (row, row, row)).save(tmp_path / f"{row}.png")
        lines.append(f"{row}.png,{'' if row == 17 else row}")
    (tmp_path / "29.png").write_bytes(b"no picture")
    (tmp_path / "12.png").unlink()
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    data = tmp_path / "data.csv"
    options = {"batch_size": 4, "max_quarantined": 0.5}
    run(data, tmp_path / "whole", **options)
    for index in (1, 2, 3):
        run(data, tmp_path / "s", part=(index, 3), **options)
    run(data, tmp_path / "s", **options)
    assert lines_of(tmp_path / "s") == lines_of(tmp_path / "whole")
    assert [line["row"] for line in lines_of(tmp_path / "s")] == [12, 17, 29]
    assert "(row 17)" in lines_of(tmp_path / "s")[1]["message"]


def test_out_may_be_the_folder_in_which_one_works(tmp_path, monkeypatch):
    (tmp_path / "s").mkdir()
    monkeypatch.chdir(tmp_path / "s")
    for index in (1, 2):
        run(Numbered(900), Path("."), part=(index, 2))
    assert len(run(Numbered(900), Path("."))) == 900


def test_an_update_is_embedded_in_parts(tmp_path):
    bad = {row: reason for row, reason in BAD.items() if row < 5000}
    run(Numbered(5000, bad), tmp_path / "s")
    for index in (1, 2):
        data = Numbered(LARGE, BAD)
        run(data, tmp_path / "s", part=(index, 2), update=True)
        assert min(set(data.read) - set(bad)) >= 5000  # and what could not be read, again
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
    with pytest.raises(
        MismatchError, match=r"image rows of .* were computed by weights .*, and those of"
    ):
        run(Numbered(900), tmp_path / "s")


def test_a_job_that_one_process_began_is_not_done_in_parts(tmp_path):
    data = Numbered(LARGE)
    data.stop_at = LARGE - 1
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "s")
    with pytest.raises(MismatchError, match="5,596 of 5,796 rows of a job that one process began"):
        run(Numbered(LARGE), tmp_path / "s", part=(1, 2))


def test_a_kill_between_the_store_and_its_list_is_made_good(tmp_path, monkeypatch):
    for index in (1, 2):
        run(Numbered(900, {5: "io"}), tmp_path / "s", part=(index, 2))

    def stop(store):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("helip.encoders.jobs.joining.finish_joining", stop)
        with pytest.raises(KeyboardInterrupt):
            run(Numbered(900, {5: "io"}), tmp_path / "s")
    assert not (tmp_path / "s" / "quarantine.jsonl").exists()
    run(Numbered(900, {5: "io"}), tmp_path / "s")
    run(Numbered(900, {5: "io"}), tmp_path / "whole")
    same_store(tmp_path / "s", tmp_path / "whole")
    assert not parts_folder(tmp_path / "s").exists()


def test_a_kill_before_the_list_is_made_good_also_where_the_data_changed_since(
    tmp_path, monkeypatch
):
    for index in (1, 2):
        run(Numbered(900, {5: "io"}), tmp_path / "s", part=(index, 2))
    with monkeypatch.context() as patch:
        patch.setattr("helip.encoders.jobs.joining.finish_joining", lambda store: None)
        run(Numbered(900, {5: "io"}), tmp_path / "s")
    store = run(Numbered(950, {5: "io"}), tmp_path / "s", update=True)
    assert [line["row"] for line in lines_of(tmp_path / "s")] == [5]
    assert store.metadata["quarantined"] == {"io": 1}


def test_a_store_whose_list_is_lost_is_not_updated(tmp_path):
    run(Numbered(900, {5: "io"}), tmp_path / "s")
    (tmp_path / "s" / "quarantine.jsonl").unlink()
    with pytest.raises(CorruptError, match=r"the store's metadata counts \{'io': 1\}"):
        run(Numbered(950, {5: "io"}), tmp_path / "s", update=True)


def test_an_update_tries_again_what_could_not_be_read(tmp_path):
    run(Numbered(900, {5: "io", 800: "io"}), tmp_path / "s")
    for data, read in (
        (Numbered(900, {800: "io"}), [5, 800]),
        (Numbered(910, {800: "io"}), [800, *range(900, 910)]),
    ):
        store = run(data, tmp_path / "s", update=True)
        assert data.read == read
        assert store.metadata["quarantined"] == {"io": 1}
        assert [line["row"] for line in lines_of(tmp_path / "s")] == [800]
    whole = run(Numbered(910, {800: "io"}), tmp_path / "whole")
    assert store.fingerprint == whole.fingerprint


def test_the_share_of_an_update_is_that_of_all_rows(tmp_path):
    bad = dict.fromkeys(range(9), "io")
    run(Numbered(100, bad), tmp_path / "s", max_quarantined=0.1)
    more = bad | dict.fromkeys(range(100, 119), "io")
    with pytest.raises(Error, match=r"28 .* max_quarantined"):
        run(Numbered(200, more), tmp_path / "s", max_quarantined=0.1, update=True)


def test_a_list_that_was_kept_for_another_store_is_not_taken(tmp_path):
    store = run(Numbered(900, {5: "io"}), tmp_path / "s")
    stage_list(parts_folder(tmp_path / "s"), [], of="of-other-data")
    stage_list(parts_folder(tmp_path / "s"), [], of=store.metadata["source"]["fingerprint"])
    run(Numbered(900, {5: "io"}), tmp_path / "s")
    assert [line["row"] for line in lines_of(tmp_path / "s")] == [5]


def test_a_part_and_a_launcher_are_not_asked_for_together(tmp_path):
    with pytest.raises(InvalidArgumentError, match="launcher is 'ray'"):
        run(Numbered(9), tmp_path / "s", part=(1, 2), launcher="ray")
    with pytest.raises(InvalidArgumentError, match="parts is 2 and launcher is 'local'"):
        run(Numbered(9), tmp_path / "s", parts=2)
    with pytest.raises(InvalidArgumentError, match="image_encoder is an object of Colours"):
        run(Numbered(9), tmp_path / "s", launcher="ray")
