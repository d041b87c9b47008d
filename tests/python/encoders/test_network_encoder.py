"""Batches, precision and order, whatever the model under an encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.encoders.engines import TorchEngine
from helip.encoders.network_encoder import NetworkImageEncoder, NetworkTextEncoder
from support.encoder_samples import close, offline, torch_images  # noqa: F401 (fixture)

CPU = torch.device("cpu")


class Flat(torch.nn.Module):
    """Mean of each channel, through a weight so that autocast has something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.is_contiguous(memory_format=torch.channels_last)
        return self.linear(images.mean(dim=(2, 3)))


def flat_encoder(**options) -> NetworkImageEncoder:
    torch.manual_seed(0)
    return torch_images(Flat(), lambda image: torch.zeros(3, 8, 8), spec="flat", **options)


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
        torch_images(torch.nn.Identity(), lambda image: torch.zeros(3, 8, 8), spec="unpooled")


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 2e-2), ("float16", 3e-3)])
def test_lower_precision_gives_nearby_rows_in_float32(dtype, tolerance):
    images = torch.randn(5, 3, 8, 8)
    rows = flat_encoder(dtype=dtype).encode(images)
    assert rows.dtype == torch.float32
    close(rows, flat_encoder().encode(images), tolerance)
    assert not torch.equal(rows, flat_encoder().encode(images))


def text_of_lengths(calls: list | None = None) -> NetworkTextEncoder:
    def embed(texts: list[str]) -> torch.Tensor:
        if calls is not None:
            calls.extend(texts)
        return torch.tensor([[float(len(text))] for text in texts])

    encoder = NetworkTextEncoder(TorchEngine(embed, CPU), None, spec="lengths")
    if calls is not None:
        calls.clear()  # of the one that settled the width
    return encoder


def test_equal_captions_are_encoded_once_and_land_in_every_row():
    calls: list[str] = []
    encoder = text_of_lengths(calls)
    rows = encoder.encode(["bb", "dddd", "bb", "ccc"])
    assert rows.flatten().tolist() == [2, 4, 2, 3]
    assert calls == ["bb", "ccc", "dddd"]
    rows += 1  # of the caller's own
    assert encoder.encode(["ccc", "bb", "fffff"]).flatten().tolist() == [3, 2, 5]
    assert calls == ["bb", "ccc", "dddd", "fffff"]


def test_captions_that_are_kept_are_bounded(monkeypatch):
    monkeypatch.setattr("helip.encoders.network_encoder._KNOWN_BYTES", 3 * 4)
    calls: list[str] = []
    encoder = text_of_lengths(calls)
    encoder.encode(["bb", "ccc"])
    encoder.encode(["bb"])
    encoder.encode(["dddd", "fffff"])  # the longest unused go
    calls.clear()
    assert encoder.encode(["bb", "ccc"]).flatten().tolist() == [2, 3]
    assert calls == ["ccc"]


def test_nothing_is_computed_on_padding():
    seen: list[torch.Size] = []

    def tokenize(texts: list[str]) -> dict[str, torch.Tensor]:
        longest = max(map(len, texts))
        mask = torch.tensor([[1] * len(t) + [0] * (longest - len(t)) for t in texts])
        return {"ids": 7 * mask, "attention_mask": mask}

    def network(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        assert bool(mask.all())
        seen.append(ids.shape)
        return ids.sum(dim=1, keepdim=True).float()

    encoder = NetworkTextEncoder(TorchEngine(network, CPU), tokenize, spec="own:masked")
    seen.clear()
    rows = encoder.encode(["xx", "yyyyy", "zz", "x"])
    assert rows.flatten().tolist() == [14, 35, 14, 7]
    assert sorted(seen) == [(1, 1), (1, 5), (2, 2)]


def test_batches_are_encoded_ahead_and_come_back_in_order():
    encoder = flat_encoder()
    batches = [torch.randn(n, 3, 8, 8) for n in (1, 40, 16, 17)]
    found = list(encoder.encode_ahead(batches))
    assert [len(rows) for rows in found] == [1, 40, 16, 17]
    close(torch.cat(found), encoder.encode(torch.cat(batches)))


def test_many_captions_come_back_in_their_order():
    texts = ["x" * int(n) for n in np.random.default_rng(0).integers(1, 90, 200)]
    assert text_of_lengths().encode(texts).flatten().tolist() == [len(text) for text in texts]


def test_a_lone_string_is_not_a_list_of_captions():
    with pytest.raises(InvalidArgumentError, match="list of strings"):
        text_of_lengths().encode("a cat")
