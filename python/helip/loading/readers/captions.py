"""Captions of planned rows, tokenised once a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

_FIRST_ROOM = 1 << 16


class CaptionReader:
    """Gives a batch its ``text``: the captions of its rows, through the tokenizer if there is one.

    Tokens are kept where the tokenizer works row by row, so that a second epoch neither reads nor
    tokenises. That is taken to be so where it has a ``context_length`` and gives integers [n,
    context_length], as open_clip's do. Others are called for every batch. Not thread-safe.
    """

    def __init__(self, data: Any, tokenizer: Callable[[list[str]], Any] | None) -> None:
        self._data, self._tokenizer = data, tokenizer
        self._width = int(getattr(tokenizer, "context_length", 0) or 0)
        self._cache: _TokenCache | None = None

    def read(self, rows: Sequence[int]) -> tuple[dict[int, Exception], Any]:
        """Returns what is wrong, by place in ``rows``, and the text of all other rows."""
        captions: dict[int, str] = {}  # by row, of those whose tokens are not kept
        failed: dict[int, Exception] = {}
        for place, row in enumerate(rows):
            if self._cache is not None and self._cache.has(row):
                continue
            try:
                captions[row] = self._data.caption(row)
            except MemoryError:
                raise  # the machine's fault, not the sample's
            except Exception as error:
                failed[place] = error
        good = [row for place, row in enumerate(rows) if place not in failed]
        return failed, self._text(good, captions) if good else None

    def _text(self, rows: list[int], captions: dict[int, str]) -> Any:
        if self._tokenizer is None:
            return [captions[row] for row in rows]
        if captions:
            tokens = self._tokenizer(list(captions.values()))
            if self._cache is None and self._is_by_row(tokens, len(captions)):
                self._cache = _TokenCache(len(self._data), tokens)
            if self._cache is None:
                return tokens
            self._cache.add(list(captions), tokens)
        return self._cache.tokens(rows) if self._cache is not None else None

    def _is_by_row(self, tokens: Any, rows: int) -> bool:
        return (
            isinstance(tokens, torch.Tensor)
            and tokens.shape == (rows, self._width)
            and not tokens.is_floating_point()
        )


class _TokenCache:
    """Token rows without the zeros at their end: 12 bytes a row and 4 a token."""

    def __init__(self, rows: int, like: torch.Tensor) -> None:
        self._width, self._dtype = like.shape[1], like.dtype
        self._starts = np.full(rows, -1, dtype=np.int64)
        self._lengths = np.zeros(rows, dtype=np.int32)
        self._tokens = np.empty(_FIRST_ROOM, dtype=np.int32)
        self._used = 0

    def has(self, row: int) -> bool:
        return bool(self._starts[row] >= 0)

    def add(self, rows: Sequence[int], tokens: torch.Tensor) -> None:
        values = tokens.numpy()  # [n, width]
        lengths = self._width - (values[:, ::-1] != 0).argmax(axis=1)
        lengths[~values.any(axis=1)] = 0
        flat = values[np.arange(self._width) < lengths[:, None]]
        while self._used + len(flat) > len(self._tokens):
            self._tokens = np.concatenate([self._tokens, np.empty_like(self._tokens)])
        self._tokens[self._used : self._used + len(flat)] = flat
        self._starts[rows] = self._used + np.cumsum(lengths) - lengths
        self._lengths[rows] = lengths
        self._used += len(flat)

    def tokens(self, rows: Sequence[int]) -> torch.Tensor:
        lengths = self._lengths[rows]
        filled = np.arange(self._width) < lengths[:, None]  # [n, width]
        places = self._starts[rows][:, None] + np.arange(self._width)
        values = np.zeros((len(rows), self._width), dtype=np.int64)
        values[filled] = self._tokens[places[filled]]
        return torch.from_numpy(values).to(self._dtype)
