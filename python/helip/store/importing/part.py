"""What a source of embeddings is made of: parts, each read in blocks from its first row on."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import CorruptError, Error, InvalidArgumentError, StorageError

FLOATS = ("float16", "float32", "float64", "bfloat16")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Block:
    """Rows of a part, one after the other."""

    image: Any
    """[n, d_image], an array or a tensor."""
    text: Any
    keys: list[str] | None
    """n keys; None where the source has none."""
    captions: list[str] | None = None
    """n captions, several of a row with line feeds between them."""

    def __len__(self) -> int:
        return len(self.image)


Blocks = Generator[Block, None, None]


@dataclass(frozen=True)
class Part:
    """One file, or the files that belong together, such as pictures' and captions' embeddings."""

    name: str
    """What messages call it."""
    rows: int
    dims: tuple[int, int]
    dtypes: tuple[str, str]
    files: tuple[Path, ...]
    """By whose sizes and times a change is noticed; none for what lies in memory."""
    blocks: Callable[[int, int], Blocks]
    """(first, step): the rows from ``first`` on, at most ``step`` at a time."""
    has_keys: bool = False
    has_captions: bool = False

    def state(self) -> list[Any]:
        """What tells whether it is still the same; JSON-able."""
        return [self.name, self.rows, [_state_of(path) for path in self.files]]


def _state_of(path: Path) -> list[int]:
    """Bytes and time of change of a file."""
    state = os.stat(path)
    return [state.st_size, state.st_mtime_ns]


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever another library raises of a source into an error of helip that names it."""
    try:
        yield
    except (Error, MemoryError):
        raise
    except OSError as error:
        if error.errno is not None:
            raise StorageError(error.errno, f"cannot read {name}: {error.strerror}") from error
        raise CorruptError(f"{name} cannot be read: {error!s:.200}") from error
    except Exception as error:
        what = f"{type(error).__name__}: {error!s:.200}"
        raise CorruptError(f"{name} cannot be read ({what}); write it anew") from error


def number_of(path: Path) -> int | None:
    """The last number in a file's name, by which files of one shard are told."""
    found = _NUMBER.findall(path.stem)
    return int(found[-1]) if found else None


def check_same_numbers(sides: dict[str, Sequence[Path]]) -> None:
    """Refuse lists of files of which one lacks what another has; ``sides``: by their names.

    Files of one place in the lists belong together, so that their numbers must be the same.
    """
    (first, paths), *others = sides.items()
    for other, theirs in others:
        numbers, own = [number_of(path) for path in paths], [number_of(path) for path in theirs]
        if numbers == own or (len(paths) == len(theirs) == 1):
            continue
        only = [path for path, number in zip(paths, numbers, strict=True) if number not in own]
        extra = [path for path, number in zip(theirs, own, strict=True) if number not in numbers]
        if only or extra:
            place, lacking = (only[0], other) if only else (extra[0], first)
            raise InvalidArgumentError(
                f"{place} has no file of the same number in {lacking} ({len(paths)} of {first}, "
                f"{len(theirs)} of {other}); give every shard, or leave it out of both"
            )
        if len(own) != len(numbers):
            raise InvalidArgumentError(
                f"{first} has {len(paths)} files and {other} {len(theirs)}, so that they cannot be "
                "told apart by their numbers; name one file of each for each shard"
            )
        at = next(i for i, (a, b) in enumerate(zip(numbers, own, strict=True)) if a != b)
        raise InvalidArgumentError(
            f"{paths[at].name} stands beside {theirs[at].name}: the order of {other} is not that "
            f"of {first}; give both in one order"
        )


def check_rows(counts: dict[str, int]) -> int:
    """The rows that all of these have; ``counts``: by the name of a file."""
    (first, rows), *others = counts.items()
    for other, theirs in others:
        if theirs != rows:
            raise InvalidArgumentError(
                f"{other} has {theirs:,} rows and {first} {rows:,}; files of one shard must have "
                "the same rows in the same order"
            )
    return rows


def check_floats(dtype: str, what: str) -> str:
    """``dtype``, if embeddings may be of it."""
    if dtype not in FLOATS:
        raise InvalidArgumentError(
            f"{what} is of {dtype}; embeddings are float16, float32 or float64. Convert it first"
        )
    return dtype


def key_texts(values: Sequence[Any], what: str, first: int) -> list[str]:
    """Keys as text: of text itself, of whole numbers their digits; ``first``: the row of the first.

    Raises:
        InvalidArgumentError: a key that is missing or of another type, with its row.
    """
    texts = []
    for row, value in enumerate(values, start=first):
        if isinstance(value, bytes):
            value = _decoded(value, what, "key", row)
        if isinstance(value, bool) or not (isinstance(value, str) or hasattr(value, "__index__")):
            said = "missing" if value is None else f"{value!r:.80}, a {type(value).__name__}"
            raise InvalidArgumentError(
                f"{what}: the key of row {row:,} is {said}; keys are text or whole numbers. Name "
                "another key_column, or row for the rows' numbers"
            )
        texts.append(value if isinstance(value, str) else str(int(value)))
    return texts


def _decoded(value: bytes, what: str, kind: str, row: int) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"{what}: the {kind} of row {row:,} is no UTF-8 ({value!r:.80}); write it as UTF-8"
        ) from error


def caption_texts(values: Sequence[Any], what: str, first: int) -> list[str]:
    """Captions stripped, several of a row with line feeds between; "" where there is none.

    Raises:
        InvalidArgumentError: a caption that is no text, with its row.
    """
    texts = []
    for row, value in enumerate(values, start=first):
        cells = value if isinstance(value, (list, tuple)) else [value]
        own = []
        for cell in cells:
            if isinstance(cell, bytes):
                cell = _decoded(cell, what, "caption", row)
            if cell is not None and not isinstance(cell, str):
                raise InvalidArgumentError(
                    f"{what}: the caption of row {row:,} is {cell!r:.80}, a "
                    f"{type(cell).__name__}, not text; name another caption_column"
                )
            if cell is not None and cell.strip():
                own.append(cell.strip())
        texts.append("\n".join(dict.fromkeys(own)))
    return texts


def first_row_that_is_not_finite(block: Block) -> tuple[str, int] | None:
    """("image" or "text", place in the block) of the first NaN or infinity."""
    for side in ("image", "text"):
        values = getattr(block, side)
        if not isinstance(values, np.ndarray):
            values = values.float().numpy()
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            return side, int(bad[0])
    return None
