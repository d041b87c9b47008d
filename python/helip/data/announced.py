"""Rows that are read one after the other, of which the data set is told before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

#: Rows that it is told of at a time: so many to twice as many are on their way. With pictures of
#: 100 KB that is 6 to 13 MB, and many reads for a disk or a network to work on at once.
TOLD = 64


def announced(data: Any, rows: Sequence[int], *, captions: bool = False) -> Iterator[int]:
    """Yields ``rows``; tells ``data``, if it is a Dataset, of those that come next.

    ``captions``: they alone will be read.
    """
    tell = getattr(data, "_will_need_captions" if captions else "_will_need", None)
    for place, row in enumerate(rows):
        if tell is not None and place % TOLD == 0:
            coming = rows[place + TOLD if place else 0 : place + 2 * TOLD]
            tell(np.asarray(coming, dtype=np.int64))
        yield row
