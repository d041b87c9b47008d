"""Captions of planned rows, and their tokens."""

from __future__ import annotations

from types import SimpleNamespace

import open_clip
import pytest
import torch

from helip.loading.readers.captions import CaptionReader


class Data:
    """One caption of 40 words, which is read once more whenever it is asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def __len__(self) -> int:
        return 1

    def caption(self, row: int) -> str:
        self.asked += 1
        return " ".join(f"word{number}" for number in range(40))


def tokens(reader: CaptionReader, times: int = 6) -> list[torch.Tensor]:
    return [reader.read([0])[1] for _ in range(times)]


@pytest.mark.parametrize("mask", ["random", "shuffle"])
def test_a_tokenizer_that_draws_words_draws_them_anew_for_every_batch(mask):
    torch.manual_seed(0)
    data = Data()
    tokenizer = open_clip.SimpleTokenizer(context_length=8, reduction_mask=mask)
    found = tokens(CaptionReader(data, tokenizer))
    assert any(not torch.equal(found[0], other) for other in found[1:])
    assert data.asked == len(found)


def test_a_tokenizer_that_gives_the_same_is_called_once_a_row():
    data = Data()
    found = tokens(CaptionReader(data, open_clip.SimpleTokenizer(context_length=8)))
    assert all(torch.equal(found[0], other) for other in found)
    assert data.asked == 1


def test_without_a_tokenizer_the_captions_are_given():
    assert CaptionReader(SimpleNamespace(caption=str), None).read([3, 5])[1] == ["3", "5"]
