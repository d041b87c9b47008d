"""``split``: where a source has several, one is opened as if it were given itself."""

from __future__ import annotations

import csv
import json

import pytest

import helip
from helip.common.errors import InvalidArgumentError
from support.data_samples import caption, write_pictures, write_shard


def write_folder(folder, numbers):
    for number, name in zip(numbers, write_pictures(folder, numbers), strict=True):
        (folder / name).with_suffix(".txt").write_text(caption(number))


def test_a_subfolder_is_a_split(tmp_path):
    write_folder(tmp_path / "train", range(3))
    write_folder(tmp_path / "test", range(3, 5))
    data = helip.open_dataset(tmp_path, split="test")
    assert data.fingerprint == helip.open_dataset(tmp_path / "test").fingerprint
    assert len(helip.open_dataset(tmp_path, split="train", limit=2)) == 2
    with pytest.raises(
        InvalidArgumentError, match=r"split is 'dev', and .* has test, train; give one of them"
    ):
        helip.open_dataset(tmp_path, split="dev")
    with pytest.raises(InvalidArgumentError, match=r"split is '\.\.'"):
        helip.open_dataset(tmp_path / "train", split="..")


@pytest.mark.parametrize("below", ["", "data"])
def test_shards_are_of_the_split_that_their_names_hold_as_a_word(below, tmp_path):
    (tmp_path / below).mkdir(exist_ok=True)
    write_shard(tmp_path / below / "cc3m-train-0000.tar", range(2))
    write_shard(tmp_path / below / "cc3m-train-0001.tar", range(2, 4))
    write_shard(tmp_path / below / "cc3m-validation-0000.tar", range(4, 5))
    write_shard(tmp_path / below / "cc3m-held_out-00000-of-00001.tar", range(5, 8))
    assert len(helip.open_dataset(tmp_path, split="train")) == 4
    assert len(helip.open_dataset(tmp_path, split="validation")) == 1
    assert len(helip.open_dataset(f"{tmp_path / below}/*.tar", split="train")) == 4
    with pytest.raises(InvalidArgumentError, match=r"has .*train, validation; give one of them"):
        helip.open_dataset(tmp_path, split="valid")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_tables_are_of_the_split_that_their_names_hold_as_a_word(suffix, tmp_path):
    names = write_pictures(tmp_path, range(5))
    for split, numbers in (("train", range(3)), ("val", range(3, 5))):
        rows = [(names[number], caption(number)) for number in numbers]
        with open(tmp_path / f"{split}.{suffix}", "w", newline="") as file:
            if suffix == "jsonl":
                file.writelines(json.dumps({"image": i, "caption": c}) + "\n" for i, c in rows)
            else:
                writer = csv.writer(file, delimiter="\t" if suffix == "tsv" else ",")
                writer.writerows([("image", "caption"), *rows])
    for source in (tmp_path, f"{tmp_path}/*.{suffix}"):
        data = helip.open_dataset(source, split="val")
        assert [data.caption(row) for row in range(len(data))] == [caption(3), caption(4)]
        assert len(helip.open_dataset(source, split="train")) == 3
        with pytest.raises(InvalidArgumentError, match="has train, val; give one of them"):
            helip.open_dataset(source, split="test")


def test_a_name_that_begins_with_the_word_of_a_split_is_of_that_one(tmp_path):
    write_shard(tmp_path / "train-test-00000-of-00001.tar", range(3))
    assert len(helip.open_dataset(tmp_path, split="train")) == 3
    with pytest.raises(InvalidArgumentError, match="has train; give one of them"):
        helip.open_dataset(tmp_path, split="test")
    write_shard(tmp_path / "test-0.tar", range(3, 5))
    write_shard(tmp_path / "test-dev-0.tar", range(5, 6))
    assert len(helip.open_dataset(tmp_path, split="test")) == 3
    assert len(helip.open_dataset(tmp_path, split="test-dev")) == 1


def test_a_saved_dictionary_of_splits_and_one_in_memory_have_theirs_by_name(tmp_path):
    datasets = pytest.importorskip("datasets")
    names = [str(tmp_path / name) for name in write_pictures(tmp_path, range(3))]
    rows = datasets.Dataset.from_dict({"image": names, "text": [caption(i) for i in range(3)]})
    splits = datasets.DatasetDict(train=rows, test=rows.select([2]))
    splits.save_to_disk(str(tmp_path / "saved"))
    for source in (splits, tmp_path / "saved"):
        assert helip.open_dataset(source, split="test").caption(0) == caption(2)
        with pytest.raises(InvalidArgumentError, match=r"split is 'val', and .*t.*; give one of"):
            helip.open_dataset(source, split="val")
        with pytest.raises(InvalidArgumentError, match="split is None"):
            helip.open_dataset(source)


def test_a_source_without_splits_says_so(tmp_path):
    write_shard(tmp_path / "0.tar", range(2))
    with pytest.raises(InvalidArgumentError, match=r"split is 'train', .* has no splits; leave it"):
        helip.open_dataset(tmp_path, split="train")
    (tmp_path / "table.csv").write_text("image,caption\na.png,a\n")
    with pytest.raises(InvalidArgumentError, match=r"table\.csv has no splits; leave it out"):
        helip.open_dataset(tmp_path / "table.csv", split="train")
    for source in (["http://host/a.tar"], [(1, 2)]):
        with pytest.raises(InvalidArgumentError, match="split is 'train', which does not apply to"):
            helip.open_dataset(source, split="train")
