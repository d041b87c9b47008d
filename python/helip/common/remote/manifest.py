"""The manifest of a container (docs/formats.md), and the digests by which its bytes are checked."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from helip.common.errors import CorruptError, MismatchError, UnsupportedError, needed

MANIFEST = "manifest.json"
MOST_BYTES = 256 << 20  # of a manifest
HEADER_BYTES = 4096  # of a shard
STORE = "helip.embedding_store"
TABLE = "helip.hard_pairs"
PART = "helip.hard_pairs_part"
NEGATIVES = "helip.hard_negatives"
INDEX = "helip.pair_index"
#: Formats of what is copied.
KINDS = (STORE, TABLE, PART, NEGATIVES, INDEX)
_VERSION = 1
_FEATURES = ("deleted_rows", "corpus", "matrices")
_CHECKSUM = b'\n "checksum": "'
_ITEM_BYTES = {"U8": 1, "I8": 1, "F16": 2, "BF16": 2, "I32": 4, "F32": 4, "I64": 8, "U64": 8}


class Shard(NamedTuple):
    """What a manifest says of a shard."""

    file: str
    rows: int
    bytes: int
    header: str  # the digest of its first HEADER_BYTES
    tensors: Mapping[str, str]  # name → digest


class Tensor(NamedTuple):
    """Where a tensor lies in a shard: its bytes [begin, end) of the file."""

    dtype: str  # as safetensors names it
    shape: tuple[int, ...]
    begin: int
    end: int


class Column(NamedTuple):
    """A column of all shards; ``cols`` is 0 for one number a row."""

    dtype: str
    cols: int


@dataclass(frozen=True)
class Manifest:
    """What a manifest says."""

    text: bytes
    format: str
    generation: int
    rows: int
    shard_rows: int
    checksum: str  # of all the rest, so that it names what the container holds
    columns: Mapping[str, Column]
    shards: tuple[Shard, ...]
    attributes: Mapping[str, Any]

    @property
    def bytes(self) -> int:
        """Of all shards."""
        return sum(shard.bytes for shard in self.shards)


def parse_manifest(text: bytes, path: str, formats: Collection[str] = KINDS) -> Manifest:
    """The manifest at ``path``, once its checksum agrees.

    Raises:
        CorruptError: it is damaged. MismatchError: of none of ``formats``.
        UnsupportedError: written by a newer helip; xxhash is absent.
    """
    at = text.find(_CHECKSUM)
    end = text.find(b'",\n', at + len(_CHECKSUM))
    if at < 0 or end < 0 or not text.endswith(b"}\n"):
        raise CorruptError(f"{path} is damaged: it has no checksum")
    checksum = text[at + len(_CHECKSUM) : end].decode("ascii", "replace")
    if digest_of(text[:at] + text[end + 2 : -1]) != checksum:
        raise CorruptError(f"{path} is damaged: its checksum does not match")
    try:
        root = json.loads(text)
        found, version, features = root["format"], root["version"], root["requires"]
        if found not in formats:
            wanted = " or ".join(formats)
            raise MismatchError(f"{path} is of a {found}, not of a {wanted}; give the URL of one")
        if version > _VERSION or not set(features) <= set(_FEATURES):
            raise UnsupportedError(
                f"{path} has version {version} and needs {features}, this helip reads version "
                f"{_VERSION} and knows {list(_FEATURES)}; upgrade helip"
            )
        shards = tuple(
            Shard(each["file"], each["rows"], each["bytes"], each["header"], each["tensors"])
            for each in root["shards"]
        )
        _check_shards(shards, root["rows"], root["shard_rows"])
        columns = {c["name"]: Column(c["dtype"], c["cols"]) for c in root["columns"]}
        return Manifest(
            text, found, root["generation"], root["rows"], root["shard_rows"], checksum, columns,
            shards, root["attributes"],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        if isinstance(error, (CorruptError, MismatchError)):
            raise
        raise CorruptError(f"{path} is damaged: {error!r}") from error


def _check_shards(shards: Collection[Shard], rows: int, shard_rows: int) -> None:
    before = 0
    for shard in shards:
        if not shard.file or "/" in shard.file or shard.file.startswith("."):
            raise ValueError(f"a shard's file is {shard.file!r}, no plain name")
        if not all(type(count) is int for count in (shard.rows, shard.bytes, rows, shard_rows)):
            raise ValueError(f"{shard.file} has rows or bytes that are no whole numbers")
        if before % shard_rows or not 1 <= shard.rows <= shard_rows or shard.bytes < HEADER_BYTES:
            raise ValueError(f"{shard.file} has implausible rows or bytes")
        before += shard.rows
    if before != rows or len({shard.file for shard in shards}) != len(shards):
        raise ValueError("rows is not the sum over the shards, or a shard is listed twice")


def tensors_of(header: bytes, shard: Shard, path: str) -> dict[str, Tensor]:
    """Where the tensors of a shard lie, in order, by its first HEADER_BYTES.

    Raises CorruptError where the header is not that of the manifest.
    """
    if digest_of(header[:HEADER_BYTES]) != shard.header:
        raise CorruptError(f"{path} is damaged: its header has another digest")
    try:
        if int.from_bytes(header[:8], "little") != HEADER_BYTES - 8:
            raise ValueError("its length")
        found = {
            name: Tensor(
                each["dtype"],
                tuple(each["shape"]),
                *(HEADER_BYTES + offset for offset in each["data_offsets"]),
            )
            for name, each in json.loads(header[8:HEADER_BYTES]).items()
        }
        tensors = dict(sorted(found.items(), key=lambda item: item[1].begin))
        ends = [HEADER_BYTES, *(tensor.end for tensor in tensors.values())]
        if ends[-1] != shard.bytes or set(tensors) != set(shard.tensors):
            raise ValueError("its tensors")
        for (name, tensor), end in zip(tensors.items(), ends, strict=False):
            count = _ITEM_BYTES[tensor.dtype]
            for size in tensor.shape:
                count *= size
            if tensor.begin != end or tensor.end - tensor.begin != count:
                raise ValueError(f"the place of {name}")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CorruptError(f"{path} is damaged: {error!r} in its header") from error
    return tensors


class ShardDigests:
    """Compares the bytes of a shard with its manifest as they come, in order."""

    def __init__(self, shard: Shard, path: str) -> None:
        self._shard, self._path = shard, path
        self._header = b""
        self._at = 0
        self._tensors: list[tuple[str, Tensor, Any]] = []  # not at their end, with their digests

    def update(self, data: Any) -> None:
        """Take the next bytes. CorruptError: a digest differs."""
        view = memoryview(data)
        if self._at < HEADER_BYTES:
            part = view[: HEADER_BYTES - self._at]
            self._header += bytes(part)
            self._at += len(part)
            view = view[len(part) :]
            if self._at < HEADER_BYTES:
                return
            tensors = tensors_of(self._header, self._shard, self._path)
            self._tensors = [(name, each, new_digest()) for name, each in tensors.items()]
            self._end_tensors()
        while len(view):
            if not self._tensors:
                raise CorruptError(f"{self._path} is damaged: it is longer than its tensors")
            _, tensor, digest = self._tensors[0]
            part = view[: tensor.end - self._at]
            digest.update(part)
            self._at += len(part)
            view = view[len(part) :]
            self._end_tensors()

    def finish(self) -> None:
        """CorruptError where bytes are missing."""
        if self._at != self._shard.bytes:
            raise CorruptError(
                f"{self._path} is damaged: it has {self._at:,} bytes, not {self._shard.bytes:,}"
            )

    def _end_tensors(self) -> None:
        for name, _, digest in itertools.takewhile(
            lambda each: each[1].end == self._at, list(self._tensors)
        ):
            if digest.hexdigest() != self._shard.tensors[name]:
                raise CorruptError(f"{self._path} is damaged: {name} has another digest")
            self._tensors.pop(0)


def digest_of(data: Any) -> str:
    """XXH3-128 in hex."""
    digest = new_digest()
    digest.update(data)
    return str(digest.hexdigest())


def new_digest() -> Any:
    """An XXH3-128 that grows."""
    with needed("checking what is copied and read at URLs needs xxhash", "'helip[remote]'"):
        import xxhash
    return xxhash.xxh3_128()
