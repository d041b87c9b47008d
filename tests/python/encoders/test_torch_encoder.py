"""Batches, precision and order, whatever the model under an encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.encoders.torch_encoder import TorchImageEncoder, TorchTextEncoder
from support.encoder_samples import close, offline  # noqa: F401 (fixture)


class Flat(torch.nn.Module):
    """Mean of each channel, through a weight so that autocast has something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.is_contiguous(memory_format=torch.channels_last)
        return self.linear(images.mean(dim=(2, 3)))


def flat_encoder(**options) -> TorchImageEncoder:
    torch.manual_seed(0)
    return TorchImageEncoder(Flat(), lambda image: torch.zeros(3, 8, 8), spec="flat", **options)


def test_rows_do_not_depend_on_how_a_batch_is_cut_into_pieces():
    encoder = flat_encoder()
    images = torch.randn(37, 3, 8, 8)
    whole = encoder.encode(images)
    assert whole.shape == (37, 5)
    assert whole.dtype == torch.float32
    close(whole, torch.cat([encoder.encode(image[None]) for image in images]))


def test_rows_can_be_changed_and_need_no_gradient():
    rows = flat_encoder().encode(torch.zeros(2, 3, 8, 8))
    rows += 1  # a tensor of inference mode would refuse
    assert not rows.requires_grad


def test_no_pictures_give_no_rows():
    assert flat_encoder().encode(torch.zeros(0, 3, 8, 8)).shape == (0, 5)
    assert text_of_lengths().encode([]).shape == (0, 1)


@pytest.mark.parametrize(
    "images",
    [torch.zeros(3, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)],
)
def test_a_tensor_that_is_no_batch_of_pictures_is_refused(images):
    with pytest.raises(InvalidArgumentError, match=r"\[n, 3, H, W\]"):
        flat_encoder().encode(images)


def test_unpooled_features_are_refused():
    with pytest.raises(UnsupportedError, match="pooled features"):
        TorchImageEncoder(torch.nn.Identity(), lambda image: torch.zeros(3, 8, 8), spec="unpooled")


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 2e-2), ("float16", 3e-3)])
def test_lower_precision_gives_nearby_rows_in_float32(dtype, tolerance):
    images = torch.randn(5, 3, 8, 8)
    rows = flat_encoder(dtype=dtype).encode(images)
    assert rows.dtype == torch.float32
    close(rows, flat_encoder().encode(images), tolerance)
    assert not torch.equal(rows, flat_encoder().encode(images))


def text_of_lengths(calls: list | None = None) -> TorchTextEncoder:
    def embed(texts: list[str]) -> torch.Tensor:
        if calls is not None:
            calls.extend(texts)
        return torch.tensor([[float(len(text))] for text in texts])

    encoder = TorchTextEncoder(embed, spec="lengths")
    if calls is not None:
        calls.clear()  # of the one that settled the width
    return encoder


def test_equal_captions_are_encoded_once_and_land_in_every_row():
    calls: list[str] = []
    rows = text_of_lengths(calls).encode(["bb", "a", "bb", "ccc"])
    assert rows.flatten().tolist() == [2, 1, 2, 3]
    assert calls == ["a", "bb", "ccc"]


def test_many_captions_come_back_in_their_order():
    texts = ["x" * int(n) for n in np.random.default_rng(0).integers(1, 90, 200)]
    assert text_of_lengths().encode(texts).flatten().tolist() == [len(text) for text in texts]


def test_a_lone_string_is_not_a_list_of_captions():
    with pytest.raises(InvalidArgumentError, match="list of strings"):
        text_of_lengths().encode("a cat")
