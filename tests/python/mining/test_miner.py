"""helip.mine against a plain float64 brute force, and what it does with odd input."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helip
from helip.common.errors import (
    InvalidArgumentError,
    MismatchError,
    OutOfMemoryError,
    UnsupportedError,
)
from helip.mining.engines.gpu import mine_on_torch_device
from helip.mining.inputs import inputs_of
from helip.mining.options import EXACT_ROWS, MineOptions
from helip.mining.report_words import drop_words, filter_words, weight_words
from support.mining_reference import check_exact

ROWS, D_IMAGE, D_TEXT = 700, 24, 17


def clustered(rows: int = ROWS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows around 20 centres, with near duplicates of either modality among them."""
    random = np.random.default_rng(seed)
    centre = random.integers(0, 20, rows)
    matrices = []
    for dim in (D_IMAGE, D_TEXT):
        matrix = random.normal(size=(20, dim))[centre] + random.normal(size=(rows, dim)) + 0.3
        copies = random.permutation(rows)[: rows // 5]
        matrix[copies] = matrix[np.roll(copies, 1)] * 3 + random.normal(size=(1, dim)) * 1e-3
        matrices.append(matrix.astype(np.float32))
    return matrices[0], matrices[1]


def mine(image: Any, text: Any, **options: Any) -> helip.HardPairs:
    options = {"method": "exact", "device": "cpu", "progress": False, **options}
    return helip.mine(image=image, text=text, **options)


@pytest.mark.parametrize("k", [1, 10, 300, ROWS - 1, ROWS + 5])
def test_exact_mining_equals_a_float64_brute_force(k: int) -> None:
    image, text = clustered()
    check_exact(mine(image, text, k=k), image, text)


@pytest.mark.parametrize(
    "options",
    [
        {"modality": "image"},
        {"modality": "text"},
        {"signed": True},
        {"image_max": 0.6, "text_max": 0.8},
        {"image_max": 1.0, "text_max": 1.0},
        {"min_score": 0.2},
        {"min_score": 0.05, "signed": True},
    ],
    ids=str,
)
def test_every_rule_of_the_score_is_that_of_the_brute_force(options: dict[str, Any]) -> None:
    image, text = clustered(300)
    check_exact(mine(image, text, k=20, **options), image, text, **options)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_any_float_dtype_is_taken_from_numpy_and_torch(dtype: str, kind: str) -> None:
    if (dtype, kind) == ("bfloat16", "numpy"):
        return
    image, text = (torch.from_numpy(m).to(getattr(torch, dtype)) for m in clustered(200))
    given = (image, text) if kind == "torch" else (image.numpy(), text.numpy())
    check_exact(mine(*given, k=10), image.double().numpy(), text.double().numpy())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_a_store_is_mined_as_the_values_that_it_holds(tmp_path: Path, dtype: str) -> None:
    image, text = clustered(300)
    with helip.EmbeddingStore.create(
        tmp_path / "s", image_dim=D_IMAGE, text_dim=D_TEXT, dtype=dtype
    ) as writer:
        writer.append([f"k{i}" for i in range(300)], image, text)
    store = helip.EmbeddingStore.open(tmp_path / "s")
    pairs = helip.mine(store, k=10, method="exact", device="cpu", progress=False)
    decoded = [m.double().numpy() for m in store.rows(slice(None))]
    check_exact(pairs, decoded[0], decoded[1])
    assert pairs.fingerprint == store.fingerprint
    assert pairs.data_fingerprint == store.data_fingerprint


def test_strided_and_mapped_input_is_read_in_place(tmp_path: Path) -> None:
    image, text = clustered(200)
    wide = np.zeros((400, D_IMAGE + 9), np.float32)
    wide[::2, :D_IMAGE] = image
    np.save(tmp_path / "text.npy", text)
    mapped = np.load(tmp_path / "text.npy", mmap_mode="r")
    pairs = mine(wide[::2, :D_IMAGE], mapped, k=5)
    np.testing.assert_array_equal(pairs.ids, mine(image, text, k=5).ids)


def test_threads_and_memory_change_no_byte() -> None:
    image, text = clustered(2500)
    base = mine(image, text, k=30, threads=1)
    for options in ({"threads": 2}, {"threads": 5}, {"threads": 3, "memory": "2MB"}):
        other = mine(image, text, k=30, **options)
        assert other.ids.tobytes() == base.ids.tobytes()
        assert other.scores.tobytes() == base.scores.tobytes()
        assert other.options == base.options
        assert other.report == base.report


def test_sample_mode_finds_the_share_of_candidates_that_it_draws() -> None:
    image, text = clustered(2000)
    exact = mine(image, text, k=20)
    for share in (0.1, 0.3, 1.0):
        pairs = mine(
            image, text, k=20, method="sample", candidates=int(2000 * share), refresh=200, seed=3
        )
        found = np.mean(
            [len(set(a) & set(b) - {-1}) for a, b in zip(pairs.ids, exact.ids, strict=True)]
        )
        assert found / exact.counts.mean() == pytest.approx(share, abs=0.03)
    again = mine(image, text, k=20, method="sample", candidates=600, refresh=200, seed=3)
    other = mine(image, text, k=20, method="sample", candidates=600, refresh=200, seed=4)
    same = mine(image, text, k=20, method="sample", candidates=600, refresh=200, seed=3)
    np.testing.assert_array_equal(again.ids, same.ids)
    assert (again.ids != other.ids).any()


def test_graphs_that_do_not_fit_the_memory_are_refused_with_what_they_take() -> None:
    rows = np.random.default_rng(0).normal(size=(3000, 24)).astype(np.float32)
    image, text = rows[:, :16], rows[:, 16:]
    with pytest.raises(OutOfMemoryError, match="more than memory = 100000") as error:
        mine(image, text, k=5, method="hnsw", memory=100_000)
    needed = int(re.search(r"the graph of 3000 rows takes (\d+) bytes", str(error.value))[1])
    assert mine(image, text, k=5, method="hnsw", memory=needed).report["recall"]["value"] > 0.5
    # The others keep to their recall in any memory.
    found = mine(image, text, k=5, method="partition", recall=0.9, memory=1_000_000)
    assert found.report["recall"]["low"] >= 0.9


def test_hnsw_reaches_its_recall_and_says_how_it_measured_it() -> None:
    image, text = clustered(3000)
    exact = mine(image, text, k=20)
    pairs = mine(image, text, k=20, method="hnsw", recall=0.95, seed=1)
    found = np.mean(
        [len(set(a) & set(b) - {-1}) for a, b in zip(pairs.ids, exact.ids, strict=True)]
    )
    assert found / exact.counts.mean() >= 0.93
    assert pairs.report["recall"]["low"] >= 0.95
    assert pairs.report["hnsw"]["reached"]
    again = mine(image, text, k=20, method="hnsw", recall=0.95, seed=1, threads=1)
    assert again.ids.tobytes() == pairs.ids.tobytes()


def test_a_graph_that_falls_short_of_the_recall_warns() -> None:
    image, text = clustered(300)
    with pytest.warns(UserWarning, match="below recall = 1.0, at its greatest breadth 300"):
        pairs = mine(image, text, k=5, method="hnsw", recall=1.0)
    assert not pairs.report["hnsw"]["reached"]


def test_negative_products_of_unlike_pairs_are_hard_only_when_signed() -> None:
    # Row 1 is the opposite of row 0 in both modalities: the reference ranks it first for row 0.
    image = np.array([[1, 0, 0], [-1, 0.1, 0], [0.8, 0.6, 0], [0, 0, 1]], np.float32)
    text = np.array([[1, 0], [-1, 0.1], [0.7, 0.7], [0, 1]], np.float32)
    assert mine(image, text, k=3).ids[0].tolist() == [2, -1, -1]
    signed = mine(image, text, k=3, signed=True)
    assert signed.ids[0, 0] == 1
    assert signed.scores[0, 0] > 0.98


def test_zero_rows_are_outliers_and_counted() -> None:
    image, text = clustered(100)
    image[7] = 0
    text[8] = 0
    pairs = mine(image, text, k=5)
    assert pairs.counts[7] == pairs.counts[8] == 0
    assert not np.isin(pairs.ids, [7, 8]).any()
    assert pairs.stats()["outliers"] >= 2
    assert set(pairs.stats()["drops"]) == {
        "image_duplicate", "text_duplicate", "margin", "collapsed", "skipped",
    }  # fmt: skip
    assert pairs.stats()["pairs"] == pairs.counts.sum()
    assert pairs.report["pairs"] == 100 * 99


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_tiny_data_sets_are_legal(tmp_path: Path, rows: int) -> None:
    image, text = np.ones((rows, 4), np.float32), np.ones((rows, 3), np.float32)
    pairs = mine(image, text, k=3, out=tmp_path / "p")
    assert pairs.ids.shape == (rows, 3)
    assert (pairs.counts == 0).all()  # all rows are duplicates of each other
    assert helip.plan(image=image, text=text, k=3, device="cpu").method == "exact"


def test_a_table_on_disk_is_the_table_in_memory_and_is_taken_up_again(tmp_path: Path) -> None:
    image, text = clustered(300)
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=D_IMAGE, text_dim=D_TEXT) as w:
        w.append([f"k{i}" for i in range(300)], image, text)
    out = tmp_path / "p"
    call: dict[str, Any] = {"k": 7, "device": "cpu", "progress": False, "out": out}
    pairs = helip.mine(tmp_path / "s", **call)
    np.testing.assert_array_equal(pairs.ids, mine(image, text, k=7).ids)
    assert helip.mine(tmp_path / "s", **call).ids.tobytes() == pairs.ids.tobytes()
    with pytest.raises(MismatchError, match="k 7, now 8"):
        helip.mine(tmp_path / "s", **{**call, "k": 8})
    with pytest.raises(InvalidArgumentError, match="already holds"):
        helip.mine(tmp_path / "s", **call, resume=False)
    with helip.EmbeddingStore.append_to(tmp_path / "s") as w:
        w.append(["new"], image[:1], text[:1])
    with pytest.raises(MismatchError, match=r"this one as it was; bring it up to date"):
        helip.mine(tmp_path / "s", **call)
    with helip.EmbeddingStore.create(tmp_path / "t", image_dim=D_IMAGE, text_dim=D_TEXT) as w:
        w.append(["other"], image[:1], text[:1])
    with pytest.raises(MismatchError, match="another than this one; choose another path"):
        helip.mine(tmp_path / "t", **call)


def test_only_options_that_change_the_table_decide_whether_it_is_taken_up(tmp_path: Path) -> None:
    image, text = clustered(300)
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=D_IMAGE, text_dim=D_TEXT) as w:
        w.append([f"k{i}" for i in range(300)], image, text)

    def again(out: str, **options: Any) -> helip.HardPairs:
        return helip.mine(
            tmp_path / "s", k=7, out=tmp_path / out, device="cpu", progress=False, **options
        )

    again("exact", method="exact")
    again("exact", method="exact", seed=5, recall=0.5)
    for options, message in (
        ({"skip": 1}, "skip 0, now 1"),
        ({"collapse": "text"}, "collapse 'none', now 'text'"),
        ({"margin": 0.0}, r"margin None, now 0\.0"),
    ):
        with pytest.raises(MismatchError, match=message):
            again("exact", method="exact", **options)
    again("sample", method="sample", candidates=100)
    with pytest.raises(MismatchError, match="candidates 100, now 200"):
        again("sample", method="sample", candidates=200)
    with pytest.raises(MismatchError, match="candidates 100, now 300"):
        again("sample", method="sample")
    with pytest.raises(MismatchError, match="refresh 300000, now 50"):
        again("sample", method="sample", candidates=100, refresh=50)
    again("exact")
    for out, options in (("sample", {"candidates": 100}), ("partition", {})):
        again(out, method=out, **options)
        with pytest.raises(MismatchError, match=f"method '{out}', now 'auto'"):
            again(out, **options)  # auto is exact here
    again("hnsw", method="hnsw", recall=0.9)
    with pytest.raises(MismatchError, match=r"recall 0\.9, now 0\.8"):
        again("hnsw", method="hnsw", recall=0.8)


def test_auto_is_exact_up_to_as_many_rows_as_the_core_says() -> None:
    image, text = clustered(50)
    reason = helip.plan(image=image, text=text, k=3, device="cpu").reason
    assert reason == f"up to {EXACT_ROWS} rows exact mining is affordable"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": -3}, "k is -3"),
        ({"k": 2.5}, "k is 2.5"),
        ({"method": "magic"}, "magic"),
        ({"modality": "audio"}, "audio"),
        ({"method": "sample", "candidates": 51}, "51"),
        ({"candidates": 0}, "candidates is 0"),
        ({"image_max": float("nan")}, "image_max"),
        ({"recall": 1.5}, "recall"),
        ({"threads": -1}, "threads is -1"),
        ({"memory": "lots"}, "lots"),
        ({"device": "tpu"}, "tpu"),
        ({"seed": -1}, "seed is -1"),
    ],
    ids=str,
)
def test_options_out_of_their_bounds_are_refused(options: dict[str, Any], message: str) -> None:
    image, text = clustered(50)
    with pytest.raises(InvalidArgumentError, match=message):
        mine(image, text, **options)


def test_input_that_cannot_be_mined_is_refused_by_row() -> None:
    image, text = clustered(50)
    with pytest.raises(InvalidArgumentError, match=r"50 rows and text 49"):
        mine(image, text[:49])
    with pytest.raises(InvalidArgumentError, match="text is missing"):
        mine(image, None)
    with pytest.raises(InvalidArgumentError, match="not both"):
        helip.mine("somewhere", image=image, text=text)
    bad = text.copy()
    bad[31, 2] = np.nan
    with pytest.raises(InvalidArgumentError, match=r"text.*31"):
        mine(image, bad)
    bad[31, 2] = np.inf
    with pytest.raises(InvalidArgumentError, match=r"text.*31"):
        mine(image, bad)


@pytest.mark.parametrize(("dtype", "skip"), [("float32", 0), ("int8", 0), ("float32", 4)])
def test_a_torch_device_gives_the_bytes_of_the_host(tmp_path: Path, dtype: str, skip: int) -> None:
    # The device's code on CPU tensors; a GPU runs the same operators.
    image, text = clustered(900)
    with helip.EmbeddingStore.create(
        tmp_path / "s", image_dim=D_IMAGE, text_dim=D_TEXT, dtype=dtype
    ) as writer:
        writer.append([f"k{i}" for i in range(900)], image, text)
    store = helip.EmbeddingStore.open(tmp_path / "s")
    rules = {"k": 15, "image_max": 0.9, "text_max": 0.95, "min_score": 0.01, "skip": skip}
    host = helip.mine(store, method="exact", device="cpu", progress=False, **rules)
    there = mine_on_torch_device(
        inputs_of(store, None, None, ()), MineOptions(**rules), device="cpu",
        out=str(tmp_path / "p"), progress=False,
    )  # fmt: skip
    assert there.ids.tobytes() == host.ids.tobytes()
    assert there.scores.tobytes() == host.scores.tobytes()
    assert there.counts.tobytes() == host.counts.tobytes()
    assert there.fingerprint == host.fingerprint
    assert there.report["pairs"] == host.report["pairs"]
    assert there.report["drops"] == {"skipped": host.report["drops"]["skipped"]}
    assert helip.HardPairs.open(tmp_path / "p").options["k"] == 15
    # The same call on the host takes the table up.
    again = helip.mine(store, device="cpu", out=tmp_path / "p", progress=False, **rules)
    assert again.report == there.report


def test_a_target_of_a_device_may_have_no_more_pairs_than_are_passed_over() -> None:
    image, text = (m[:6] for m in clustered(100))
    rules = {"k": 3, "min_score": 0.1}
    inputs = inputs_of(None, image, text, ("image", "text"))
    for skip in (0, 1, 3, 9):
        there = mine_on_torch_device(
            inputs, MineOptions(**rules, skip=skip), device="cpu", out="", progress=False
        )
        host = mine(image, text, skip=skip, **rules)
        assert there.ids.tolist() == host.ids.tolist()
        assert there.counts.tolist() == host.counts.tolist()
        assert there.report["drops"]["skipped"] == host.report["drops"]["skipped"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 0.1}, r'margin is 0\.1, which only the CPU knows; use device="cpu"'),
        ({"collapse": "text"}, "collapse is 'text', which only the CPU"),
        ({"method": "hnsw"}, "method is 'hnsw', which only the CPU"),
    ],
    ids=str,
)
def test_what_a_gpu_does_not_know_is_refused_there_and_left_to_the_cpu_by_auto(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    image, _ = clustered(60)
    for device in ("cuda", "cuda:0,cuda:1", "cuda:all"):
        with pytest.raises(UnsupportedError, match=message):
            mine(image, image, device=device, **options)
    on_cpu = mine(image, image, k=3, device="auto", **options)
    assert on_cpu.ids.tobytes() == mine(image, image, k=3, **options).ids.tobytes()
    assert "device" not in on_cpu.report


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_an_absent_device_is_named() -> None:
    with pytest.raises(UnsupportedError, match="no CUDA device"):
        mine(*clustered(50), device="cuda")


def test_ctrl_c_stops_mining_and_leaves_nothing(tmp_path: Path) -> None:
    import os
    import signal
    import threading

    image, text = clustered(30_000)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        mine(image, text, k=200, threads=1, out=tmp_path / "p")
    timer.join()
    assert not (tmp_path / "p" / "manifest.json").exists()


def test_the_plan_says_what_will_happen() -> None:
    image, text = clustered(2000)
    plan = helip.plan(image=image, text=text, k=10, device="cpu")
    assert plan.method == "exact"
    assert plan.reason
    assert plan.seconds > 0
    assert plan.disk_bytes >= 2000 * (10 * 8 + 4)
    assert set(plan.to_dict()) >= {"method", "reason", "seconds", "memory_bytes", "disk_bytes"}


def test_the_plan_says_what_the_filters_pass_and_what_goes_to_disk() -> None:
    image, text = clustered(2200)
    plan = helip.plan(image=image, text=text, k=10, device="cpu")
    assert plan.scratch_bytes == 0
    assert plan.bands == 1
    assert plan.pairs == 2200 * 2199
    assert 0 < plan.filters["passed"]["score"] <= plan.filters["passed"]["sum"] <= 1
    assert plan.filters == mine(image, text, k=10).report["filters"]
    small = helip.plan(image=image, text=text, k=10, device="cpu", memory=1)
    assert small.scratch_bytes > 0
    assert small.bands > 1


def test_words_for_what_a_report_counts() -> None:
    assert drop_words({"other_thing": 1, "collapsed": 2, "image_duplicate": 0, "margin": 0}) == [
        ("near-duplicate images", 0, "image similarity above image_max"),
        ("copies", 2, "near duplicates of a better pair of the same pool"),
        ("other thing", 1, ""),
    ]
    assert drop_words(None) == []
    assert filter_words({"dimensions": [0, 64, 192], "passed": {"first": 0.5, "second": 0.25}}) == [
        ("64 leading dimensions", 0.5),
        ("192 leading dimensions", 0.25),
    ]
    assert filter_words({}) == filter_words(None) == []
    assert weight_words({"weight": 1.0}) == ""  # one modality


def test_partition_reaches_its_recall_by_the_lower_limit_and_repeats() -> None:
    image, text = clustered(6000)
    exact = mine(image, text, k=20)
    pairs = mine(image, text, k=20, method="partition", recall=0.9, seed=1)
    last = np.where(exact.counts > 0, exact.scores[np.arange(6000), exact.counts - 1], np.inf)
    found = ((pairs.scores >= last[:, None]) & (pairs.ids >= 0)).sum(axis=1)
    wanted = exact.counts > 0
    assert np.mean(np.minimum(found, exact.counts)[wanted] / exact.counts[wanted]) >= 0.9
    assert pairs.report["recall"]["low"] >= 0.9
    assert set(pairs.report["partition"]) == {"clusters", "near", "passes", "met", "exact"}
    again = mine(image, text, k=20, method="partition", recall=0.9, seed=1, threads=3)
    assert again.ids.tobytes() == pairs.ids.tobytes()
    assert again.report == pairs.report
    assert helip.plan(image=image, text=text, k=20, method="partition").method == "partition"


@pytest.mark.alone
@pytest.mark.parametrize(
    ("method", "rows", "dims"),
    [
        ("exact", 5000, (512, 256)),
        ("exact", 20000, (128, 64)),
        ("sample", 8000, (512, 256)),
        ("hnsw", 8000, (512, 256)),
        ("hnsw", 10000, (128, 64)),
        ("partition", 30000, (128, 64)),
    ],
)
def test_a_plan_tells_the_time_within_a_factor_of_two(
    method: str, rows: int, dims: tuple[int, int]
) -> None:
    # Processor time of one thread, which other work on the machine hardly changes.
    rng = np.random.default_rng(7)
    cluster = rng.integers(0, rows // 60, rows)
    image, text = (
        rng.standard_normal((rows // 60, width), np.float32)[cluster]
        + np.float32(0.8) * rng.standard_normal((rows, width), np.float32)
        for width in dims
    )
    options: dict[str, Any] = {"k": 50, "method": method, "threads": 1}
    if method == "sample":
        options["candidates"] = rows // 4
    ratios = []
    for _ in range(3):
        planned = helip.plan(image=image, text=text, **options)
        start = time.process_time()
        helip.mine(image=image, text=text, **options)
        ratios.append((time.process_time() - start) / planned.seconds)
        if 0.5 <= ratios[-1] <= 2.0:
            return
    pytest.fail(f"took {ratios} of what was planned")
