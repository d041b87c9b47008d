"""Exact mining on torch devices, on CPU tensors, against a plain float64 brute force."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

import helip
from helip.common.errors import CancelledError, InvalidArgumentError, UnsupportedError
from helip.mining.engines.gpu import mine_on_torch_device
from helip.mining.gpu import miner as device
from helip.mining.inputs import Inputs, inputs_of
from helip.mining.options import MineOptions
from support.device_samples import mine_on_device

PRECISIONS = ["float32", "float16", "bfloat16"]
# What multiplies: torch in each format, and the emulation of the CUDA kernel in its two.
PATHS = [(p, "torch") for p in PRECISIONS] + [(p, "fused") for p in PRECISIONS[1:]]


@pytest.fixture(scope="module", autouse=True)
def _library():
    # An installed package has the library; a build tree names it.
    device.load_library(os.environ.get("HELIP_TORCH_LIBRARY"))


def unit(matrix):
    """Rows of length 1 in float64, but for those of norm zero."""
    x = np.asarray(matrix, np.float64)
    norms = np.linalg.norm(x, axis=1)
    return x / np.where(norms == 0, 1, norms)[:, None]


@dataclass(frozen=True)
class Reference:
    """The definition of hard pairs, in float64, one target at a time."""

    image: np.ndarray
    text: np.ndarray
    k: int = 10
    modality: str = "both"
    signed: bool = False
    image_max: float = 0.98
    text_max: float = 0.98
    min_score: float = 0.0

    @functools.cached_property
    def image_rows(self):
        return unit(self.image)

    @functools.cached_property
    def text_rows(self):
        return unit(self.text)

    def similarity(self, x, target, maximum):
        s = np.clip((x * x[target]).sum(axis=1), -1, 1)
        s[s > maximum] = 0
        s[target] = 0
        return s if self.signed else np.maximum(s, 0)

    def scores(self, target):
        factors = []
        if self.modality != "text":
            factors.append(self.similarity(self.image_rows, target, self.image_max))
        if self.modality != "image":
            factors.append(self.similarity(self.text_rows, target, self.text_max))
        return np.prod(factors, axis=0)

    def pools(self, targets, allowed=None):
        ids = np.full((len(targets), self.k), -1, np.int64)
        scores = np.zeros((len(targets), self.k), np.float32)
        counts = np.zeros(len(targets), np.int32)
        for row, target in enumerate(targets):
            score = self.scores(target)
            good = np.flatnonzero(score > self.min_score)
            if allowed is not None:
                good = np.intersect1d(good, allowed[row])
            best = good[np.lexsort((good, -score[good]))][: self.k]
            ids[row, : len(best)] = best
            scores[row, : len(best)] = score[best]
            counts[row] = len(best)
        return ids, scores, counts

    def options(self):
        return {
            "k": self.k,
            "modality": self.modality,
            "signed": self.signed,
            "image_max": self.image_max,
            "text_max": self.text_max,
            "min_score": self.min_score,
        }

    def mine(self, image=None, text=None, **arguments):
        # Arrays alone: the reference ranks, so the core needs no matrices.
        arrays = (self.image if image is None else image, self.text if text is None else text)
        return mine_on_device(
            Inputs(None, (None, None), arrays),
            rerank=self.pools,
            solve=self.pools,
            **({"device": "cpu"} | self.options() | arguments),
        )


def embeddings(rows=300, image_dim=24, text_dim=16, seed=0, clusters=20):
    """Clustered rows with duplicates in one modality, in both, and rows of norm zero."""
    rng = np.random.default_rng(seed)
    pair = rng.integers(clusters, size=rows)
    image = rng.normal(size=(clusters, image_dim))[pair] + rng.normal(size=(rows, image_dim))
    text = rng.normal(size=(clusters, text_dim))[pair] + rng.normal(size=(rows, text_dim))
    if rows >= 100:
        image[10:20] = image[20:30]
        text[15:25] = text[40:50]
        image[50], text[51] = 0, 0
    return image.astype(np.float32), text.astype(np.float32)


def assert_same(result, expected):
    ids, scores, counts = expected
    np.testing.assert_array_equal(result.ids, ids)
    np.testing.assert_array_equal(result.counts, counts)
    assert result.scores.dtype == np.float32
    assert result.scores.tobytes() == scores.tobytes()


# What is mined


@pytest.mark.parametrize(("precision", "kernel"), PATHS)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("modality", ["both", "image", "text"])
def test_equals_brute_force(modality, signed, precision, kernel):
    reference = Reference(*embeddings(), modality=modality, signed=signed)
    result = reference.mine(precision=precision, kernel=kernel, block_rows=140)
    assert_same(result, reference.pools(range(300)))
    assert result.report["kernel"] == kernel


@pytest.mark.parametrize("seed", range(8))
def test_equals_brute_force_for_random_shapes_and_options(seed):
    rng = np.random.default_rng(100 + seed)
    rows = int(rng.integers(2, 200))
    image, text = embeddings(rows, int(rng.integers(1, 40)), int(rng.integers(1, 40)), seed)
    reference = Reference(
        image,
        text,
        k=int(rng.integers(1, 30)),
        image_max=float(rng.choice([0.5, 0.9, 1.0])),
        text_max=float(rng.choice([0.5, 0.9, 1.0])),
        min_score=float(rng.choice([0.0, 0.2])),
    )
    precision, kernel = PATHS[rng.integers(len(PATHS))]
    result = reference.mine(
        precision=precision,
        kernel=kernel,
        block_rows=int(rng.integers(1, 100)),
        sample=int(rng.integers(0, rows)),
        capacity=int(rng.integers(1, 500)),
    )
    assert_same(result, reference.pools(range(rows)))


@pytest.mark.parametrize("k", [1, 150, 299, 300])
def test_pools_of_any_size(k):
    reference = Reference(*embeddings(), k=k)
    assert_same(reference.mine(precision="bfloat16"), reference.pools(range(300)))


@pytest.mark.parametrize("rows", [0, 1, 2, 7])
def test_pools_are_short_when_k_exceeds_the_rows(rows):
    image, text = embeddings(rows)
    reference = Reference(image, text, k=12)
    result = reference.mine()
    assert result.ids.shape == (rows, 12)
    assert_same(result, reference.pools(range(rows)))


def test_ties_break_by_id_however_many_they_are():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 2, size=(400, 2)).astype(np.float32)
    text = np.ones((400, 2), np.float32)
    reference = Reference(image, text, k=5, image_max=1.0, text_max=1.0)
    result = reference.mine(block_rows=100)
    assert_same(result, reference.pools(range(400)))
    assert result.report["lists_cut"] > 0


def test_targets_with_nothing_but_ties_are_left_to_the_host():
    image, text = np.ones((700, 3)), np.ones((700, 2))
    reference = Reference(image, text, k=2, image_max=1.0, text_max=1.0)
    result = reference.mine(block_rows=100)
    assert_same(result, reference.pools(range(700)))
    assert result.report["solved_on_host"] > 500


def test_pairs_that_are_all_unlike_give_empty_pools():
    image = np.eye(50, dtype=np.float32)
    reference = Reference(image, image)
    result = reference.mine(precision="bfloat16")
    assert_same(result, reference.pools(range(50)))
    assert not result.counts.any()


# In what pieces


def test_the_same_bytes_for_any_block_memory_sample_and_number_of_devices():
    reference = Reference(*embeddings())
    expected = reference.pools(range(300))
    for options in (
        {"block_rows": 7},
        {"memory": 1, "block_rows": 50},
        {"memory": 400_000, "block_rows": 64},
        {"sample": 0},
        {"device": "cpu,cpu,cpu", "block_rows": 30, "memory": 1},
    ):
        assert_same(reference.mine(**options), expected)


def test_a_band_of_targets_at_a_time_when_the_device_has_little_memory():
    reference = Reference(*embeddings())
    miner = device.DeviceMiner(
        inputs_of(None, reference.image, reference.text, ("image", "text")),
        rerank=reference.pools,
        solve=reference.pools,
        device="cpu",
        memory=1,
        block_rows=100,
        **reference.options(),
    )
    done = []
    bands = list(miner.bands(lambda pairs, total: done.append((pairs, total))))
    assert [first for first, _ in bands] == [0, 100, 200]
    # Pairs within a band once, pairs across bands once for each.
    assert miner.pairs == 3 * 100 * 99 // 2 + 3 * 100 * 200
    assert done[-1] == (miner.pairs, miner.pairs)


def test_each_unordered_pair_is_filtered_once():
    reference = Reference(*embeddings(), k=300)
    result = reference.mine(block_rows=64)
    possible = sum((reference.scores(i) > 0).sum() for i in range(300))
    assert possible / 2 <= result.report["survivors"] < 1.01 * possible / 2 + 300


def test_blocks_with_more_survivors_than_places_are_split():
    reference = Reference(*embeddings())
    for kernel in ("torch", "fused"):
        result = reference.mine(precision="float16", kernel=kernel, capacity=1, block_rows=150)
        assert_same(result, reference.pools(range(300)))
        assert result.report["calls_split"] > 0


def test_thresholds_from_a_sample_leave_fewer_survivors():
    reference = Reference(*embeddings(rows=1500, seed=2), k=5)
    without = reference.mine(sample=0).report["survivors"]
    seeded = reference.mine(sample=300).report["survivors"]
    assert seeded < without / 2


@pytest.fixture
def launched(monkeypatch):
    """Sets how often the fused kernel is launched before it fails; the check is the first time."""
    real = torch.ops.helip.product_filter

    def limit(launches):
        left = iter(range(launches))

        def flaky(*arguments, fused, **options):
            if fused and next(left, None) is None:
                raise RuntimeError("helip::product_filter: the kernel was not launched: busy\nat 1")
            return real(*arguments, fused=fused, **options)

        monkeypatch.setattr(torch.ops.helip, "product_filter", flaky)

    return limit


@pytest.mark.parametrize("launches", [0, 3, 5])
@pytest.mark.parametrize("capacity", [1, None])
def test_operators_of_torch_go_on_where_the_kernel_is_not_launched(
    monkeypatch, launched, launches, capacity
):
    # auto takes the operators of torch on a CPU.
    monkeypatch.setattr(device.DeviceMiner, "_choose_kernel", lambda self: ("fused", ""))
    launched(launches)
    reference = Reference(*embeddings())
    result = reference.mine(precision="bfloat16", block_rows=100, capacity=capacity)
    assert_same(result, reference.pools(range(300)))
    assert result.report["kernel"] == "torch"
    assert "not launched: busy" in result.report["kernel_reason"]


@pytest.mark.parametrize("launches", [0, 1, 4])
@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_kernel_that_is_forced_and_not_launched_is_an_error(monkeypatch, launched, launches, by):
    monkeypatch.setenv("HELIP_CUDA_KERNEL", "torch" if by == "option" else "fused")
    launched(launches)
    with pytest.raises(
        UnsupportedError, match=r"not launched: busy\); set HELIP_CUDA_KERNEL=torch"
    ):
        Reference(*embeddings()).mine(
            precision="bfloat16", block_rows=100, kernel="fused" if by == "option" else "auto"
        )


def test_what_else_is_not_supported_is_raised_beside_the_fused_kernel(monkeypatch):
    from helip.mining.gpu import search

    real, blocks = search.read_block, iter(range(1))

    def refuse(*arguments):
        if next(blocks, None) is not None:
            raise UnsupportedError("of this block")
        return real(*arguments)

    monkeypatch.setattr(search, "read_block", refuse)
    with pytest.raises(UnsupportedError, match="of this block"):
        Reference(*embeddings()).mine(precision="bfloat16", kernel="fused", sample=0)


def test_an_error_on_one_device_stops_all_and_is_raised(monkeypatch):
    from helip.mining.gpu.search import Searcher

    def fail(self, unit, pools):
        raise MemoryError("of this device")

    monkeypatch.setattr(Searcher, "search", fail)
    with pytest.raises(MemoryError, match="of this device"):
        Reference(*embeddings()).mine(device="cpu,cpu", block_rows=20)


# What it is mined from


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", ">f4"])
def test_takes_numpy_arrays_of_any_float_dtype(dtype):
    image, text = (x.astype(dtype) for x in embeddings())
    reference = Reference(image, text)
    assert_same(reference.mine(), reference.pools(range(300)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_takes_torch_tensors_of_any_float_dtype(dtype):
    image, text = (torch.from_numpy(x).to(dtype) for x in embeddings())
    reference = Reference(image.double().numpy(), text.double().numpy())
    result = reference.mine(image, text.requires_grad_())
    assert_same(result, reference.pools(range(300)))


def test_reads_memory_maps_and_strided_rows(tmp_path):
    image, text = embeddings()
    np.save(tmp_path / "image.npy", image)
    wide = np.zeros((300, 50), np.float32)
    wide[:, ::3][:, :16] = text
    reference = Reference(image, text)
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    result = reference.mine(mapped, wide[:, ::3][:, :16], block_rows=100)
    assert_same(result, reference.pools(range(300)))


def test_norms_neither_overflow_nor_vanish():
    image, text = (x.astype(np.float64) for x in embeddings())
    scales = 10.0 ** np.random.default_rng(2).uniform(-300, 300, size=(300, 1))
    reference = Reference(image, text)
    result = reference.mine(image * scales, text / scales)
    assert_same(result, reference.pools(range(300)))


def test_a_row_of_norm_zero_is_an_outlier_and_nobodys_hard_pair():
    reference = Reference(*embeddings())
    result = reference.mine()
    assert result.counts[50] == result.counts[51] == 0
    assert not np.isin(result.ids, [50, 51]).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_with_their_row(value):
    image, text = embeddings()
    text[123, 3] = value
    with pytest.raises(InvalidArgumentError, match="text row 123"):
        Reference(image, text).mine(block_rows=50)


def test_one_modality_does_not_look_at_the_other():
    image, _ = embeddings()
    reference = Reference(image, None, modality="image")
    result = reference.mine()
    assert_same(result, reference.pools(range(300)))


# Surroundings


def test_global_precision_and_autocast_change_neither_the_table_nor_are_changed():
    reference = Reference(*embeddings())
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = reference.mine()
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert_same(result, reference.pools(range(300)))


def test_progress_rises_to_the_number_of_pairs():
    seen = []
    Reference(*embeddings()).mine(
        progress=lambda done, total: seen.append((done, total)), block_rows=50
    )
    done = [d for d, _ in seen]
    assert done == sorted(done)
    assert seen[-1] == (300 * 299 // 2, 300 * 299 // 2)
    assert len(seen) > 5


@pytest.mark.parametrize("devices", ["cpu", "cpu,cpu"])
def test_progress_that_returns_false_cancels(devices):
    with pytest.raises(CancelledError, match="of 44850 pairs"):
        Reference(*embeddings()).mine(progress=lambda done, total: False, device=devices)


def test_the_environment_chooses_the_kernel(monkeypatch):
    monkeypatch.setenv("HELIP_CUDA_KERNEL", "fused")
    reference = Reference(*embeddings(rows=40))
    assert reference.mine(precision="bfloat16").report["kernel"] == "fused"
    assert reference.mine(precision="bfloat16", kernel="torch").report["kernel"] == "torch"
    with pytest.raises(UnsupportedError, match="not float32"):
        reference.mine(precision="float32")
    monkeypatch.setenv("HELIP_CUDA_KERNEL", "quick")
    with pytest.raises(InvalidArgumentError, match="quick"):
        reference.mine(precision="bfloat16")


@pytest.mark.parametrize("modality", ["both", "image", "text"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equals_the_native_exact_miner_byte_for_byte(modality, precision):
    core = pytest.importorskip("helip._core")
    image, text = embeddings(rows=400, seed=8)
    options = {"k": 12, "modality": modality}
    inputs = inputs_of(None, image, torch.from_numpy(text).bfloat16(), ("image", "text"))
    result = mine_on_device(inputs, device="cpu", precision=precision, **options)
    native = core.MineOptions(method="exact", **options)
    assert_same(result, core.mine_targets(*inputs.matrices, list(range(400)), native))


def test_the_table_of_a_device_is_that_of_the_host(tmp_path):
    image, text = embeddings(rows=400, seed=8)
    with helip.EmbeddingStore.create(tmp_path / "store", image_dim=24, text_dim=16) as writer:
        writer.append([str(i) for i in range(400)], image, text)
    store = helip.EmbeddingStore.open(tmp_path / "store")
    pairs = mine_on_torch_device(
        inputs_of(store, None, None, ()), MineOptions(k=9), device="cpu",
        out=str(tmp_path / "pairs"), progress=False,
    )  # fmt: skip
    host = helip.mine(store, k=9, method="exact", device="cpu", progress=False)
    assert pairs.fingerprint == host.fingerprint
    assert_same(pairs, (host.ids, host.scores, host.counts))
    assert pairs.report["kernel"] == "torch"


def test_int8_codes_are_ranked_by_matrices_that_know_their_scales(tmp_path):
    import helip

    image, text = embeddings()
    with helip.EmbeddingStore.create(
        tmp_path / "store", image_dim=24, text_dim=16, dtype="int8"
    ) as writer:
        writer.append([str(i) for i in range(300)], image, text)
    store = helip.EmbeddingStore.open(tmp_path / "store")
    inputs = inputs_of(store, None, None, ())
    result = mine_on_device(inputs, k=10, device="cpu")
    reference = Reference(*(codes.numpy() for codes in inputs.arrays))
    assert_same(result, reference.pools(range(300)))


def test_the_reference_itself_follows_the_definition():
    image = np.array([[1, 0], [3, 4], [4, 3], [1, 0], [-1, 0]], np.float64)
    text = np.array([[1, 0], [1, 0.1], [1, 1], [0, 1], [-1, 0]], np.float64)
    reference = Reference(image, text, k=2)
    ids, scores, counts = reference.pools([0])
    assert ids.tolist() == [[2, -1]]  # 1 and 3 are duplicates in one modality, 4 is opposed
    assert scores[0, 0] == pytest.approx(0.8 / np.sqrt(2))
    assert counts.tolist() == [1]
    assert replace(reference, signed=True).pools([0])[0].tolist() == [[4, 2]]
