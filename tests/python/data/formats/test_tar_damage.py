"""Damaged and hostile tar files, and shards that change under the reader."""

from __future__ import annotations

import contextlib
import gzip
import os
import tarfile

import numpy as np
import pytest

from helip.common.errors import (
    CorruptError,
    InvalidArgumentError,
    MismatchError,
    SampleError,
    UnsupportedError,
)
from helip.data.opening import open_dataset
from support.data_samples import write_shard, write_tar

SIZE_FIELD = slice(124, 136)


def reason_of(read, *args) -> str:
    with pytest.raises(SampleError) as caught:
        read(*args)
    return caught.value.reason


def keys_or_damage(path) -> list[str] | None:
    """The keys, or None where the file is told to be damaged, with its name."""
    try:
        return list(open_dataset(path).keys)
    except CorruptError as error:
        if path.name not in str(error):
            raise
        return None


def with_header(data: bytes, at: int, field: slice, value: bytes) -> bytes:
    """The archive with one header field replaced and the header's checksum mended."""
    header = bytearray(data[at : at + 512])
    header[field] = value.ljust(field.stop - field.start, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return data[:at] + bytes(header) + data[at + 512 :]


def test_every_truncation_is_found_and_names_file_and_offset(tmp_path):
    data = write_shard(tmp_path / "whole.tar", range(3)).read_bytes()
    # The last member's end; one block of zeros behind it closes the archive.
    body = len(data.rstrip(b"\0"))
    closed = (body + 511) // 512 * 512 + 512
    path = tmp_path / "0.tar"
    for length in (*range(0, closed, 512), 1, 100, 511, 513, body, closed - 1):
        path.write_bytes(data[:length])
        with pytest.raises(CorruptError, match=r"0\.tar.*(offset|truncated)"):
            open_dataset(path)
    path.write_bytes(data[:closed])
    assert len(open_dataset(path)) == 3


def test_any_damaged_header_byte_is_found(tmp_path):
    data = write_shard(tmp_path / "whole.tar", range(3)).read_bytes()
    keys = open_dataset(tmp_path / "whole.tar").keys
    with tarfile.open(tmp_path / "whole.tar") as archive:
        at = archive.getmembers()[2].offset
    path = tmp_path / "0.tar"
    for place in range(at, at + 512):
        damaged = bytearray(data)
        damaged[place] ^= 0x11
        path.write_bytes(damaged)
        # A changed checksum may still read as the same number.
        harmless = [list(keys)] if 148 <= place - at < 156 else []
        assert keys_or_damage(path) in [None, *harmless]


@pytest.mark.parametrize(
    "size",
    [b"77777777777", b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7, b"\xff" * 11 + b"\0", b"-1"],
)
def test_an_impossible_size_is_damage(tmp_path, size):
    data = write_shard(tmp_path / "whole.tar", range(3)).read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as archive:
        places = [member.offset for member in archive.getmembers()]
    path = tmp_path / "0.tar"
    for at in places:
        path.write_bytes(with_header(data, at, SIZE_FIELD, size))
        with pytest.raises(CorruptError, match=r"0\.tar"):
            open_dataset(path)


def test_a_header_that_leads_back_to_itself_is_damage(tmp_path):
    sparse = tarfile.TarInfo("b.png")
    sparse.type = tarfile.GNUTYPE_SPARSE
    minus_512 = b"\xff" * 10 + b"\xfe\0"
    header = with_header(sparse.tobuf(), 0, SIZE_FIELD, minus_512)
    first = tarfile.TarInfo("a.txt").tobuf()
    for data in (header, first + header):
        (tmp_path / "0.tar").write_bytes(data + b"\0" * 1024)
        with pytest.raises(CorruptError, match=r"0\.tar"):
            open_dataset(tmp_path / "0.tar")


def test_an_endless_chain_of_extension_headers_is_damage(tmp_path):
    header = tarfile.TarInfo("x")
    header.type = tarfile.XHDTYPE
    (tmp_path / "0.tar").write_bytes(header.tobuf() * 20_000 + b"\0" * 1024)
    with pytest.raises(CorruptError, match=r"0\.tar"):
        open_dataset(tmp_path / "0.tar")


@pytest.mark.parametrize(
    "record", [b"13 size=-512\n", b"12 size=abc\n", b"0 x=1\n", b"99 size=1\n"]
)
def test_damaged_extension_records_are_damage(tmp_path, record):
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, len(record)
    member = tarfile.TarInfo("a.txt").tobuf()
    tail = b"\0" * 1024
    (tmp_path / "0.tar").write_bytes(header.tobuf() + record.ljust(512, b"\0") + member + tail)
    assert keys_or_damage(tmp_path / "0.tar") in (None, ["a"])


def test_joined_archives_are_refused_rather_than_half_read(tmp_path):
    whole = write_shard(tmp_path / "a.tar", [0]).read_bytes()
    whole += write_shard(tmp_path / "b.tar", [1]).read_bytes()
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / "0.tar").write_bytes(whole)
    with pytest.raises(CorruptError, match="joined"):
        open_dataset(tmp_path / "ab")


def test_compressed_archives_are_refused_by_name_and_by_content(tmp_path):
    packed = gzip.compress(write_shard(tmp_path / "0.tar", [0]).read_bytes())
    for name in ("a.tar.gz", "a.tgz", "a.tar"):
        (tmp_path / name).write_bytes(packed)
        with pytest.raises(UnsupportedError, match="uncompress"):
            open_dataset(tmp_path / name)


def test_an_empty_archive_has_no_samples_and_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="no samples"):
        open_dataset(write_tar(tmp_path / "0.tar", {}))


def test_random_damage_never_ends_in_another_error(tmp_path):
    data = write_shard(tmp_path / "whole.tar", range(2)).read_bytes()[:4096]
    random = np.random.default_rng(0)
    path = tmp_path / "0.tar"
    for _ in range(300):
        damaged = bytearray(data + b"\0" * 1024)
        at = int(random.integers(4)) * 1024
        field = slice(*sorted(random.integers(0, 512, 2).tolist()))
        filler = random.bytes(field.stop - field.start)
        path.write_bytes(with_header(bytes(damaged), at, field, filler))
        try:
            opened = open_dataset(path)
            for row in range(len(opened)):
                with contextlib.suppress(SampleError):
                    opened[row]
        except (CorruptError, InvalidArgumentError, UnsupportedError):
            pass


# Change under the reader


def test_a_shard_that_was_changed_after_opening_is_a_mismatch(tmp_path):
    path = write_shard(tmp_path / "0.tar", range(3))
    data = open_dataset(path)
    write_shard(tmp_path / "new", range(5))
    os.replace(tmp_path / "new", path)
    with pytest.raises(MismatchError, match=r"0\.tar was changed"):
        data[0]


def test_a_shard_truncated_while_it_is_read_is_a_sample_error(tmp_path):
    path = write_shard(tmp_path / "0.tar", range(3))
    data = open_dataset(path)
    data[0]
    os.truncate(path, 1500)
    assert reason_of(data.__getitem__, 2) == "io"


def test_a_shard_that_vanished_is_a_sample_error(tmp_path):
    path = write_shard(tmp_path / "0.tar", range(3))
    data = open_dataset(path)
    path.unlink()
    assert reason_of(data.__getitem__, 0) == "io"


def test_a_size_above_32_bits_is_kept_as_too_large(tmp_path):
    # The body of the member is a hole in the file.
    size = 5 << 30
    info = tarfile.TarInfo("a.png")
    info.size = size
    with (tmp_path / "0.tar").open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + size + 1024)
    try:
        data = open_dataset(tmp_path / "0.tar")
    finally:
        os.truncate(tmp_path / "0.tar", 0)
    assert reason_of(data.image, 0) == "too_large"
