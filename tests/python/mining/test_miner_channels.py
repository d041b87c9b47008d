"""Scores of any number of channels, of arrays and of stores, by every engine that takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.cli.showing import pairs_shown
from helip.pairs.unreadable import unreadable_rows

ROWS, K = 2500, 12
NAMES = ("image", "text", "audio")


def matrix(dim: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(25, dim))
    rows = centres[np.arange(ROWS) * 7919 % 25] + 0.7 * random.normal(size=(ROWS, dim))
    return rows.astype(np.float32)


MATRICES = {"image": matrix(48, 1), "text": matrix(40, 2), "audio": matrix(24, 3)}
MATRICES["audio"][17] = 0.0  # has none
GIVEN = {"image": MATRICES["image"], "text": MATRICES["text"],
         "matrices": {"audio": MATRICES["audio"]}}  # fmt: skip


def plain_pools(
    score: str, weights: tuple[float, ...], maxima: tuple[float, ...], names: tuple[str, ...]
) -> np.ndarray:
    """int64 [ROWS, K], -1 for none, in float64."""
    total = np.zeros((ROWS, ROWS)) if score == "sum" else np.ones((ROWS, ROWS))
    out = np.eye(ROWS, dtype=bool)
    for name, weight, maximum in zip(names, weights, maxima, strict=True):
        rows = MATRICES[name].astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        cosines = (rows @ rows.T) / np.where(lengths * lengths.T == 0, 1, lengths * lengths.T)
        out |= (cosines > maximum) | (lengths == 0) | (lengths.T == 0)
        if score == "sum":
            total += weight / sum(weights) * cosines
        else:
            total *= np.maximum(cosines, 0.0) ** weight
    total[out] = 0.0
    ids = np.argsort(-total, axis=1, kind="stable")[:, :K]
    return np.where(np.take_along_axis(total, ids, axis=1) > 0, ids, -1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> helip.EmbeddingStore:
    path = tmp_path_factory.mktemp("channels") / "store"
    with helip.EmbeddingStore.create(
        path, image_dim=48, text_dim=40, matrices={"audio": 24}
    ) as writer:
        writer.append([str(row) for row in range(ROWS)], **GIVEN)
    return helip.EmbeddingStore.open(path)


@pytest.mark.parametrize(
    ("score", "weights", "maxima", "names"),
    [
        ("product", (1.0, 1.0, 1.0), (0.9, 0.98, 0.98), NAMES),
        ("product", (0.5, 2.0, 1.0), (1.0, 0.9, 0.95), NAMES),
        ("sum", (1.0, 0.25, 3.0), (0.98, 0.9, 1.0), NAMES),
        ("product", (1.0, 1.0), (0.98, 0.98), ("audio", "text")),
    ],
)
def test_pools_are_those_of_a_plain_search(
    store: helip.EmbeddingStore, score: str, weights: Any, maxima: Any, names: tuple[str, ...]
) -> None:
    asked: dict[str, Any] = {
        "channels": names, "score": score, "weights": weights, "maxima": maxima, "k": K,
        "progress": False,
    }  # fmt: skip
    expected = plain_pools(score, weights, maxima, names)
    np.testing.assert_array_equal(helip.mine(**GIVEN, **asked).ids, expected)
    np.testing.assert_array_equal(helip.mine(store, **asked).ids, expected)


def test_parts_are_the_table_of_one_run_and_a_table_is_taken_up(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"channels": NAMES, "k": K, "progress": False}
    whole = helip.mine(store, out=tmp_path / "whole", **asked)
    parts = [
        helip.mine(store, part=(i, 3), out=tmp_path / f"part-{i}", **asked).path for i in (1, 2, 3)
    ]
    merged = helip.merge(parts, out=tmp_path / "merged", progress=False)
    np.testing.assert_array_equal(merged.ids, whole.ids)
    np.testing.assert_array_equal(merged.scores, whole.scores)
    assert helip.mine(store, out=tmp_path / "whole", **asked).path == whole.path
    for other in ({"weights": (1.0, 1.0, 2.0)}, {"score": "sum"}, {"channels": NAMES[:2]}):
        with pytest.raises(helip.MismatchError, match="was mined with other options"):
            helip.mine(store, out=tmp_path / "whole", **{**asked, **other})


def test_an_update_of_more_rows_is_the_table_mined_anew(tmp_path: Path) -> None:
    path = tmp_path / "store"
    first, last = slice(0, 2300), slice(2300, ROWS)

    def append(writer: helip.StoreWriter, some: slice) -> None:
        keys = [str(row) for row in range(*some.indices(ROWS))]
        writer.append(
            keys, image=MATRICES["image"][some], text=MATRICES["text"][some],
            matrices={"audio": MATRICES["audio"][some]},
        )  # fmt: skip

    asked: dict[str, Any] = {"channels": NAMES, "score": "sum", "k": K, "progress": False}
    with helip.EmbeddingStore.create(
        path, image_dim=48, text_dim=40, matrices={"audio": 24}
    ) as writer:
        append(writer, first)
    before = helip.mine(helip.EmbeddingStore.open(path), **asked)
    with helip.EmbeddingStore.append_to(path) as writer:
        append(writer, last)
        writer.delete([3])
    now = helip.EmbeddingStore.open(path)
    updated = helip.update(before, now, progress=False)
    anew = helip.mine(now, **asked)
    np.testing.assert_array_equal(updated.ids, anew.ids)
    np.testing.assert_array_equal(updated.scores, anew.scores)


def test_codes_that_are_kept_are_taken_by_the_same_channels_alone(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {
        "channels": NAMES, "k": K, "codes": tmp_path / "codes", "progress": False,
    }  # fmt: skip
    first = helip.mine(store, **asked)
    kept = {path.name for path in (tmp_path / "codes").iterdir()}
    again = helip.mine(store, **asked)
    np.testing.assert_array_equal(first.ids, again.ids)
    assert {path.name for path in (tmp_path / "codes").iterdir()} == kept
    other = helip.mine(store, **{**asked, "weights": (1.0, 1.0, 2.0)})
    np.testing.assert_array_equal(
        other.ids, plain_pools("product", (1.0, 1.0, 2.0), (0.98,) * 3, NAMES)
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"channels": ("image", "video")}, "no matrix 'video'; it has image, text, audio"),
        ({"channels": ()}, "channels is (); name one at least"),
        ({"channels": "audio"}, "channels is 'audio', must be a tuple, one for each channel"),
        ({"channels": NAMES, "weights": (1.0,)}, "weights is (1.0,) and channels"),
        ({"channels": NAMES, "weights": (1.0, 0.0, 1.0)}, "weights is 0.0, must be at least 0.01"),
        ({"channels": NAMES, "maxima": (1.0, 2.0, 1.0)}, "maxima is 2.0, must be at most 1.0"),
        ({"channels": ("image", "image")}, "channel 'image' is named twice"),
        ({"weights": (1.0,)}, "weights is (1.0,) and channels None"),
        ({"score": "sum"}, "score is 'sum', which is of channels"),
        ({"channels": NAMES, "margin": 0.1}, "margin is 0.1"),
        ({"channels": NAMES, "method": "hnsw"}, "method is 'hnsw'"),
        ({"channels": NAMES, "device": "cuda"}, "channels is"),
        ({"channels": NAMES, "modality": "text"}, "modality is 'text'"),
        ({"channels": {"image": 1}}, "channels is {'image': 1}, must be a tuple"),
        ({"channels": NAMES, "weights": 3.0}, "weights is 3.0, must be a tuple"),
        ({"channels": NAMES, "matrices": [1]}, "matrices is a list, must be a mapping"),
    ],
)
def test_what_does_not_go_together_is_one_error(
    store: helip.EmbeddingStore, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(helip.Error) as caught:
        helip.mine(store, progress=False, **asked)
    assert message in str(caught.value)


def test_a_matrix_without_a_channel_and_a_channel_without_a_matrix_are_refused() -> None:
    with pytest.raises(helip.InvalidArgumentError, match="matrices has 'audio', which no channel"):
        helip.mine(**GIVEN, progress=False)
    with pytest.raises(helip.InvalidArgumentError, match="channel 'video' is missing"):
        helip.mine(**GIVEN, channels=("image", "video"), progress=False)


def test_a_store_wants_the_rows_of_each_matrix(store: helip.EmbeddingStore, tmp_path: Path) -> None:
    assert store.matrix_names == NAMES
    np.testing.assert_array_equal(store.matrix("audio"), MATRICES["audio"])
    with helip.EmbeddingStore.append_to(store.path) as writer:
        with pytest.raises(helip.InvalidArgumentError, match="matrices has nothing; the store was"):
            writer.append(["new"], image=np.ones((1, 48)), text=np.ones((1, 40)))
        with pytest.raises(helip.InvalidArgumentError, match="audio has shape"):
            writer.append(
                ["new"], image=np.ones((1, 48)), text=np.ones((1, 40)),
                matrices={"audio": np.ones((1, 23))},
            )  # fmt: skip
    with pytest.raises(helip.InvalidArgumentError, match="must have names and widths"):
        helip.EmbeddingStore.create(
            tmp_path / "s",
            image_dim=2,
            text_dim=2,
            matrices={"audio": 2.5},  # type: ignore[dict-item]
        )
    with pytest.raises(helip.InvalidArgumentError, match="two matrices 'text'"):
        helip.EmbeddingStore.create(tmp_path / "s", image_dim=2, text_dim=2, matrices={"text": 3})


def test_a_plan_knows_channels_also_of_few_rows(store: helip.EmbeddingStore) -> None:
    few = {"image": MATRICES["image"][:100], "matrices": {"audio": MATRICES["audio"][:100]}}
    assert helip.plan(**few, channels=("image", "audio"), k=3).method == "exact"
    filters = helip.plan(store, channels=NAMES, k=K).filters
    assert set(filters["factors"]) == set(NAMES)
    with pytest.raises(helip.UnsupportedError, match="stages are of image and text"):
        helip.plan(store, channels=NAMES, method="partition", cluster_rows=500)


def test_a_table_of_arrays_belongs_to_the_store_of_the_same_rows(
    store: helip.EmbeddingStore,
) -> None:
    table = helip.mine(**GIVEN, channels=("audio",), k=K, progress=False).with_store(store)
    assert unreadable_rows(table).tolist() == [17]
    shown = pairs_shown(table, "")["rows"]
    assert ("product", "audio (1), with weights") in shown


def test_a_table_of_partition_by_channels_is_mined_anew(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    table = helip.mine(
        store, channels=NAMES, k=K, method="partition", out=tmp_path / "table", progress=False
    )
    with helip.EmbeddingStore.append_to(store.path) as writer:
        writer.delete([8])
    with pytest.raises(helip.UnsupportedError, match="was mined by channels"):
        helip.update(table, store.path, out=tmp_path / "now", progress=False)
