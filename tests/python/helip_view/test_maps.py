"""The map: principal components, and the rows within a region."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from helip.common.array_cache import ArrayCache
from helip.common.errors import Error, InvalidArgumentError, UnsupportedError
from helip.store.embedding_store import EmbeddingStore
from helip_view import maps as module
from helip_view.maps import Maps, inside, parse_region
from support.view_samples import OUTLIER, ROWS, sides, write_store


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Maps:
    folder = tmp_path_factory.mktemp("map")
    write_store(folder / "store", [str(row) for row in range(ROWS)], *sides())
    cache = ArrayCache({}, 1 << 30, folder / "cache")
    return Maps(EmbeddingStore.open(folder / "store"), cache)


def unit(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return rows / np.where(norms == 0, 1, norms)


@pytest.mark.parametrize("of", ["joint", "image", "text"])
def test_points_are_the_first_two_principal_components(maps: Maps, of: str) -> None:
    image, text = (unit(each) for each in sides())
    rows = {"image": image, "text": text, "joint": np.c_[image, text]}[of]
    centred = rows - rows.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :2] * values[:2]
    found = np.array(maps.points(of))
    assert np.abs(found[np.arange(ROWS) != OUTLIER]).max() == pytest.approx(1, abs=1e-6)
    assert found[OUTLIER].tolist() == [0, 0]
    for axis in range(2):
        others = np.arange(ROWS) != OUTLIER
        assert abs(np.corrcoef(found[others, axis], expected[others, axis])[0, 1]) > 0.9999


def test_a_region_has_the_rows_that_lie_in_it(maps: Maps) -> None:
    points = np.array(maps.points("joint"))
    rows = maps.inside("joint:-0.5,-0.25;0.5,-0.25;0.5,0.25;-0.5,0.25")
    expected = (np.abs(points[:, 0]) < 0.5) & (np.abs(points[:, 1]) < 0.25)
    assert rows.tolist() == np.flatnonzero(expected).tolist()


def test_inside_knows_hollows() -> None:
    hollow = np.array([(0, 0), (4, 0), (4, 4), (3, 4), (3, 1), (1, 1), (1, 4), (0, 4)], float)
    points = np.array([(0.5, 3), (2, 3), (3.5, 3), (2, 0.5), (5, 3), (-1, 0.5)], float)
    assert inside(points, hollow).tolist() == [True, False, True, True, False, False]


@pytest.mark.parametrize(
    "region",
    ["", "joint", "joint:0,0;1,1", "all:0,0;1,0;1,1", "text:0,0;1,0;nan,1", "text:0,0;1;1,1",
     "image:" + ";".join(["0,1"] * 65), "joint:a,b;c,d;e,f"],
    ids=range(8),
)  # fmt: skip
def test_what_is_no_region_is_refused(region: str) -> None:
    with pytest.raises(InvalidArgumentError, match="region is"):
        parse_region(region)


class FakeUmap:
    """Takes the first two principal components; says where a row was placed by its sign."""

    fitted: ClassVar[list[int]] = []
    placed: ClassVar[list[int]] = []

    def __init__(self, **options: Any) -> None:
        assert options["random_state"] == 0

    def fit(self, rows: np.ndarray) -> FakeUmap:
        self.fitted.append(len(rows))
        self.embedding_ = rows[:, :2] + 5
        return self

    def transform(self, rows: np.ndarray) -> np.ndarray:
        self.placed.append(len(rows))
        return rows[:, :2] + 5


def test_umap_is_fitted_on_a_sample_and_places_the_others_once(
    maps: Maps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=FakeUmap))
    monkeypatch.setattr(module, "SAMPLE", 15)
    found = np.array(maps.points("image-umap"))
    sampled = np.sort(np.random.default_rng(0).choice(ROWS, 15, replace=False))
    assert FakeUmap.fitted == [15]
    assert sum(FakeUmap.placed) == ROWS - 15 - (OUTLIER not in sampled)
    assert found[OUTLIER].tolist() == [0, 0]
    assert np.abs(found).max() == pytest.approx(1, abs=1e-6)
    rows = unit(sides()[0])
    axes = np.linalg.svd(rows[sampled] - rows[sampled].mean(axis=0), full_matrices=False)[2]
    others = np.arange(ROWS) != OUTLIER
    expected = (rows @ axes[:2].T)[others]
    for axis in range(2):
        assert abs(np.corrcoef(found[others, axis], expected[:, axis])[0, 1]) > 0.9999
    again = Maps(maps._store, maps._cache)
    assert np.array_equal(again.points("image-umap"), found)
    assert FakeUmap.fitted == [15]
    region = "image-umap:-1.1,-1.1;1.1,-1.1;1.1,1.1;-1.1,1.1"
    assert len(again.inside(region)) == ROWS


def test_umap_that_is_absent_is_named_with_its_extra(
    maps: Maps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    for _ in range(2):  # a failure is not kept
        with pytest.raises(UnsupportedError, match=r"needs umap-learn.*helip\[umap\]"):
            maps.points("text-umap")


def test_a_map_that_takes_long_says_how_far_it_is(
    maps: Maps, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    slow = Maps(maps._store, ArrayCache({"of": "slow"}, 1 << 30, maps._cache.folder / "slow"))
    plain = slow._units
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    monkeypatch.setattr(slow, "_units", lambda *given: (go_on.wait(20), plain(*given))[1])
    assert slow.begin("joint") < 1
    go_on.set()
    assert np.array_equal(slow.points("joint"), maps.points("joint"))
    go_on.clear()
    assert slow.begin("text") < 1
    slow.close()
    go_on.set()
    with pytest.raises(Error, match="the viewer"):
        slow.points("text")
