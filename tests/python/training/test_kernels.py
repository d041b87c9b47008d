"""Kernels of a step on a CPU: which are taken, and that they compute the same."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from helip.models.bundle import create_model
from helip.training.kernels import (
    FEW_TOKENS,
    attention_kernel,
    longest_sequence,
    takes_channels_last,
)
from helip.training.step import on_device

CPU = torch.device("cpu")
TEXT = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
VIT = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}


def model(vision, **text):
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT | text}
    return create_model("tiny", config=config, from_scratch=True, seed=0).model


class Seen(TorchDispatchMode):
    """The names of the operators that ran."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        self.names.add(function.overloadpacket.__name__)
        return function(*arguments, **(named or {}))


def flash_ran(net, precision, **options):
    images, texts = torch.randn(2, 3, 32, 32), torch.randint(1, 60, (2, net.context_length))
    with attention_kernel(net, CPU, precision, **options), Seen() as seen:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            image, text, scale = net(images, texts)
        ((image * text).sum() * scale).backward()
    return any("flash_attention" in name for name in seen.names)


def test_the_longest_sequence_is_that_of_either_tower():
    assert longest_sequence(model(VIT)) == 4 * 4 + 1
    assert longest_sequence(model(VIT, context_length=30)) == 30
    assert longest_sequence(model(RESNET, context_length=3)) == 2 * 2 + 1


def test_a_tower_without_a_table_of_positions_has_no_known_length():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.visual = nn.Linear(4, 4)
            self.positional_embedding = nn.Parameter(torch.zeros(8, 4))

    assert longest_sequence(Half()) == 0


def test_bfloat16_over_short_sequences_takes_plain_products():
    net = model(VIT)
    assert not flash_ran(net, "bfloat16")
    assert flash_ran(net, "float32")
    assert flash_ran(net, "bfloat16", compiled=True)
    assert flash_ran(model(VIT, context_length=FEW_TOKENS + 1), "bfloat16")


def test_plain_products_give_the_attention_of_float64():
    torch.manual_seed(0)
    net = model(VIT)
    query, key, value = torch.randn(3, 2, 2, 17, 16, dtype=torch.bfloat16)
    with attention_kernel(net, CPU, "bfloat16"):
        found = nn.functional.scaled_dot_product_attention(query, key, value)
    weights = (query.double() @ key.double().transpose(-1, -2) / 16**0.5).softmax(dim=-1)
    torch.testing.assert_close(found.double(), weights @ value.double(), rtol=0.02, atol=0.02)


def test_channels_last_is_for_convolutional_towers_of_open_clip_on_a_cpu():
    assert takes_channels_last(model(RESNET), CPU)
    assert not takes_channels_last(model(RESNET), torch.device("cuda"))
    assert not takes_channels_last(model(VIT), CPU)

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.visual = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))

    assert not takes_channels_last(Own(), CPU)
    assert not takes_channels_last(nn.Linear(2, 2), CPU)


def test_channels_last_gives_the_same_gradients_and_leaves_the_weights_as_they_are():
    first = model(RESNET).double().train()
    second = copy.deepcopy(first)
    batch = {
        "image": torch.randn(4, 3, 64, 64, dtype=torch.float64),
        "text": torch.randint(1, 60, (4, 8)),
        "index": torch.arange(4),
        "target": torch.arange(4),
    }
    for net, last in ((first, False), (second, True)):
        image = on_device(batch, CPU, channels_last=last)["image"]
        assert image.is_contiguous(
            memory_format=torch.channels_last if last else torch.contiguous_format
        )
        net.visual(image).square().sum().backward()
    for one, other in zip(first.visual.parameters(), second.visual.parameters(), strict=True):
        assert other.is_contiguous() and other.grad.is_contiguous()
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("vision", [VIT, RESNET])
def test_pictures_keep_their_values(vision):
    image = torch.randn(2, 3, 8, 8)
    batch = {
        "image": image, "text": torch.zeros(2, 8, dtype=torch.int64),
        "index": torch.arange(2), "target": torch.arange(2),
    }  # fmt: skip
    last = takes_channels_last(model(vision), CPU)
    assert torch.equal(on_device(batch, CPU, channels_last=last)["image"], image)
