"""Options of mining on torch devices, the names of devices, and what an installation must have."""

from __future__ import annotations

import pytest
import torch

from helip import _core
from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.mining.gpu import kernel as device_kernel
from helip.mining.gpu import miner as device
from helip.mining.options import DeviceOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 2.5}, "k is 2.5"),
        ({"image_max": 1.5}, "image_max is 1.5"),
        ({"text_max": float("nan")}, "text_max is nan"),
        ({"min_score": -0.1}, "min_score is -0.1"),
        ({"modality": "audio"}, "audio"),
        ({"precision": "int4"}, "int4"),
        ({"kernel": "fast"}, "fast"),
        ({"block_rows": 0}, "block_rows is 0"),
        ({"sample": -1}, "sample is -1"),
        ({"capacity": 0}, "capacity is 0"),
    ],
)
def test_options_are_refused_with_value_and_bound(options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        DeviceOptions(**options)


@pytest.mark.parametrize("name", ["meta", "cuda:x", "cuda:0;cuda:1", ""])
def test_a_name_that_is_no_device_is_refused(name):
    with pytest.raises(UnsupportedError, match="cuda:0,cuda:1"):
        device.devices_of(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "cuda:0,cuda:1", "cuda:all"])
def test_without_a_gpu_every_cuda_name_is_refused(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnsupportedError, match="no GPU"):
        device.devices_of(name)


def test_names_of_several_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)

    def indices(name):
        return [d.index for d in device.devices_of(name)]

    assert indices("cuda") == [1]
    assert indices("cuda:2") == [2]
    assert indices("cuda:0, cuda:2") == [0, 2]
    assert indices("cuda:all") == [0, 1, 2]
    for name, message in (
        ("cuda:3", "3 GPUs"),
        ("cuda:0,cuda:0", "each GPU once"),
        ("cuda,cuda:1", "each GPU once"),
        ("cuda:0,cpu", "no CPU"),
        ("cuda:0,cuda:all", "from 0 on"),
    ):
        with pytest.raises(UnsupportedError, match=message):
            device.devices_of(name)


def test_an_installation_without_the_library_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(device_kernel, "_registered", lambda: False)
    monkeypatch.setattr(_core, "__file__", str(tmp_path / "_core.so"))
    with pytest.raises(UnsupportedError, match="HELIP_TORCH=ON"):
        device.load_library()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libhelip_torch.so").write_bytes(b"no library")
    with pytest.raises(UnsupportedError, match=r"torch >= 2\.11"):
        device.load_library()
