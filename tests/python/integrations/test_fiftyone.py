"""A table of hard pairs as a data set of FiftyOne, in a real database that FiftyOne starts.

`make test-fiftyone` installs FiftyOne and its database; elsewhere these tests are skipped.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip import HardPairs
from helip.integrations import to_fiftyone
from support.data_samples import png, write_shard

CAPTIONS = ["a cat", "a dog", "a bird", "a fish", "a horse"]
# 3 has no hard pair; 4 has no picture.
IDS = np.array([[1, 2], [2, 0], [0, -1], [-1, -1], [0, 1]])
SCORES = np.array([[0.9, 0.5], [0.8, 0.7], [0.6, 0], [0, 0], [0.4, 0.3]])

needs_fiftyone = pytest.mark.skipif(
    importlib.util.find_spec("fiftyone") is None, reason="FiftyOne is absent"
)


@pytest.fixture(scope="module")
def fiftyone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The library, with a database of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIFTYONE_DATABASE_DIR", str(tmp_path_factory.mktemp("database")))
        patch.setenv("FIFTYONE_DO_NOT_TRACK", "true")
        import fiftyone

        yield fiftyone


@pytest.fixture
def data(tmp_path: Path) -> Any:
    folder = tmp_path / "pictures"
    folder.mkdir()
    lines = []
    for row, text in enumerate(CAPTIONS):
        lines.append(json.dumps({"file_name": f"{row}.png", "caption": text, "label": f"l{row}"}))
        if row != 4:
            (folder / f"{row}.png").write_bytes(png(row))
    (folder / "data.jsonl").write_text("\n".join(lines))
    return helip.open_dataset(folder / "data.jsonl", progress=False)


def table() -> HardPairs:
    return HardPairs.from_arrays(IDS.astype(np.int32), SCORES.astype(np.float32))


def store_of(data: Any, folder: Path) -> helip.EmbeddingStore:
    image, text = np.random.default_rng(0).standard_normal((2, len(data), 8)).astype(np.float32)
    image[2] = 0  # of which no direction is known
    with helip.EmbeddingStore.create(folder, image_dim=8, text_dim=8) as writer:
        writer.append(list(data.keys), image, text)
    return helip.EmbeddingStore.open(folder)


@needs_fiftyone
def test_a_sample_has_its_pool_in_fields(fiftyone: Any, data: Any, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"^1 rows without a picture .*\(1 missing_image"):
        found = to_fiftyone(table(), data, name="pairs")
    assert found.name == "pairs" and found.media_type == "image" and not found.persistent
    assert found.values("row") == [0, 1, 2, 3]
    assert found.values("key") == list(data.keys)[:4]
    assert found.values("filepath") == [str(tmp_path / f"pictures/{i}.png") for i in range(4)]
    assert found.values("caption") == CAPTIONS[:4]
    assert found.values("chosen") == [3, 2, 2, 0]
    assert found.values("hard_rows") == [[1, 2], [2, 0], [0], []]
    assert found.values("hard_keys") == [
        [data.keys[hard] for hard in pool if hard >= 0] for pool in IDS[:4]
    ]
    for given, scores in zip(found.values("hard_score"), SCORES, strict=False):
        np.testing.assert_allclose(given, scores[scores > 0], rtol=1e-6)
    assert found.values("top_score")[3] is None
    hardest = found.exists("top_score").sort_by("top_score", reverse=True)
    assert hardest.values("row") == [0, 1, 2]
    assert found.match(fiftyone.ViewField("top_score") > 0.85).values("row") == [0]
    pool = found.select_by("key", found.first().hard_keys, ordered=True)
    assert pool.values("row") == [1, 2]
    found.delete()


@needs_fiftyone
def test_a_store_adds_both_similarities(fiftyone: Any, data: Any, tmp_path: Path) -> None:
    store = store_of(data, tmp_path / "store")
    with pytest.warns(UserWarning, match="1 missing_image"):
        found = to_fiftyone(table().with_store(store), data, num_pairs=1)
    image, text = (np.asarray(matrix.numpy(), np.float64) for matrix in store.rows(range(5)))
    del image
    units = text / np.linalg.norm(text, axis=1, keepdims=True)
    assert found.values("hard_rows") == [[1], [2], [0], []]
    expected = [units[0] @ units[1], units[1] @ units[2], units[2] @ units[0]]
    np.testing.assert_allclose(found.values("top_text_similarity")[:3], expected, atol=1e-6)
    known = [number is not None for number in found.values("top_image_similarity")]
    assert known == [True, False, False, False]
    assert np.isnan(found.values("hard_image_similarity")[1]).all()
    found.delete()


@needs_fiftyone
def test_a_label_is_a_classification(fiftyone: Any, tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / "named" / name).mkdir(parents=True)
        for row in range(2):
            (tmp_path / "named" / name / f"{name}{row}.png").write_bytes(png(row))
            (tmp_path / "named" / name / f"{name}{row}.txt").write_text(f"{name} {row}")
    data = helip.open_dataset(tmp_path / "named", progress=False)
    ids = np.array([[1], [0], [3], [2]], dtype=np.int32)
    found = to_fiftyone(HardPairs.from_arrays(ids, np.full((4, 1), 0.5, np.float32)), data)
    labels = [label and label.label for label in found.values("label")]
    assert labels == [data.label(row) for row in range(4)]
    found.delete()


@needs_fiftyone
def test_a_name_that_is_taken_is_kept(fiftyone: Any, data: Any) -> None:
    with pytest.warns(UserWarning, match="1 missing_image"):
        first = to_fiftyone(table(), data, name="taken", persistent=True)
    assert first.persistent
    with pytest.raises(helip.InvalidArgumentError, match=r"'taken'.*overwrite=True"):
        to_fiftyone(table(), data, name="taken")
    with pytest.warns(UserWarning, match="1 missing_image"):
        second = to_fiftyone(table(), data, name="taken", num_pairs=1, overwrite=True)
    assert second.values("hard_rows")[0] == [1]
    second.delete()
    with pytest.raises(helip.InvalidArgumentError, match="slug"):
        to_fiftyone(table(), data, name="/")


@needs_fiftyone
def test_bad_calls_are_refused_before_a_data_set_is_made(
    fiftyone: Any, data: Any, tmp_path: Path
) -> None:
    before = fiftyone.list_datasets()
    with pytest.raises(helip.InvalidArgumentError, match="num_pairs is 3, must be at most 2"):
        to_fiftyone(table(), data, num_pairs=3)
    with pytest.raises(helip.MismatchError):
        to_fiftyone(table(), data.subset([0, 1]))
    write_shard(tmp_path / "0.tar", range(5))
    shards = helip.open_dataset(tmp_path / "0.tar", progress=False)
    with pytest.raises(helip.UnsupportedError, match="samples of FiftyOne name files"):
        to_fiftyone(table(), shards)
    assert fiftyone.list_datasets() == before


@needs_fiftyone
def test_a_database_that_does_not_answer_is_one_error(data: Any, tmp_path: Path) -> None:
    code = (
        "import helip.integrations, numpy as np, sys\n"
        "ids = np.array([[1], [0], [0], [0], [0]], np.int32)\n"
        "t = helip.HardPairs.from_arrays(ids, np.ones((5, 1), np.float32))\n"
        "try: helip.integrations.to_fiftyone(t, sys.argv[1], name='name')\n"
        "except helip.StorageError as error: print(error)\n"
    )
    environment = os.environ | {"FIFTYONE_DATABASE_URI": "mongodb://127.0.0.1:1/?timeoutMS=500"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "pictures/data.jsonl")],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "FIFTYONE_DATABASE_URI names it" in done.stdout, done.stderr


def test_without_fiftyone_the_error_says_what_to_install(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(helip.UnsupportedError, match=r"pip install helip\[fiftyone\]"):
        to_fiftyone(table(), data)
