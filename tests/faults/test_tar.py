"""Tar files damaged at random: what is read agrees with tarfile, or the damage is told."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path

import pytest

import helip
from helip.common.errors import CorruptError, InvalidArgumentError, UnsupportedError

ROUNDS = 10_000
FIELDS = ("image", "text", "json", "label")


def archive(format: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name in ("a.jpg", "a.txt", "d/" * 60 + "b.jpg", "x" * 95 + ".txt", "é.json"):
            info = tarfile.TarInfo(name)
            info.size = 700
            tar.addfile(info, io.BytesIO(b"y" * 700))
        link = tarfile.TarInfo("c.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "a.jpg"
        tar.addfile(link)
    return buffer.getvalue()


def headers_of(data: bytes) -> list[int]:
    found = []
    for at in range(0, len(data) - 511, 512):
        block = data[at : at + 512]
        stored = block[148:154]
        total = sum(block[:148]) + 256 + sum(block[156:])
        if any(block) and stored.isdigit() and int(stored, 8) == total:
            found.append(at)
    return found


def damage(data: bytes, headers: list[int], draw: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        at = draw.choice(headers)
        if draw.random() < 0.7:
            # Fields that lead somewhere: name, size, type, magic, prefix.
            begin, end = draw.choice([(0, 100), (124, 136), (156, 157), (257, 265), (345, 500)])
        else:
            begin, end = 0, 512
        place = at + draw.randrange(begin, end)
        damaged[place] = draw.choice([0, 0x30 + draw.randrange(8), draw.randrange(256), 0x80, 0xFF])
        if draw.random() < 0.8:
            header = damaged[at : at + 512]
            header[148:156] = b" " * 8
            header[148:156] = b"%06o\0 " % sum(header)
            damaged[at : at + 512] = header
    if draw.random() < 0.1:
        del damaged[draw.randrange(len(damaged)) :]
    return bytes(damaged)


def members_of(data: bytes) -> list[tarfile.TarInfo] | None:
    """What tarfile reads of it, None where it finds fault."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8") as tar:
            return tar.getmembers()
    except Exception:
        return None


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_damaged_archives_are_read_as_tarfile_does_or_refused(tmp_path: Path, format: int) -> None:
    whole = archive(format)
    headers = headers_of(whole)
    draw = random.Random(format)
    path = tmp_path / "0.tar"
    read = refused = 0
    for _ in range(ROUNDS):
        data = damage(whole, headers, draw)
        path.write_bytes(data)
        try:
            index = helip.SampleIndex.build(path, progress=False)
        except (CorruptError, InvalidArgumentError, UnsupportedError):
            refused += 1
            continue
        read += 1
        members = members_of(data)
        if members is None:
            continue  # tarfile has faults of its own to find
        # None is lost in silence.
        counts = index.counts()
        ignored = sum(n for name, n in counts.items() if name.startswith("ignored_"))
        present = sum(
            index.member(row, field).state == "present"
            for row in range(len(index))
            for field in FIELDS
        )
        assert present + ignored == sum(not member.isdir() for member in members)
        lying = {(m.offset_data, m.size) for m in members if m.isreg() and not m.issparse()}
        for row in range(len(index)):
            for field in FIELDS:
                state, _, offset, size = index.member(row, field)
                if state == "present":
                    assert (offset, size) in lying
                    assert len(index.read(row, field)) == size
    assert read > ROUNDS / 20
    assert refused > ROUNDS / 20
