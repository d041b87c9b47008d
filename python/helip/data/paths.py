"""From a source to the files that it names, and reading one file without leaving its root."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError, SampleError, UnsupportedError
from helip.common.patterns import existing_paths, expand_braces, is_url, natural
from helip.common.remote.urls import check_url
from helip.data.dataset import ACCEPTED

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".ppm", ".gif", ".bmp", ".tif", ".tiff",
)  # fmt: skip
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
MAX_IMAGE_BYTES = 256 * 2**20
_STAT_THREADS = 16
_STAT_CHUNK = 256  # files that a thread looks at in one go


def recognise(source: Any) -> tuple[str, list[Any]] | None:
    """Return the kind (tar, urls, index, table, folder, saved) and the files of a source.

    Paths, but for urls, which are text of tar shards at one host. None for an object.
    """
    patterns = list(source) if isinstance(source, (list, tuple)) else [source]
    if not all(isinstance(pattern, (str, os.PathLike)) for pattern in patterns):
        return None
    if not patterns:
        raise InvalidArgumentError(f"an empty {type(source).__name__}: {ACCEPTED}")
    remote = [isinstance(pattern, str) and is_url(pattern) for pattern in patterns]
    if all(remote):
        return "urls", [url for pattern in patterns for url in _urls(pattern)]
    if any(remote):
        raise InvalidArgumentError("one data set cannot mix files and URLs; open them one by one")
    paths = [path for pattern in patterns for path in existing_paths(pattern, ACCEPTED)]
    found = [_recognise_folder(path) if path.is_dir() else _recognise_file(path) for path in paths]
    kinds = sorted({kind for kind, _ in found})
    if len(kinds) > 1:
        raise InvalidArgumentError(
            f"one data set cannot mix {' and '.join(kinds)} sources; open them one by one"
        )
    if kinds[0] in ("index", "folder", "saved") and len(found) > 1:
        raise InvalidArgumentError(
            f"{len(found)} folders given; only tar shards and tables can be listed"
        )
    return kinds[0], [path for _, files in found for path in files]


def _urls(pattern: str) -> list[str]:
    # "::" divides shards; what follows it then begins with a scheme of its own.
    urls = [
        url for piece in re.split(r"::(?=[a-z0-9]+://)", pattern) for url in expand_braces(piece)
    ]
    for url in urls:
        if "*" in url or "[" in url:
            raise UnsupportedError(
                f"{url!r} is a URL, whose folder cannot be listed; name shards by braces, such as "
                "{00000..00041}.tar, or by a list"
            )
        check_url(url)
        _refuse_compressed(url)
        if not url.lower().endswith(".tar"):
            raise UnsupportedError(
                f"{url!r} is not a .tar file, and of URLs only tar shards are read; fetch it first"
            )
    return urls


def _refuse_compressed(path: Any) -> None:
    if str(path).lower().endswith((".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")):
        raise UnsupportedError(
            f"{path} is compressed, so samples cannot be read at random; "
            "uncompress it to .tar (pictures hardly gain from it)"
        )


def _recognise_file(path: Path) -> tuple[str, list[Path]]:
    name = path.name.lower()
    _refuse_compressed(path)
    if name.endswith(TABLE_SUFFIXES):
        return "table", [path]
    if name.endswith(".tar") or (path.is_file() and _starts_as_tar(path)):
        return "tar", [path]
    raise InvalidArgumentError(f"{path} is of no known kind: {ACCEPTED}")


def _starts_as_tar(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(262)[257:] == b"ustar"


def _recognise_folder(folder: Path) -> tuple[str, list[Path]]:
    names = [path.name for path in sorted(map(Path, os.listdir(folder)), key=natural)]
    if "dataset_dict.json" in names:
        splits = [name for name in names if (folder / name / "state.json").exists()]
        raise InvalidArgumentError(
            f"split is None, and {folder} holds several: {', '.join(splits)}; give one of them"
        )
    if "state.json" in names and "dataset_info.json" in names:
        return "saved", [folder]
    if "manifest.json" in names and _holds_an_index(folder / "manifest.json"):
        return "index", [folder]
    # img2dataset writes .parquet and .json beside each shard: the tars are the data.
    for suffix, kind in ((".tar", "tar"), (".parquet", "table")):
        found = [folder / name for name in names if name.lower().endswith(suffix)]
        if found:
            return kind, found
    return "folder", [folder]


def _holds_an_index(manifest: Path) -> bool:
    # Its text is canonical, so that a look at this line will do; damage shows on opening.
    try:
        return (
            manifest.is_file() and b'\n "format": "helip.sample_index",\n' in manifest.read_bytes()
        )
    except OSError:
        return False


def file_sizes(paths: Iterable[str]) -> np.ndarray:
    """uint64 [n]: bytes of each file, 0 where there is none.

    Several files are looked at side by side, since on a network each look is a way to and fro.
    """
    listed = list(paths)
    chunks = [listed[at : at + _STAT_CHUNK] for at in range(0, len(listed), _STAT_CHUNK)]
    with ThreadPoolExecutor(_STAT_THREADS) as pool:
        sizes = [size for chunk in pool.map(_sizes_of, chunks) for size in chunk]
    return np.array(sizes, dtype=np.uint64)


def _sizes_of(paths: Iterable[str]) -> list[int]:
    sizes = []
    for path in paths:
        try:
            sizes.append(os.stat(path).st_size if path else 0)
        except (OSError, ValueError):
            sizes.append(0)
    return sizes


def read_inside(root: str, relative: str, *, key: str, follow_links: bool = False) -> bytes:
    """Return the bytes of a regular file under ``root`` (a real path).

    Links are resolved first, and the result is then opened folder by folder without following
    any, so that a link swapped in meanwhile leads nowhere.

    Raises:
        SampleError: the file is absent, outside of ``root``, no regular file, or too large.
    """
    path = os.path.join(root, relative)

    def open_inside(_path: str, flags: int) -> int:
        # O_NONBLOCK: opening a pipe must not wait for its writer.
        flags |= os.O_NONBLOCK
        if follow_links:
            return os.open(path, flags)
        real = os.path.realpath(path)
        if os.path.commonpath([real, root]) != root or real == root:
            raise SampleError.of(
                key,
                "outside_root",
                f"{relative!r} leads out of {root}; pass follow_links=True if its links are to be "
                "trusted",
            )
        return _open_beneath(root, os.path.relpath(real, root), flags)

    try:
        with open(path, "rb", opener=open_inside) as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise SampleError.of(key, "io", f"{path} is not a regular file")
            if state.st_size > MAX_IMAGE_BYTES:
                size = f"{state.st_size:,} bytes, more than {MAX_IMAGE_BYTES:,}"
                raise SampleError.of(key, "too_large", f"{path} has {size}")
            # One byte more shows a file that grows while it is read.
            data = file.read(state.st_size + 1)
    except (OSError, ValueError) as error:
        absent = isinstance(error, (FileNotFoundError, NotADirectoryError))
        reason = "missing_image" if absent else "io"
        words = f"cannot read {path!r}: {error}{_other_name(path) if absent else ''}"
        raise SampleError.of(key, reason, words) from error
    if len(data) != state.st_size:
        raise SampleError.of(key, "io", f"{path} changed while read")
    return data


def _other_name(path: str) -> str:
    """A hint at a picture of that name with an extension."""
    for suffix in IMAGE_SUFFIXES:
        if os.path.isfile(path + suffix):
            name = os.path.basename(path)
            return (
                f"; {name + suffix!r} is there: the image column must name files whole, with the "
                "extension"
            )
    return ""


def _open_beneath(root: str, path: str, flags: int) -> int:
    *folders, name = path.split(os.sep)
    inside = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            through = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            deeper = os.open(folder, through, dir_fd=inside)
            os.close(inside)
            inside = deeper
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=inside)
    finally:
        os.close(inside)
