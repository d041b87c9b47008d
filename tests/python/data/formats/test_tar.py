"""Tar shards: random access, webdataset's grouping, and samples that cannot be read."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
import threading

import numpy as np
import pytest

from helip.common.errors import InvalidArgumentError, SampleError
from helip.data.captions import caption_digests
from helip.data.opening import open_dataset
from helip.store.data_identity import fingerprint_differences
from support.data_samples import (
    assert_row_is,
    caption,
    encoded,
    picture,
    pixels,
    png,
    write_shard,
    write_tar,
)


def reason_of(read, *args) -> str:
    with pytest.raises(SampleError) as caught:
        read(*args)
    return caught.value.reason


# Access


def test_shards_can_be_given_as_braces_glob_list_and_folder(tmp_path):
    for shard in range(3):
        write_shard(tmp_path / f"{shard:05d}.tar", range(3 * shard, 3 * shard + 3))
    # img2dataset writes these beside its shards.
    (tmp_path / "00000.parquet").write_bytes(b"PAR1")
    (tmp_path / "00000_stats.json").write_text("{}")
    one_by_one = [str(tmp_path / f"{i:05d}.tar") for i in range(3)]
    sources = [
        str(tmp_path / "{00000..00002}.tar"),
        str(tmp_path / "*.tar"),
        one_by_one,
        "::".join(one_by_one),
        tmp_path,
    ]
    for source in sources:
        data = open_dataset(source)
        assert data.keys == [f"{i:05d}" for i in range(9)]
        assert_row_is(data, 7, 7)
    assert data.counts() == {"rows": 9, "shards": 3, "missing_image": 0, "missing_caption": 0}


def test_the_index_digests_the_captions_that_the_data_set_reads(tmp_path):
    described = [
        {"caption": [" a dog", "two  dogs", "a dog", None, 7]},
        {"captions": ["a cat"], "caption": " "},
        {"text": "caf\u00e9\u3000"},
        {"caption": [], "other": 1},
        {"caption": 3},
    ]
    members = {}
    for number, value in enumerate(described):
        members[f"{number}.png"], members[f"{number}.json"] = (
            png(number),
            json.dumps(value).encode(),
        )
    members |= {"5.png": png(5), "5.txt": b"\xef\xbb\xbfa text\n", "5.json": b'{"caption": "no"}'}
    data = open_dataset(write_tar(tmp_path / "0.tar", members))
    rows = np.arange(len(data))
    assert data.captions(0) == ("a dog", "two  dogs", "7")
    expected = caption_digests(data._readable_captions(row) for row in rows.tolist())
    np.testing.assert_array_equal(data.row_digests(rows)[1], expected)
    members["0.json"] = json.dumps({"caption": ["a dog", "three dogs"]}).encode()
    other = open_dataset(write_tar(tmp_path / "1.tar", members))
    assert fingerprint_differences(data.fingerprint, other.fingerprint) == ["captions"]


def test_shards_keep_the_order_in_which_they_are_given(tmp_path):
    write_shard(tmp_path / "a.tar", [0, 1])
    write_shard(tmp_path / "b.tar", [2])
    data = open_dataset([tmp_path / "b.tar", tmp_path / "a.tar"])
    assert data.keys == ["00002", "00000", "00001"]
    assert_row_is(data, 2, 1)


def test_a_tar_file_without_the_suffix_is_told_by_its_content(tmp_path):
    write_shard(tmp_path / "shard", range(2))
    assert len(open_dataset(tmp_path / "shard")) == 2


def test_what_webdataset_writes_reads_the_same(tmp_path):
    wds = pytest.importorskip("webdataset")
    with wds.TarWriter(str(tmp_path / "0.tar")) as sink:
        for i in range(4):
            sink.write(
                {
                    "__key__": f"dir/s{i}",
                    "png": picture(i),
                    "json": {"caption": caption(i), "label": i},
                }
            )
    data = open_dataset(tmp_path / "0.tar")
    assert data.keys == [f"dir/s{i}" for i in range(4)]
    assert_row_is(data, 2, 2)
    assert data.label(2) == "2"


def test_many_more_shards_than_open_descriptors_can_be_read(tmp_path):
    shards = 140
    for shard in range(shards):
        write_tar(tmp_path / f"{shard:03d}.tar", {f"{shard}.txt": caption(shard).encode()})
    data = open_dataset(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        for row in range(shards):
            assert data.caption(row) == caption(row)
    assert len(os.listdir("/proc/self/fd")) <= before + 128
    del data
    assert len(os.listdir("/proc/self/fd")) == before


def test_threads_can_read_at_once(tmp_path):
    # Two shards of these share a place among the open files.
    for shard in range(130):
        write_tar(tmp_path / f"{shard:03d}.tar", {f"{shard}.txt": caption(shard).encode()})
    data = open_dataset(tmp_path)
    wrong: list[object] = []

    def read(seed: int) -> None:
        try:
            for pick in np.random.default_rng(seed).integers(6, size=300).tolist():
                row = (0, 1, 2, 127, 128, 129)[pick]
                if data.caption(row) != caption(row):
                    wrong.append(row)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_index_takes_a_fixed_number_of_bytes_a_row(tmp_path):
    members = [(f"{i:08d}.txt", b"x") for i in range(5_000)]
    data = open_dataset(write_tar(tmp_path / "0.tar", members))
    per_row = len(pickle.dumps(data)) / len(data)
    # Four offsets and sizes, two digests, the key and where it ends.
    assert per_row < 4 * 12 + 2 * 8 + 8 + 8 + 2


# Grouping


def test_members_of_a_sample_need_not_be_neighbours(tmp_path):
    members = [(f"{i}.png", png(i)) for i in range(3)]
    members += [(f"{i}.txt", caption(i).encode()) for i in (2, 0, 1)]
    data = open_dataset(write_tar(tmp_path / "0.tar", members))
    assert data.keys == ["0", "1", "2"]
    for i in range(3):
        assert_row_is(data, i, i)


def test_a_key_ends_at_the_first_dot_of_the_last_path_part(tmp_path):
    members = {"./v1.0/a.PNG": png(0), "v1.0/a.TXT": b"one", "v1.0/b.seg.png": png(1)}
    members |= {"v1.0/b.txt": b"two", ".hidden": b"", "__meta__/x.txt": b"no", "README": b""}
    data = open_dataset(write_tar(tmp_path / "0.tar", members))
    assert data.keys == ["v1.0/a", "v1.0/b"]
    assert data[0]["text"] == "one"
    assert reason_of(data.image, 1) == "missing_image"
    assert data.counts()["ignored_unnamed"] == 3
    assert data.counts()["ignored_other"] == 1
    named = open_dataset(tmp_path / "0.tar", image_column="seg.png")
    np.testing.assert_array_equal(pixels(named.image(1)), pixels(picture(1)))


def test_of_two_pictures_the_first_counts_and_the_other_is_accounted_for(tmp_path):
    members = {"a.png": png(1), "a.bmp": encoded(picture(2), "BMP"), "a.txt": b"x"}
    data = open_dataset(write_tar(tmp_path / "0.tar", members))
    np.testing.assert_array_equal(pixels(data.image(0)), pixels(picture(1)))
    assert data.counts()["ignored_extra"] == 1


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"txt": b" a cat \n"}, "a cat"),
        ({"txt": b"\xef\xbb\xbfa cat"}, "a cat"),
        ({"json": b'{"caption": "a dog"}'}, "a dog"),
        ({"json": b'{"text": "a dog", "caption": ""}'}, "a dog"),
        ({"txt": b"a cat", "json": b'{"caption": "a dog"}'}, "a cat"),
        ({"txt": b" ", "json": b'{"caption": "a dog"}'}, "a dog"),
    ],
)
def test_the_caption_comes_from_txt_or_else_from_json(tmp_path, members, expected):
    path = write_tar(tmp_path / "0.tar", {f"a.{ext}": body for ext, body in members.items()})
    assert open_dataset(path).caption(0) == expected


def test_caption_column_names_a_field_of_the_json(tmp_path):
    body = json.dumps({"caption": "a dog", "alt": "a hound"}).encode()
    path = write_tar(tmp_path / "0.tar", {"a.json": body, "a.txt": b"a cat"})
    assert open_dataset(path, caption_column="alt").caption(0) == "a hound"


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"txt": b"x", "cls": b"12\n"}, "12"),
        ({"json": b'{"label": "bird"}'}, "bird"),
        ({"json": b'{"label": 3}', "cls": b"owl"}, "owl"),
        ({"json": b'{"label": [1]}'}, None),
        ({"txt": b"x"}, None),
    ],
)
def test_the_label_comes_from_cls_or_json(tmp_path, members, expected):
    path = write_tar(tmp_path / "0.tar", {f"a.{ext}": body for ext, body in members.items()})
    assert open_dataset(path).label(0) == expected


# Samples that cannot be read


def test_samples_without_picture_or_caption_stay_rows(tmp_path):
    members = {"a.png": png(0), "b.txt": b"only text", "c.png": png(2), "c.txt": b"both"}
    data = open_dataset(write_tar(tmp_path / "0.tar", members))
    assert data.keys == ["a", "b", "c"]
    assert reason_of(data.__getitem__, 0) == "missing_caption"
    assert reason_of(data.__getitem__, 1) == "missing_image"
    assert data[2]["text"] == "both"
    counts = data.counts()
    assert (counts["rows"], counts["missing_image"], counts["missing_caption"]) == (3, 1, 1)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"txt": b"caf\xe9"}, "unreadable_caption"),
        ({"json": b"{"}, "unreadable_caption"),
        ({"json": b"[" * 100_000}, "unreadable_caption"),
        ({"json": b'{"caption": "\\ud800"}'}, "unreadable_caption"),
        ({"json": b"[1]"}, "missing_caption"),
        ({"json": b'{"caption": 7}'}, "missing_caption"),
    ],
)
def test_a_damaged_caption_is_one_bad_sample(tmp_path, members, reason):
    named = {f"a.{ext}": body for ext, body in members.items()} | {"b.txt": b"fine"}
    data = open_dataset(write_tar(tmp_path / "0.tar", named))
    assert reason_of(data.caption, 0) == reason
    assert data.caption(1) == "fine"


def test_a_damaged_picture_is_one_bad_sample(tmp_path):
    members = {"a.png": png(0)[:40], "a.txt": b"x", "b.png": png(1), "b.txt": b"y"}
    data = open_dataset(write_tar(tmp_path / "0.tar", members))
    with pytest.raises(SampleError, match="'a'") as caught:
        data[0]
    assert (caught.value.key, caught.value.reason) == ("a", "unreadable_image")
    assert data[1]["key"] == "b"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, b"3", b"4"])
def test_links_and_devices_are_counted_and_never_followed(tmp_path, kind):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(9))
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = kind, str(secret)
        archive.addfile(link)
        text = tarfile.TarInfo("a.txt")
        text.size = 1
        archive.addfile(text, io.BytesIO(b"x"))
    data = open_dataset(tmp_path / "0.tar")
    with pytest.raises(SampleError, match="not followed") as caught:
        data.image(0)
    assert caught.value.reason == "missing_image"
    linked = kind in (tarfile.SYMTYPE, tarfile.LNKTYPE)
    assert data.counts()["ignored_link" if linked else "ignored_device"] == 1


def test_names_that_climb_are_only_keys(tmp_path):
    members = {"../../etc/a.txt": b"one", "/etc/b.txt": b"two"}
    data = open_dataset(write_tar(tmp_path / "0.tar", members))
    assert data.keys == ["../../etc/a", "/etc/b"]
    assert [data.caption(0), data.caption(1)] == ["one", "two"]


def test_long_names_and_names_that_are_not_utf8_are_read(tmp_path):
    long = "d/" * 200 + "x" * 200
    with tarfile.open(tmp_path / "0.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for name in (long + ".txt", b"caf\xe9.txt".decode("utf-8", "surrogateescape")):
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
    assert open_dataset(tmp_path / "0.tar").keys == [long, "caf\\udce9"]


def test_sparse_members_are_counted_not_read(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a.png")
        info.pax_headers = {
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.name": "a.png",
            "GNU.sparse.size": "4096",
            "GNU.sparse.map": "0,3",
        }
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    data = open_dataset(tmp_path / "0.tar")
    assert data.counts()["ignored_sparse"] == 1
    assert reason_of(data.image, 0) == "missing_image"


# Keys


def test_a_key_in_two_shards_is_refused_with_both_places(tmp_path):
    write_shard(tmp_path / "0.tar", [1, 2])
    write_shard(tmp_path / "1.tar", [3, 1])
    with pytest.raises(InvalidArgumentError, match=r"'00001'.*0\.tar at.*1\.tar at"):
        open_dataset(tmp_path)


def test_a_member_that_appears_twice_is_refused_with_both_offsets(tmp_path):
    path = write_tar(tmp_path / "0.tar", [("a.txt", b"1"), ("b.txt", b"2"), ("a.txt", b"3")])
    with pytest.raises(InvalidArgumentError, match=r"'a\.txt'.*offset 0.*offset 2048"):
        open_dataset(path)


def test_options_of_tables_are_refused(tmp_path):
    path = write_shard(tmp_path / "0.tar", [0])
    with pytest.raises(InvalidArgumentError, match="key_column='id' does not apply to tar"):
        open_dataset(path, key_column="id")
