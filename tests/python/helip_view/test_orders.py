"""Orders of targets against a plain reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helip.common.array_cache import ArrayCache
from helip.evaluation.model_features import ModelFeatures
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore
from helip_view.orders import Order, Orders
from helip_view.queries import step
from support.view_samples import ROWS

REST = ("hardest", "hubs", "short", "duplicates", "margin", "mismatched", "change")


def orders_of(folder: Path, cache: Path) -> Orders:
    store = EmbeddingStore.open(folder / "store")
    kept = ArrayCache({"of": "test"}, 1 << 30, cache)
    data = range(ROWS)
    models = [
        ModelFeatures.of(folder / name, data, kept, progress=False) for name in ("before", "after")
    ]
    return Orders(HardPairs.open(folder / "pairs"), store, models, kept)


@pytest.fixture(scope="module")
def orders(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Orders:
    return orders_of(folder, tmp_path_factory.mktemp("cache"))


def cosines(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[N, N] of pictures, of captions, and of pictures with captions (where they are of a size)."""
    image, text = EmbeddingStore.open(folder / name).rows(slice(None))
    image, text = (
        each.double() / each.double().norm(dim=1, keepdim=True) for each in (image, text)
    )
    cross = image @ text.T if image.shape == text.shape else image @ image.T
    return (image @ image.T).numpy(), (text @ text.T).numpy(), cross.numpy()


def gaps(folder: Path, name: str) -> np.ndarray:
    cross = cosines(folder, name)[2]
    return np.maximum(cross, cross.T) - np.diag(cross)[:, None]


def expected(values: np.ndarray, pairs: HardPairs) -> list[tuple[int, int, float]]:
    """(target, hard pair of the greatest value, value), greatest first."""
    best = []
    for target in range(len(pairs)):
        pool = pairs.ids[target, : pairs.counts[target]]
        if len(pool):
            place = int(np.argmax(values[target, pool]))
            best.append((target, int(pool[place]), float(values[target, pool[place]])))
    return sorted(best, key=lambda each: -each[2])


def found(order: Order, pairs: HardPairs) -> list[tuple[int, int, float]]:
    return [
        (int(t), int(pairs.ids[t, order.rank(place)]), float(order.values[place]))
        for place, t in enumerate(order.targets)
    ]


def assert_same(one: list[tuple[int, int, float]], other: list[tuple[int, int, float]]) -> None:
    assert [each[:2] for each in one] == [each[:2] for each in other]
    np.testing.assert_allclose([e[2] for e in one], [e[2] for e in other], atol=1e-6)


def test_the_margin_is_the_greatest_cross_score_above_the_own(folder: Path, orders: Orders) -> None:
    pairs = HardPairs.open(folder / "pairs")
    assert_same(found(orders.order("margin"), pairs), expected(gaps(folder, "after"), pairs))


def test_change_is_between_both_models(folder: Path, orders: Orders) -> None:
    pairs = HardPairs.open(folder / "pairs")
    change = np.abs(gaps(folder, "after") - gaps(folder, "before"))
    assert_same(found(orders.order("change"), pairs), expected(change, pairs))


def test_near_duplicates_are_those_most_alike_in_one_modality(folder: Path, orders: Orders) -> None:
    pairs = HardPairs.open(folder / "pairs")
    image, text, _ = cosines(folder, "store")
    assert_same(found(orders.order("duplicates"), pairs), expected(np.maximum(image, text), pairs))


def test_mismatched_are_those_whose_own_caption_scores_below_others(
    folder: Path, orders: Orders
) -> None:
    pairs, cross = HardPairs.open(folder / "pairs"), cosines(folder, "after")[2]
    share = {}
    for target in range(ROWS):
        pool = pairs.ids[target, : pairs.counts[target]]
        if len(pool) and (above := float(np.mean(cross[target, pool] > cross[target, target]))):
            share[target] = above
    order = orders.order("mismatched")
    assert {int(t): float(v) for t, v in zip(order.targets, order.values, strict=True)} == (
        pytest.approx(share)
    )
    assert (np.diff(order.values) <= 0).all()


def test_hubs_are_those_chosen_most_and_short_pools_come_shortest_first(
    folder: Path, orders: Orders
) -> None:
    pairs = HardPairs.open(folder / "pairs")
    chosen = np.bincount(pairs.ids[pairs.ids >= 0], minlength=ROWS)
    np.testing.assert_array_equal(orders.degrees, chosen)
    hubs = orders.order("hubs")
    assert hubs.values.tolist() == sorted(chosen[chosen > 0].tolist(), reverse=True)
    short = orders.order("short")
    assert set(short.targets.tolist()) == set(np.flatnonzero(pairs.counts < pairs.k).tolist())
    first = pairs.scores[:, 0][pairs.counts > 0]
    np.testing.assert_array_equal(orders.order("hardest").values, -np.sort(-first))


@pytest.mark.parametrize("way", [*REST, "random", "rows"])
def test_no_target_comes_twice(orders: Orders, way: str) -> None:
    targets = orders.order(way, seed=4).targets
    assert len(np.unique(targets)) == len(targets) <= ROWS


def test_orders_are_read_from_the_cache_and_made_anew_where_it_is_damaged(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = np.array(orders_of(folder, tmp_path).order("margin").values)
    damaged = next(tmp_path.rglob("order-margin/values.npy"))
    damaged.write_bytes(damaged.read_bytes()[:40])
    np.testing.assert_array_equal(orders_of(folder, tmp_path).order("margin").values, first)
    monkeypatch.setattr(ModelFeatures, "gaps", None)  # nothing is computed again
    np.testing.assert_array_equal(orders_of(folder, tmp_path).order("margin").values, first)


def test_a_step_passes_over_what_is_not_wanted() -> None:
    order = Order(np.arange(5))
    assert step(order, 1, 1) == 2
    assert step(order, 0, 1, lambda target, rank: target > 2) == 3
    assert step(order, 4, 1) is None and step(order, 0, -1) is None
