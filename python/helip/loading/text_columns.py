"""Columns of text that lie in memory, for batches of rows that have no pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError
from helip.data.captions import packed_groups
from helip.pairs.matching import opened_data


class TextColumns:
    """Name → texts, one of each column for every row; what a plan or a sampler asks of its data.

    ``fingerprint`` is "", which differs from nothing: only the number of rows is compared.
    """

    fingerprint = ""

    def __init__(self, columns: Mapping[str, Sequence[str]]) -> None:
        lengths = {name: len(texts) for name, texts in columns.items()}
        if len({*lengths.values()}) != 1:
            raise InvalidArgumentError(
                f"the columns of data have {lengths or 'no'} rows; give columns of text "
                "with as many rows each, such as dataset[:] of a datasets.Dataset"
            )
        for name, texts in columns.items():
            for row, text in enumerate(texts):
                if not isinstance(text, str):
                    raise InvalidArgumentError(
                        f"row {row} of the column {name!r} is {type(text).__name__}, must be str; "
                        "give the columns of text alone"
                    )
        self._columns = [*columns.values()]

    def __len__(self) -> int:
        return len(self._columns[0])

    def caption_groups(self) -> tuple[np.ndarray, np.ndarray]:
        """As those of `Dataset`: a number for each text of a row, the same for equal texts."""
        return packed_groups(zip(*self._columns, strict=True))

    def image_groups(self) -> None:
        """No pictures."""


def opened_rows(data: Any) -> Any:
    """Columns of text for a dict, else the data set, opened where it is a source."""
    return TextColumns(data) if type(data) is dict else opened_data(data)
