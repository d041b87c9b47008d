"""The interface that all formats share: dispatch, keys, rows, workers, subsets."""

from __future__ import annotations

import csv
import hashlib
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helip.common.errors import Error, InvalidArgumentError, SampleError, UnsupportedError
from helip.data.dataset import Dataset
from helip.data.opening import open_dataset
from helip.data.packed_strings import KeyList
from helip.store.data_identity import fingerprint_differences
from support.data_samples import assert_row_is, caption, picture, png, write_pictures, write_shard
from support.process_group import forking

ROWS = 7


@pytest.fixture
def core(monkeypatch):
    """The native fingerprint, or a stand-in where the module is not built."""
    try:
        import helip._core  # noqa: F401
    except ImportError:
        stand_in = types.ModuleType("helip._core")
        stand_in.keys_fingerprint = lambda keys: hashlib.sha256(repr(keys).encode()).hexdigest()
        monkeypatch.setitem(sys.modules, "helip._core", stand_in)
        monkeypatch.setattr("helip._core", stand_in, raising=False)


def write_tar_set(folder):
    write_shard(folder / "00000.tar", range(4))
    write_shard(folder / "00001.tar", range(4, ROWS))
    return open_dataset(str(folder / "{00000..00001}.tar"))


def write_csv_set(folder):
    names = write_pictures(folder, range(ROWS))
    with (folder / "table.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "filepath", "title"])
        rows.writerows([name[:-4], name, caption(i)] for i, name in enumerate(names))
    return open_dataset(folder / "table.csv", key_column="id")


def write_parquet_set(folder):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = {
        "id": [f"{i:05d}" for i in range(ROWS)],
        "image": [png(i) for i in range(ROWS)],
        "caption": [caption(i) for i in range(ROWS)],
    }
    pq.write_table(pa.table(table), folder / "table.parquet", row_group_size=3)
    return open_dataset(folder / "table.parquet", key_column="id")


def write_folder_set(folder):
    for number, name in enumerate(write_pictures(folder / "pictures", range(ROWS))):
        (folder / "pictures" / name).with_suffix(".txt").write_text(caption(number))
    return open_dataset(folder / "pictures")


def write_hugging_face_set(folder):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        id=datasets.Value("string"), photo=datasets.Image(), text=datasets.Value("string")
    )
    source = datasets.Dataset.from_dict(
        {
            "id": [f"{i:05d}" for i in range(ROWS)],
            "photo": [{"bytes": png(i), "path": None} for i in range(ROWS)],
            "text": [caption(i) for i in range(ROWS)],
        },
        features=features,
    )
    source.save_to_disk(str(folder / "saved"))
    return open_dataset(folder / "saved", key_column="id")


class Noise(torch.utils.data.Dataset):
    def __len__(self):
        return ROWS

    def __getitem__(self, row):
        if row >= ROWS:
            raise IndexError(row)
        return picture(row), caption(row)


def write_torch_set(folder):
    return open_dataset(Noise(), keys=[f"{i:05d}" for i in range(ROWS)])


FORMATS = {
    "tar": write_tar_set,
    "csv": write_csv_set,
    "parquet": write_parquet_set,
    "folder": write_folder_set,
    "hugging_face": write_hugging_face_set,
    "torch": write_torch_set,
}


@pytest.fixture(params=FORMATS)
def data(request, tmp_path):
    return FORMATS[request.param](tmp_path)


def test_every_format_gives_what_was_written_in_any_order(data):
    assert len(data) == ROWS
    for row in (5, 0, 6, 3, 1, 2, 4, 0):
        assert_row_is(data, row, row)


def test_rows_can_be_counted_from_the_end_and_by_numpy_integers(data):
    assert data[-1]["index"] == ROWS - 1
    assert data[np.int64(2)]["key"] == "00002"


def test_a_row_out_of_range_or_no_integer_is_refused(data):
    for row in (ROWS, -ROWS - 1):
        with pytest.raises(IndexError, match=r"outside 0\.\.6"):
            data[row]
    with pytest.raises(TypeError, match="subset"):
        data[1:3]


def test_iterating_ends_after_the_last_row(data):
    assert [sample["key"] for sample in data] == list(data.keys)


def test_the_same_keys_have_the_same_fingerprint_in_every_format(tmp_path, core):
    prints = set()
    for name, write in FORMATS.items():
        (tmp_path / name).mkdir()
        prints.add(write(tmp_path / name).fingerprint)
    assert len({text.split("-")[0] for text in prints}) == 1
    assert not any(fingerprint_differences(a, b) for a in prints for b in prints)


def test_another_order_has_another_fingerprint(data, core):
    assert data.subset([1, 0, 2, 3, 4, 5, 6]).fingerprint != data.fingerprint
    assert data.subset(range(ROWS)).fingerprint == data.fingerprint


def test_counts_account_for_every_row(data):
    counts = data.counts()
    assert counts["rows"] == ROWS
    assert all(n == 0 for reason, n in counts.items() if reason.startswith("missing"))


# The second pickles, as spawning does.
@pytest.mark.parametrize("start", ["fork", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_workers_read_what_the_parent_reads_in_every_format(tmp_path, start):
    parts = []
    for name, write in FORMATS.items():
        (tmp_path / name).mkdir()
        parts.append(write(tmp_path / name))
        # Open files here first, so that a fork would share their positions if they were used.
        parts[-1][0]
    loader = torch.utils.data.DataLoader(
        torch.utils.data.ConcatDataset(parts),
        batch_size=2,
        num_workers=1,
        collate_fn=list,
        multiprocessing_context=start if start == "fork" else forking(),
    )
    seen = [sample for batch in loader for sample in batch]
    assert [sample["index"] for sample in seen] == list(range(ROWS)) * len(FORMATS)
    for sample in seen:
        row = sample["index"]
        assert sample["text"] == caption(row)
        np.testing.assert_array_equal(np.asarray(sample["image"]), np.asarray(picture(row)))


def test_a_data_set_survives_pickling_after_use(data):
    data[3]
    copy = pickle.loads(pickle.dumps(data))
    assert copy.keys == list(data.keys)
    assert_row_is(copy, 4, 4)


def test_a_subset_is_a_view_in_the_order_asked_for(data):
    view = data.subset([5, 2])
    assert len(view) == 2
    assert view.keys == ["00005", "00002"]
    assert_row_is(view, 0, 5)
    assert_row_is(view, 1, 2)
    assert view.subset([1]).keys == ["00002"]
    assert data.subset(np.arange(ROWS) % 2 == 0).keys == ["00000", "00002", "00004", "00006"]


def test_a_subset_refuses_rows_that_are_not_there_or_named_twice(data):
    with pytest.raises(InvalidArgumentError, match=r"outside of 0 \.\. 6: 7"):
        data.subset([0, 7])
    with pytest.raises(InvalidArgumentError, match="names row 3 more than once"):
        data.subset([3, 1, 3])
    with pytest.raises(InvalidArgumentError, match="one bool a row"):
        data.subset(np.array([True, False]))
    with pytest.raises(InvalidArgumentError, match="row numbers"):
        data.subset([0.5])
    assert len(data.subset([])) == 0


def test_an_open_data_set_passes_through(data):
    assert open_dataset(data) is data
    with pytest.raises(InvalidArgumentError, match="max_pixels=5 does not apply"):
        open_dataset(data, max_pixels=5)


@pytest.mark.parametrize(
    "source", [3, None, {"a": 1}, b"bytes", "", "nowhere.tar", "nowhere/{0..3}.tar", []]
)
def test_an_unknown_source_is_told_what_is_accepted(source):
    with pytest.raises(InvalidArgumentError, match="tar shards"):
        open_dataset(source)


def test_a_file_of_no_known_kind_is_told_what_is_accepted(tmp_path):
    (tmp_path / "notes.docx").write_bytes(b"PK")
    with pytest.raises(InvalidArgumentError, match=r"notes\.docx is of no known kind(.|\n)*tar"):
        open_dataset(tmp_path / "notes.docx")


@pytest.mark.parametrize("source", ["ftp://host/a.tar", "file:///a.tar", "pipe:cat a.tar"])
def test_commands_and_addresses_of_other_kinds_are_refused(source):
    with pytest.raises(UnsupportedError, match=r"neither a local path nor a URL of http://.*s3://"):
        open_dataset(source)


def test_missing_shards_are_counted_and_named(tmp_path):
    write_shard(tmp_path / "0.tar", range(2))
    with pytest.raises(InvalidArgumentError, match=r"2 of 3 paths are missing \(.*1\.tar.*2\.tar"):
        open_dataset(str(tmp_path / "{0..2}.tar"))


def test_kinds_cannot_be_mixed(tmp_path):
    write_shard(tmp_path / "0.tar", range(2))
    (tmp_path / "1.csv").write_text("image,caption\na.png,b\n")
    with pytest.raises(InvalidArgumentError, match="mix"):
        open_dataset([tmp_path / "0.tar", tmp_path / "1.csv"])


@pytest.mark.parametrize("option", ["image_column", "caption_column", "key_column"])
def test_a_column_name_must_be_text(tmp_path, option):
    with pytest.raises(InvalidArgumentError, match=option):
        open_dataset(tmp_path, **{option: 3})


def test_max_pixels_must_be_positive(tmp_path):
    with pytest.raises(InvalidArgumentError, match="max_pixels is 0, must be at least 1"):
        open_dataset(tmp_path, max_pixels=0)


def test_a_sample_error_keeps_key_and_reason_through_pickle():
    error = pickle.loads(pickle.dumps(SampleError("bad", key="k", reason="io")))
    assert (str(error), error.key, error.reason, error.code) == ("bad", "k", "io", "sample")
    assert isinstance(error, Error)
    # torch raises a worker's error again from its message alone.
    assert SampleError("message").reason == "io"


class Captionless(Dataset):
    def __init__(self, texts):
        self._texts = texts
        self._keys = KeyList.numbered(len(texts))

    @property
    def keys(self):
        return self._keys

    def _read_image(self, row):
        raise AssertionError("the picture must not be decoded when there is no caption")

    def _read_caption(self, row):
        return self._texts[row]


@pytest.mark.parametrize("text", [None, "", " \t\n"])
def test_a_blank_caption_is_a_missing_one(text):
    data = Captionless(["fine", text])
    for read in (data.caption, data.__getitem__):
        with pytest.raises(SampleError, match=r"'000000001' \(row 1\)") as caught:
            read(1)
        assert (caught.value.key, caught.value.reason) == ("000000001", "missing_caption")


def test_a_data_set_without_a_way_to_read_captions_says_what_to_write():
    class Bare(Captionless):
        _read_caption = Dataset._read_caption

    with pytest.raises(NotImplementedError, match="Bare must have a method _read_caption or"):
        Bare(["fine"]).caption(0)


def test_a_caption_of_lone_surrogates_is_unreadable():
    with pytest.raises(SampleError) as caught:
        Captionless(["\ud800"]).caption(0)
    assert caught.value.reason == "unreadable_caption"


def test_white_space_around_captions_is_removed():
    assert Captionless([" a cat\n"]).caption(0) == "a cat"


# Keys


@given(st.lists(st.text(min_size=1), max_size=20))
def test_a_key_list_equals_the_list_that_it_packs(strings):
    strings = [s for s in strings if s.encode("utf-8", "ignore").decode() == s]
    keys = KeyList.from_strings(iter(strings))
    assert list(keys) == strings == [keys[i] for i in range(len(keys))]
    assert keys == strings
    assert list(keys[1:4]) == strings[1:4]
    assert list(keys[::-2]) == strings[::-2]
    assert pickle.loads(pickle.dumps(keys)) == keys


@given(st.lists(st.sampled_from("abcdefgh"), max_size=12))
def test_the_first_duplicate_is_the_one_that_a_plain_scan_finds(strings):
    expected = next(
        ((strings.index(s), i) for i, s in enumerate(strings) if strings.index(s) < i), None
    )
    assert KeyList.from_strings(strings).first_duplicate() == expected


def test_a_key_list_refuses_empty_keys_and_other_types():
    with pytest.raises(InvalidArgumentError, match="row 1: the key is empty"):
        KeyList.from_strings(["a", ""])
    with pytest.raises(InvalidArgumentError, match="must be text, not int"):
        KeyList.from_strings([3])


def test_bytes_that_are_not_utf8_become_readable_keys():
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert KeyList.from_strings([name])[0] == "caf\\udce9"


def test_a_key_list_has_no_object_a_row():
    keys = KeyList.numbered(10_000)
    assert keys[9_999] == "000009999"
    assert len(pickle.dumps(keys)) < 10_000 * (9 + 8) + 1_000


# Brace patterns
