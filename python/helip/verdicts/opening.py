"""What a path or an open file of verdicts takes out of a data set."""

from __future__ import annotations

import os

import numpy as np

from helip.common.errors import InvalidArgumentError
from helip.verdicts.exclusions import Exclusions
from helip.verdicts.verdicts import Verdicts

#: What mining, filters and loaders take.
Source = Verdicts | Exclusions | str | os.PathLike[str]


def exclusions_of(verdicts: Source | None, rows: int, data_fingerprint: str) -> Exclusions:
    """What an open file of verdicts, or the one at a path, excludes from data of so many rows.

    Raises:
        MismatchError: verdicts on other data. As :meth:`Verdicts.open` does.
    """
    if isinstance(verdicts, Exclusions):
        named = np.concatenate([verdicts.pairs.ravel(), verdicts.rows])
        if len(named) and not 0 <= named.min() <= named.max() < rows:
            raise InvalidArgumentError(
                f"verdicts name rows {named.min()} to {named.max()}, must be 0 to {rows - 1}"
            )
        return verdicts
    if isinstance(verdicts, (str, os.PathLike)):
        with Verdicts.open(verdicts) as opened:
            return exclusions_of(opened, rows, data_fingerprint)
    words = "open Verdicts, or the path of their file"
    if not isinstance(verdicts, Verdicts):
        raise InvalidArgumentError(f"verdicts is {verdicts!r}, must be {words}")
    verdicts.refuse_other_data(rows, data_fingerprint)
    return verdicts.excluded()
