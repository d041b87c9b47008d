"""Mining on a torch device, on CPU tensors, against a plain float64 brute force."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from helip import device
from helip.errors import CancelledError, InvalidArgumentError, MismatchError, UnsupportedError

PRECISIONS = ["float32", "float16", "bfloat16"]


@pytest.fixture(scope="module", autouse=True)
def _library():
    # An installed package has the library; a build tree names it.
    device.load_library(os.environ.get("HELIP_TORCH_LIBRARY"))


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

    def similarity(self, matrix, target, maximum):
        x = np.asarray(matrix, np.float64)
        norms = np.linalg.norm(x, axis=1)
        x = x / np.where(norms == 0, 1, norms)[:, None]
        s = np.clip((x * x[target]).sum(axis=1), -1, 1)
        s[s > maximum] = 0
        s[target] = 0
        return s if self.signed else np.maximum(s, 0)

    def scores(self, target):
        factors = []
        if self.modality != "text":
            factors.append(self.similarity(self.image, target, self.image_max))
        if self.modality != "image":
            factors.append(self.similarity(self.text, target, self.text_max))
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
        return device.mine_on_device(
            self.image if image is None else image,
            self.text if text is None else text,
            rerank=self.pools,
            solve=arguments.pop("solve", self.pools),
            device="cpu",
            **self.options(),
            **arguments,
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


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("modality", ["both", "image", "text"])
def test_equals_brute_force(modality, signed, precision):
    reference = Reference(*embeddings(), modality=modality, signed=signed)
    result = reference.mine(precision=precision, tile_rows=64, tile_columns=77)
    assert_same(result, reference.pools(range(300)))


@pytest.mark.parametrize("seed", range(6))
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
    result = reference.mine(
        precision=str(rng.choice(PRECISIONS)),
        tile_rows=int(rng.integers(1, 100)),
        tile_columns=int(rng.integers(1, 100)),
        guard=int(rng.integers(0, 20)),
    )
    assert_same(result, reference.pools(range(rows)))


@pytest.mark.parametrize("rows", [0, 1, 2, 7])
def test_pools_are_short_when_k_exceeds_the_rows(rows):
    image, text = embeddings(rows)
    reference = Reference(image, text, k=12)
    result = reference.mine()
    assert result.ids.shape == (rows, 12)
    assert_same(result, reference.pools(range(rows)))
    assert result.report["solved_on_host"] == 0


def test_ties_break_by_id_even_when_they_overflow_the_list():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 2, size=(300, 2)).astype(np.float32)
    text = rng.integers(0, 2, size=(300, 2)).astype(np.float32)
    reference = Reference(image, text, k=5)
    result = reference.mine(guard=3)
    assert_same(result, reference.pools(range(300)))
    assert result.report["solved_on_host"] > 0


def test_the_same_bytes_for_any_tile_and_memory():
    reference = Reference(*embeddings())
    tables = [
        reference.mine(),
        reference.mine(tile_rows=1000, tile_columns=13),
        reference.mine(tile_rows=7, tile_columns=1000),
        reference.mine(memory=1),
        reference.mine(memory=400_000, tile_rows=16, tile_columns=32),
    ]
    for table in tables:
        assert_same(table, (tables[0].ids, tables[0].scores, tables[0].counts))


def test_serves_chosen_targets_from_chosen_columns():
    reference = Reference(*embeddings())
    rng = np.random.default_rng(1)
    targets = np.sort(rng.choice(300, 40, replace=False))
    columns = np.sort(rng.choice(300, 120, replace=False))
    for guard in (0, 50):
        result = reference.mine(targets=targets, columns=columns, guard=guard, solve=None)
        expected = reference.pools(targets, np.broadcast_to(columns, (40, 120)))
        assert_same(result, expected)


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
    result = reference.mine(mapped, wide[:, ::3][:, :16], tile_columns=100)
    assert_same(result, reference.pools(range(300)))


def test_norms_neither_overflow_nor_vanish():
    image, text = (x.astype(np.float64) for x in embeddings())
    scales = 10.0 ** np.random.default_rng(2).uniform(-300, 300, size=(300, 1))
    reference = Reference(image, text)
    result = reference.mine(image * scales, text / scales)
    assert_same(result, reference.pools(range(300)))


def test_a_row_of_norm_zero_is_an_outlier_and_nobodys_hard_pair():
    reference = Reference(*embeddings())
    result = reference.mine(guard=0)
    assert result.counts[50] == result.counts[51] == 0
    assert not np.isin(result.ids, [50, 51]).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_with_their_row(value):
    image, text = embeddings()
    text[123, 3] = value
    with pytest.raises(InvalidArgumentError, match="text row 123"):
        Reference(image, text).mine(tile_columns=50)


def test_one_modality_does_not_look_at_the_other():
    image, _ = embeddings()
    reference = Reference(image, None, modality="image")
    result = device.mine_on_device(
        image,
        None,
        rerank=reference.pools,
        solve=reference.pools,
        device="cpu",
        **reference.options(),
    )
    assert_same(result, reference.pools(range(300)))


# Certificates


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("modality", ["both", "image"])
def test_no_pair_outside_the_list_scores_more_than_the_bound(modality, signed, precision):
    reference = Reference(*embeddings(seed=5), modality=modality, signed=signed, k=4)
    found = device.device_candidates(
        reference.image,
        reference.text,
        device="cpu",
        precision=precision,
        guard=2,
        tile_columns=90,
        **reference.options(),
    )
    assert found.ids.shape == (300, 6)
    assert (found.ids[50] == -1).all()  # of norm zero
    assert found.bound[50] == -np.inf
    for target in range(300):
        score = reference.scores(target)
        score[found.ids[target][found.ids[target] >= 0]] = 0
        assert score.max() <= max(found.bound[target], 0)
        assert target not in found.ids[target]


def test_targets_without_a_certificate_are_solved_exactly(monkeypatch):
    monkeypatch.setattr(device, "_RETRY_ABOVE", 300)
    reference = Reference(*embeddings())
    asked = []

    def solve(targets):
        asked.extend(targets)
        return reference.pools(targets)

    result = reference.mine(guard=0, precision="bfloat16", solve=solve)
    assert_same(result, reference.pools(range(300)))
    assert len(asked) == result.report["solved_on_host"] > 0
    assert result.report["retried"] == 0


def test_a_longer_list_certifies_targets_without_the_host():
    rows = embeddings(rows=600, seed=9)
    reference = Reference(*rows, k=40)
    result = reference.mine(guard=0, precision="float16")
    assert_same(result, reference.pools(range(600)))
    assert result.report["retried"] > 500
    assert result.report["solved_on_host"] == 0


def test_random_float32_data_needs_no_host_solve():
    reference = Reference(*embeddings(rows=500, seed=4))
    assert reference.mine().report["solved_on_host"] == 0


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
    assert result.report["solved_on_host"] == 0


def test_progress_rises_to_the_total():
    seen = []
    reference = Reference(*embeddings())
    reference.mine(
        progress=lambda done, total: seen.append((done, total)), tile_columns=50, guard=0
    )
    done = [d for d, _ in seen]
    assert done == sorted(done)
    assert seen[-1] == (300, 300)
    assert len(seen) > 5


def test_progress_that_returns_false_cancels():
    with pytest.raises(CancelledError, match="of 300 targets"):
        Reference(*embeddings()).mine(progress=lambda done, total: False)


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
        ({"tile_rows": 0}, "tile_rows is 0"),
        ({"guard": -1}, "guard is -1"),
        ({"targets": [3, 2]}, "ascending"),
        ({"columns": [300]}, r"0 \.\. 299"),
    ],
)
def test_options_are_refused_with_value_and_bound(options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        device.device_candidates(*embeddings(), **({"device": "cpu"} | options))


def test_matrices_that_do_not_fit_are_refused():
    image, text = embeddings()
    with pytest.raises(MismatchError, match="300 rows and text has 299"):
        device.device_candidates(image, text[:-1], device="cpu")
    with pytest.raises(InvalidArgumentError, match="image is None"):
        device.device_candidates(None, text, device="cpu")
    with pytest.raises(InvalidArgumentError, match="int64"):
        device.device_candidates(image.astype(np.int64), text, device="cpu")
    with pytest.raises(InvalidArgumentError, match="shape"):
        device.device_candidates(image[:, 0], text, device="cpu")


def test_an_unknown_device_is_refused():
    with pytest.raises(UnsupportedError, match="meta"):
        device.DeviceOptions(device="meta")
    if not torch.cuda.is_available():
        with pytest.raises(UnsupportedError, match="no GPU"):
            device.DeviceOptions(device="cuda:1")


def test_an_installation_without_the_library_says_how_to_get_it(monkeypatch, tmp_path):
    import helip

    monkeypatch.setattr(device, "_registered", lambda: False)
    monkeypatch.setattr(device, "__file__", str(tmp_path / "device.py"))
    monkeypatch.setattr(helip, "__path__", [])
    with pytest.raises(UnsupportedError, match="HELIP_TORCH=ON"):
        device.load_library()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libhelip_torch.so").write_bytes(b"no library")
    with pytest.raises(UnsupportedError, match=r"torch >= 2\.11"):
        device.load_library()


@pytest.mark.parametrize("modality", ["both", "image", "text"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equals_the_native_exact_miner_byte_for_byte(modality, precision):
    core = pytest.importorskip("helip._core")
    from helip.views import view_of

    image, text = embeddings(rows=400, seed=8)
    options = {"k": 12, "modality": modality}
    result = device.mine_on_device(
        image,
        torch.from_numpy(text).bfloat16(),
        device="cpu",
        precision=precision,
        guard=4,
        **options,
    )
    views = view_of(image, name="image"), view_of(torch.from_numpy(text).bfloat16(), name="text")
    native = core.MineOptions(method="exact", **options)
    assert_same(result, core.mine_targets(*views, list(range(400)), native))


def test_int8_codes_are_reranked_through_views_that_know_their_scales(tmp_path):
    import helip

    image, text = embeddings()
    with helip.EmbeddingStore.create(
        tmp_path / "store", image_dim=24, text_dim=16, dtype="int8"
    ) as writer:
        writer.append([str(i) for i in range(300)], image, text)
    store = helip.EmbeddingStore.open(tmp_path / "store")
    codes = store.image_tensor, store.text_tensor
    result = device.mine_on_device(*codes, views=store.views, k=10, device="cpu")
    reference = Reference(*(c.numpy() for c in codes))
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
