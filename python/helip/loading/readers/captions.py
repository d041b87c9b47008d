"""Captions of planned rows: which one, its tokens, and its group. Tokenised once a row."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from helip.data.captions import caption_group, captions_of
from helip.data.dataset import read_ahead

_FIRST_ROOM = 1 << 16


def drawn_caption(captions: Sequence[str], seed: int, epoch: int, row: int) -> str:
    """The caption of this epoch: from a random one on, each of them comes after the other."""
    if len(captions) == 1:
        return captions[0]
    digest = hashlib.blake2b(struct.pack("<QQ", seed, row), digest_size=8).digest()
    return captions[(int.from_bytes(digest, "little") + epoch) % len(captions)]


class CaptionReader:
    """Gives a batch its ``text``: the captions of its rows, through the tokenizer if there is one.

    Tokens are kept where the tokenizer works row by row, so that a second epoch neither reads nor
    tokenises. That is taken to be so where it has a ``context_length`` and gives integers [n,
    context_length], as open_clip's do, unless those have a ``reduction_mask``, which may draw the
    words of a long caption. Others are called for every batch; so are all for rows with several
    captions. Not thread-safe.
    """

    def __init__(
        self, data: Any, tokenizer: Callable[[list[str]], Any] | None, seed: int = 0
    ) -> None:
        self._data, self._tokenizer, self._seed = data, tokenizer, seed
        self._width = int(getattr(tokenizer, "context_length", 0) or 0)
        self._cache: _TokenCache | None = None

    def read(
        self, rows: Sequence[int], epoch: int = 0
    ) -> tuple[dict[int, Exception], Any, np.ndarray, int]:
        """Read the captions of ``rows``.

        Returns what is wrong, by place in ``rows``; the text of all other rows; their groups,
        int64; and how many of them had several captions to draw from.
        """
        drawn: dict[int, str] = {}  # by row, of those whose tokens are not kept
        several: set[int] = set()
        failed: dict[int, Exception] = {}
        cache = self._cache
        unread = [place for place, row in enumerate(rows) if cache is None or not cache.has(row)]
        coming = read_ahead(self._data, [rows[place] for place in unread])
        for place, row in zip(unread, coming, strict=True):
            try:
                captions = captions_of(self._data, row)
            except MemoryError:
                raise  # the machine's fault, not the sample's
            except Exception as error:
                failed[place] = error
                continue
            drawn[row] = drawn_caption(captions, self._seed, epoch, row)
            if len(captions) > 1:
                several.add(row)
        good = [row for place, row in enumerate(rows) if place not in failed]
        groups = {row: caption_group(text) for row, text in drawn.items()}
        text = self._text(good, drawn, groups, several) if good else None
        kept = self._cache.groups if self._cache is not None else None
        numbers = [groups[row] if row in groups else kept[row] for row in good]  # type: ignore[index]
        return failed, text, np.array(numbers, dtype=np.int64), len(several)

    def _text(
        self, rows: list[int], drawn: dict[int, str], groups: dict[int, int], several: set[int]
    ) -> Any:
        if self._tokenizer is None:
            return [drawn[row] for row in rows]
        tokens: Any = self._tokenizer(list(drawn.values())) if drawn else None
        if self._cache is None:
            if not self._is_by_row(tokens, len(drawn)):
                return tokens
            self._cache = _TokenCache(len(self._data), tokens)
        place = {row: number for number, row in enumerate(drawn)}
        if once := [row for row in drawn if row not in several]:
            values = tokens[[place[row] for row in once]]
            self._cache.add(once, values, [groups[row] for row in once])
        found = self._cache.tokens(rows)
        for number, row in enumerate(rows if several else ()):
            if row in several:
                found[number] = tokens[place[row]]
        return found

    def _is_by_row(self, tokens: Any, rows: int) -> bool:
        return (
            isinstance(tokens, torch.Tensor)
            and tokens.shape == (rows, self._width)
            and not tokens.is_floating_point()
            and getattr(self._tokenizer, "reduction_fn", None) is None
        )


class _TokenCache:
    """Token rows without the zeros at their end: 20 bytes a row and 4 a token."""

    def __init__(self, rows: int, like: torch.Tensor) -> None:
        self._width, self._dtype = like.shape[1], like.dtype
        self._starts = np.full(rows, -1, dtype=np.int64)
        self._lengths = np.zeros(rows, dtype=np.int32)
        self.groups = np.zeros(rows, dtype=np.int64)  # of the captions
        self._tokens = np.empty(_FIRST_ROOM, dtype=np.int32)
        self._used = 0

    def has(self, row: int) -> bool:
        return bool(self._starts[row] >= 0)

    def add(self, rows: Sequence[int], tokens: torch.Tensor, groups: Sequence[int]) -> None:
        values = tokens.numpy()  # [n, width]
        lengths = self._width - (values[:, ::-1] != 0).argmax(axis=1)
        lengths[~values.any(axis=1)] = 0
        flat = values[np.arange(self._width) < lengths[:, None]]
        while self._used + len(flat) > len(self._tokens):
            self._tokens = np.concatenate([self._tokens, np.empty_like(self._tokens)])
        self._tokens[self._used : self._used + len(flat)] = flat
        self._starts[rows] = self._used + np.cumsum(lengths) - lengths
        self._lengths[rows] = lengths
        self.groups[rows] = groups
        self._used += len(flat)

    def tokens(self, rows: Sequence[int]) -> torch.Tensor:
        """[n, width]; what is not kept is all zeros."""
        lengths = self._lengths[rows]
        filled = np.arange(self._width) < lengths[:, None]  # [n, width]
        places = self._starts[rows][:, None] + np.arange(self._width)
        values = np.zeros((len(rows), self._width), dtype=np.int64)
        values[filled] = self._tokens[places[filled]]
        return torch.from_numpy(values).to(self._dtype)
