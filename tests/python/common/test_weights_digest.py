"""The digest of a model's weights: what counts for it, and what does not."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from helip.common.errors import InvalidArgumentError
from helip.common.weights_digest import weights_digest


class Sharded(Tensor):
    """As FSDP2's parameters, which know how to be put together."""

    def full_tensor(self) -> Tensor:
        return self


def a_state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        "b.weight": torch.randn(4, 3, generator=generator),
        "a.half": torch.randn(5, generator=generator).bfloat16(),
        "scale": torch.tensor(2.5),
        "steps": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }


def test_it_is_blake2b_over_entries_in_the_order_of_their_names() -> None:
    state = {"w": torch.tensor([[1.0, -2.0]]), "a": torch.tensor(3, dtype=torch.int64)}
    heads = [b"a\0torch.int64\0", b"w\0torch.float32\x001,2"]
    values = [struct.pack("<q", 3), struct.pack("<2f", 1.0, -2.0)]
    whole = b"".join(
        struct.pack("<Q", len(head)) + head + value
        for head, value in zip(heads, values, strict=True)
    )
    assert weights_digest(state) == hashlib.blake2b(whole, digest_size=32).hexdigest()


def test_a_module_and_its_state_dict_in_any_order_have_one_digest() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    state = module.state_dict()
    backwards = dict(reversed(state.items()))
    assert weights_digest(module) == weights_digest(state) == weights_digest(backwards)


def test_how_a_tensor_lies_in_memory_does_not_count() -> None:
    state = a_state()
    turned = state | {"b.weight": state["b.weight"].T.contiguous().T}
    assert not turned["b.weight"].is_contiguous()
    assert weights_digest(turned) == weights_digest(state)


def test_requiring_a_gradient_does_not_count() -> None:
    state = a_state()
    asked = state | {"b.weight": nn.Parameter(state["b.weight"].clone())}
    assert weights_digest(asked) == weights_digest(state)


def _flip(state: dict[str, Tensor]) -> None:
    state["b.weight"].view(torch.uint8)[3, 11] ^= 1


CHANGES: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "one bit of a value": _flip,
    "the sign of a zero": lambda s: s.update(scale=torch.tensor(-0.0)),
    "a name": lambda s: s.update({"b.weights": s.pop("b.weight")}),
    "a shape": lambda s: s.update({"b.weight": s["b.weight"].reshape(3, 4)}),
    "the shape of nothing": lambda s: s.update(empty=torch.zeros(0, 2)),
    "a dtype with the same bytes": lambda s: s.update({"a.half": s["a.half"].view(torch.float16)}),
    "an entry that is gone": lambda s: s.pop("empty"),
    "an entry more": lambda s: s.update(x=torch.zeros(1)),
    "two entries swapped": lambda s: s.update(scale=s["steps"], steps=s["scale"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_gives_another_digest(change: str) -> None:
    before, after = a_state() | {"scale": torch.tensor(0.0)}, a_state()
    after["scale"] = torch.tensor(0.0)
    assert weights_digest(before) == weights_digest(after)
    CHANGES[change](after)
    assert weights_digest(before) != weights_digest(after)


def test_names_choose_the_entries_that_count() -> None:
    state = a_state()
    other = state | {"scale": torch.tensor(9.0)}

    def weights(name: str) -> bool:
        return name != "scale"

    assert weights_digest(state) != weights_digest(other)
    assert weights_digest(state, names=weights) == weights_digest(other, names=weights)
    assert weights_digest(state, names=weights) == weights_digest(
        {name: value for name, value in state.items() if weights(name)}
    )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (torch.zeros(2, device="meta"), "meta device"),
        (torch.eye(2).to_sparse(), "sparse"),
        (torch.quantize_per_tensor(torch.eye(2), 0.1, 0, torch.qint8), "quantized"),
        (Sharded(), "sharded over processes"),
        ({"x": 1}, "dict"),
        (None, "NoneType"),
    ],
)
def test_an_entry_without_bytes_is_refused_by_its_name(entry: object, said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"odd.entry is a .*{said}"):
        weights_digest({"odd.entry": entry})


def test_a_digest_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="none of 0 weights"):
        weights_digest(nn.ReLU())
    with pytest.raises(InvalidArgumentError, match="none of 5 weights"):
        weights_digest(a_state(), names=lambda name: False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
def test_the_device_does_not_count() -> None:
    module = nn.Linear(300, 40).half()
    here = weights_digest(module)
    assert weights_digest(module.cuda()) == here
