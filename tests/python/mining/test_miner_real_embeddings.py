"""Mining on the embeddings of real pictures and captions: EfficientNet-Lite0 x MiniLM, OpenMoji."""

from __future__ import annotations

import numpy as np
import pytest

import helip
from helip_demo import data as demo_data
from helip_demo.quick import IMAGE_ENCODER, TEXT_ENCODER
from helip_demo.results import recall
from support.mining_reference import check_exact

K = 50


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> helip.EmbeddingStore:
    folder = tmp_path_factory.mktemp("openmoji")
    demo_data.build(folder / "data", progress=False)
    return helip.embed(
        sorted(str(path) for path in (folder / "data").rglob("*.tar")),
        out=folder / "store",
        image_encoder=IMAGE_ENCODER,
        text_encoder=TEXT_ENCODER,
        dtype="float32",
        device="cpu",
        progress=False,
    )


@pytest.fixture(scope="module")
def exact(store: helip.EmbeddingStore) -> helip.HardPairs:
    return helip.mine(store, k=K, method="exact", device="cpu", progress=False)


@pytest.mark.slow
def test_exact_mining_equals_a_float64_brute_force_on_every_row(
    store: helip.EmbeddingStore, exact: helip.HardPairs
) -> None:
    assert len(store) > 3900
    check_exact(exact, store.image, store.text)


@pytest.mark.slow
def test_sampled_mining_finds_the_share_of_its_candidates(
    store: helip.EmbeddingStore, exact: helip.HardPairs
) -> None:
    for share in (0.2, 0.5):
        pairs = helip.mine(
            store, k=K, method="sample", candidates=int(share * len(store)), refresh=500,
            device="cpu", progress=False,
        )  # fmt: skip
        assert recall(pairs, exact) == pytest.approx(share, abs=0.02)


@pytest.mark.slow
def test_graph_mining_reaches_its_recall_and_reports_it_truly(
    store: helip.EmbeddingStore, exact: helip.HardPairs
) -> None:
    pairs = helip.mine(store, k=K, method="hnsw", device="cpu", progress=False)
    measured = pairs.report["recall"]
    print(f"recall@{K} of hnsw: {measured['value']:.4f}")
    assert measured["low"] - 0.01 <= recall(pairs, exact) <= measured["high"] + 0.01
    assert measured["value"] >= 0.95


@pytest.mark.slow
def test_hard_pairs_look_alike_and_read_alike(
    store: helip.EmbeddingStore, exact: helip.HardPairs
) -> None:
    captions = {key: row for row, key in enumerate(store.keys)}
    keycap_four = captions["0034-fe0f-20e3"]
    assert any(store.keys[int(i)].endswith("20e3") for i in exact.ids[keycap_four, :5])
    assert np.median(exact.scores[:, 0]) > 0.6
