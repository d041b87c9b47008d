"""Columns of text that lie in memory, for batches of rows that have no pictures."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.data.captions import packed_groups
from helip.pairs.matching import opened_data


class TextColumns:
    """Name → texts, one of each column for every row; what a plan or a sampler asks of its data.

    A table does not know of which texts it was made, so that only numbers of rows are compared.
    """

    def __init__(self, columns: Mapping[str, Sequence[str]]) -> None:
        for name, texts in columns.items():
            if isinstance(texts, (str, bytes)) or not hasattr(texts, "__getitem__"):
                raise _no_texts(f"the column {name!r} of data is {type(texts).__name__}")
        lengths = {name: len(texts) for name, texts in columns.items()}
        if len({*lengths.values()}) != 1:
            raise _no_texts(f"the columns of data have {lengths or 'no'} rows")
        for name, texts in columns.items():
            for row, text in enumerate(texts):
                if not isinstance(text, str):
                    raise _no_texts(
                        f"row {row} of the column {name!r} of data is {type(text).__name__}, no str"
                    )
        self._columns = [*columns.values()]

    def __len__(self) -> int:
        return len(self._columns[0])

    @functools.cached_property
    def _groups(self) -> tuple[np.ndarray, np.ndarray]:
        return packed_groups(zip(*self._columns, strict=True))

    def caption_groups(self) -> tuple[np.ndarray, np.ndarray]:
        """As those of `Dataset`: a number for each text of a row, the same for equal texts."""
        return self._groups

    def image_groups(self) -> None:
        """No pictures."""

    @functools.cached_property
    def digest(self) -> str:
        """Of which texts are equal, as far as batches depend on it."""
        content = b"".join(part.tobytes() for part in self._groups)
        return hashlib.blake2b(content, digest_size=16).hexdigest()

    def require(self, what: str, rows: int, digest: str | None = None) -> None:
        """MismatchError unless ``what`` has as many rows and, where it knows them, these texts."""
        if len(self) != rows:
            raise MismatchError(
                f"{what} has {rows:,} rows, and the columns of data {len(self):,}; give those that "
                "were mined, whole. Rows to evaluate on want another sampler"
            )
        if digest not in (None, self.digest):
            raise MismatchError(
                f"{what} was made of other texts than those of data; give the same columns, or "
                "plan again"
            )


def opened_rows(data: Any) -> Any:
    """Columns of text for a mapping of them, else the data set, opened where it is a source."""
    if isinstance(data, Mapping) and not any(
        hasattr(each, "column_names") for each in data.values()
    ):
        return TextColumns(data)
    try:
        return opened_data(data)
    except InvalidArgumentError as error:
        if not hasattr(data, "column_names"):
            raise
        raise InvalidArgumentError(
            f"{error}. Of a data set without pictures give columns of text: dataset[:]"
        ) from error


def _no_texts(words: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{words}; give columns of text alone, with as many rows each, such as dataset[:] of a "
        "datasets.Dataset"
    )
