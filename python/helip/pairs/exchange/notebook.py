"""What notebooks show of a table of hard pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup, escape

from helip import _core
from helip.common.notebook import table_html
from helip.common.text import plain
from helip.data.thumbnails import sample_html
from helip.store.embedding_store import EmbeddingStore

_TARGETS = 5
_HARD = 5


def pairs_html(title: str, table: _core.HardPairs, store: EmbeddingStore | None, data: Any) -> str:
    """The first targets that have a hard pair, each with its best ones: key or row, score, and of
    ``data``, if it is given, picture and caption."""
    shown = min(_HARD, table.k)
    rows = []
    for target in np.flatnonzero(table.counts)[:_TARGETS].tolist():
        count = min(int(table.counts[target]), shown)
        cells = [_sample(target, "", store, data)]
        for row, score in zip(
            table.ids[target, :count].tolist(), table.scores[target, :count].tolist(), strict=True
        ):
            cells.append(_sample(row, f" ({score:.3f})", store, data))
        rows.append([*cells, *[""] * (shown - count)])
    return table_html(title, ["target", *(f"hard pair {r + 1}" for r in range(shown))], rows)


def _sample(row: int, score: str, store: EmbeddingStore | None, data: Any) -> Markup:
    keys = getattr(store if data is None else data, "keys", None)
    name = escape(plain(str(row) if keys is None else f"{row}: {keys[row]}", 60) + score)
    return name if data is None else Markup("{}<br>{}").format(name, sample_html(data, row))
