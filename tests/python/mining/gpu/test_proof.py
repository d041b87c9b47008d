"""The proof that GPUs of a kind give the CPU's tables, and what depends on it."""

from __future__ import annotations

import functools
import json
import types
import warnings

import numpy as np
import pytest
import torch

import helip
from helip.common.errors import Error, UnsupportedError
from helip.mining.engines import gpu as engine
from helip.mining.engines.gpu import choose_device, mine_on_torch_device
from helip.mining.gpu import proof
from helip.mining.gpu.candidate_pools import CandidatePools
from helip.mining.options import MineOptions


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "helip" / "proven-gpus.json"


@pytest.fixture
def gpu(monkeypatch):
    """A machine with one GPU, as torch describes it; it computes on the CPU."""
    kind = types.SimpleNamespace(name="A GPU", major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: kind)
    return kind


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(proof, "_ROWS", 1000)


def choose(device: str) -> str:
    return choose_device(device, MineOptions(), rows=1000, deleted=0)


def test_every_kernel_and_format_is_compared(small):
    assert proof.prove_gpu("cpu") == [
        *("torch, float32", "torch, float16", "torch, bfloat16"),
        *("fused, float16", "fused, bfloat16"),
    ]


def test_one_other_score_is_an_error(small, monkeypatch):
    finish = CandidatePools.finish

    def wrong(self, first, last):
        pools = finish(self, first, last)
        pools.scores[3, 0] = np.nextafter(pools.scores[3, 0], np.float32(2))
        return pools

    monkeypatch.setattr(CandidatePools, "finish", wrong)
    with pytest.raises(Error, match="kernel 'torch' in float32 on cpu gives another table"):
        proof.prove_gpu("cpu")


def test_auto_is_the_cpu_until_a_gpu_of_this_kind_is_proven(gpu, cache):
    with pytest.warns(RuntimeWarning, match=r"is unproven: mining on the CPU.*prove_gpu\(\)"):
        assert choose("auto") == "cpu"
    cache.parent.mkdir()
    cache.write_text(json.dumps({"mining": [proof._kind(torch.device("cuda", 0))]}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose("auto") == "cuda"
        assert choose("cuda:0") == "cuda:0"
    gpu.name = "another GPU"
    with pytest.warns(RuntimeWarning, match="unproven"):
        assert choose("auto") == "cpu"


def test_the_warning_names_the_line_that_mines(gpu):
    rows = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    with pytest.warns(RuntimeWarning, match="unproven") as told:
        helip.mine(image=rows, text=rows, k=2, progress=False)
    assert [each.filename for each in told] == [__file__]


def test_a_gpu_that_is_named_is_taken_with_a_warning(gpu):
    with pytest.warns(RuntimeWarning, match="'cuda' of this machine is unproven"):
        assert choose("cuda") == "cuda"


def test_mining_and_its_plan_take_the_same_device(gpu, cache, tmp_path, monkeypatch):
    """A named GPU also beyond the rows up to which auto takes one; none where rows were deleted."""
    cache.parent.mkdir()
    cache.write_text(json.dumps({"mining": [proof._kind(torch.device("cuda", 0))]}))
    monkeypatch.setattr(engine, "_EXACT_ROWS", 10)
    mined_on = []

    def on_cpu(*args, device, **options):
        mined_on.append(device)
        return mine_on_torch_device(*args, device="cpu", **options)

    monkeypatch.setattr(engine, "mine_on_torch_device", on_cpu)
    rows = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    for device, expected in (("cuda", ["cuda"]), ("auto", []), ("cpu", [])):
        for method in ("auto", "exact"):
            call = {"image": rows, "text": rows, "k": 2, "device": device, "method": method}
            mined_on.clear()
            helip.mine(**call, progress=False)
            assert mined_on == expected
            assert helip.plan(**call).device == (expected or ["cpu"])[0]

    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=4, text_dim=4) as writer:
        writer.append([str(row) for row in range(8)], rows[:8], rows[:8])
        writer.delete([3])
    assert helip.plan(tmp_path / "s", k=2).device == "cpu"
    for call in (helip.plan, functools.partial(helip.mine, progress=False)):
        with pytest.raises(UnsupportedError, match="the store has 1 deleted rows, which only the"):
            call(tmp_path / "s", k=2, device="cuda")


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"mining": "x"}'])
def test_a_damaged_record_proves_nothing(gpu, cache, text):
    cache.parent.mkdir()
    cache.write_text(text)
    assert not proof.is_proven()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
def test_a_gpu_is_proven(cache):
    assert not proof.is_proven()
    assert "torch, bfloat16" in proof.prove_gpu()
    assert proof.is_proven()
