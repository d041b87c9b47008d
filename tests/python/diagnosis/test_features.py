"""What a model tells apart, against plain loops in float64."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pytest
import torch

from helip.common.errors import InvalidArgumentError
from helip.common.proportions import wilson_interval
from helip.diagnosis import features as module
from helip.diagnosis.draws import COMMUNITY, Communities, Draws
from helip.diagnosis.features import (
    RIDGE,
    ROWS_PER_DIMENSION,
    FeatureMeasures,
    compare,
    mapped,
    measure_features,
)

N, K, D = 240, 60, 12


def rows(noise: float = 0.8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of pictures, and of captions that are like them; not of length 1."""
    random = np.random.default_rng(seed)
    image = random.normal(size=(N, D)) * random.uniform(0.5, 3, (N, 1))
    text = image / np.linalg.norm(image, axis=1, keepdims=True)
    return image, 4 * (text + noise * random.normal(size=(N, D)) / D**0.5)


def pools(image: np.ndarray) -> np.ndarray:
    """The rows nearest by picture."""
    unit = image / np.linalg.norm(image, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    return np.argsort(-cosines, axis=1)[:, :K]


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def right(image: Any, text: Any, row: int, others: list[int]) -> float:
    """Mean of both directions: 1 where the row's own is above all others."""
    own = cosine(image[row], text[row])
    to_text = all(cosine(image[row], text[o]) < own - 1e-6 for o in others)
    to_image = all(cosine(image[o], text[row]) < own - 1e-6 for o in others)
    return (to_text + to_image) / 2


def reference_loss(image: Any, text: Any, batch: list[int], groups: Any, scale: float) -> float:
    terms = []
    for row in batch:
        seen = [o for o in batch if o == row or groups[o] == 0 or groups[o] != groups[row]]
        for logits in (
            {o: scale * cosine(image[row], text[o]) for o in seen},
            {o: scale * cosine(image[o], text[row]) for o in seen},
        ):
            terms.append(np.log(sum(np.exp(v) for v in logits.values())) - logits[row])
    return float(np.mean(terms))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Draws]:
    """What the measures were of."""
    seen: list[Draws] = []
    there = module.draw

    def watched(*arguments: Any, **options: Any) -> Draws:
        seen.append(there(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(module, "draw", watched)
    return seen


def test_every_measure_is_that_of_a_plain_loop(drawn: list[Draws]) -> None:
    image, text = rows()
    groups = np.random.default_rng(1).integers(0, 90, N)  # 0 equals nothing
    batches = [np.arange(0, 40), np.arange(100, 131)]
    found = measure_features(
        image, text, pools(image), groups, batches=batches, batch_size=48, window=30,
        logit_scale=7.0, targets=60,
    )  # fmt: skip
    (draws,) = drawn

    def others(row: int, batch: Any) -> list[int]:
        return [
            int(o) for o in batch if o != row and (groups[o] != groups[row] or groups[row] == 0)
        ]

    def between(batches: Any) -> dict[int, list[float]]:
        told: dict[int, list[float]] = {}
        for batch in batches:
            for row in batch.tolist():
                told.setdefault(row, []).append(right(image, text, row, others(row, batch)))
        return told

    for estimate, told in ((found.between, between(draws.random)), (found.among, between(batches))):
        means = np.array([np.mean(each) for each in told.values()])
        assert estimate.value == pytest.approx(means.mean())
        assert estimate.error == pytest.approx(1.96 * means.std(ddof=1) / len(means) ** 0.5)
        assert estimate.n == len(told)
    told = [right(image, text, c[0], c[1:].tolist()) for c in draws.window.rows]
    assert 0.2 < np.mean(told) < 0.98
    assert found.within.value == pytest.approx(np.mean(told))
    violated = [
        np.mean([
            cosine(image[t], text[m]) >= cosine(image[t], text[t]) - 1e-6,
            cosine(image[m], text[t]) >= cosine(image[t], text[t]) - 1e-6,
        ])
        for t, *members in draws.window.rows
        for m in members
    ]  # fmt: skip
    assert found.violated.value == pytest.approx(np.mean(violated))
    for each, measured in zip(draws.ranks, found.ranks, strict=True):
        told = [right(image, text, c[0], c[1:].tolist()) for c in each.rows]
        assert measured.within.value == pytest.approx(np.mean(told))
        assert (measured.first, measured.last) == (each.first + 1, each.last)
    for loss, of in ((found.random_loss, draws.random), (found.community_loss, batches)):
        losses = [reference_loss(image, text, batch.tolist(), groups, 7.0) for batch in of]
        assert loss == pytest.approx(np.mean(losses))


def test_communities_are_of_their_window_without_equal_rows(drawn: list[Draws]) -> None:
    image, text = rows()
    groups = np.random.default_rng(1).integers(1, 8, (N, 2))
    near = pools(image)
    measure_features(image, text, near, groups, batch_size=48, window=30)
    (draws,) = drawn
    assert [(each.first, each.last) for each in (draws.window, *draws.ranks)] == [
        (0, 30), (0, 10), (10, 30), (30, 60),
    ]  # fmt: skip
    for each in (draws.window, *draws.ranks):
        assert len(each.rows) + each.left_out == N
        for target, *members in each.rows.tolist():
            assert len(set(members)) == COMMUNITY - 1
            assert set(members) <= set(near[target, each.first : each.last].tolist())
            assert not (groups[members] == groups[target]).any()
    assert draws.ranks[0].left_out > 0


def test_members_are_drawn_from_all_ranks_of_the_window_alike(drawn: list[Draws]) -> None:
    image, text = rows()
    near = pools(image)
    measure_features(image, text, near, window=40)
    place = [near[t].tolist().index(m) for t, *members in drawn[0].window.rows for m in members]
    counts = np.bincount(place, minlength=40)
    assert len(counts) == 40
    expected = len(place) / 40
    assert ((counts - expected) ** 2 / expected).sum() < 73  # chi-squared, 39 degrees: 0.1 %


def test_random_batches_have_no_row_twice_and_differ(drawn: list[Draws]) -> None:
    image, text = rows()
    measure_features(image, text, pools(image), batch_size=48)
    batches = drawn[0].random
    assert len(batches) == 8
    assert all(len(set(batch.tolist())) == 48 for batch in batches)
    assert len({tuple(batch) for batch in batches}) == 8
    measure_features(image, text, pools(image), batch_size=500)
    assert [len(batch) for batch in drawn[1].random] == [N]


def test_arrays_tensors_and_lists_give_the_same() -> None:
    image, text = (side.astype(np.float32) for side in rows())
    near, groups = pools(image), np.arange(N) % 50
    options: dict[str, Any] = {"batch_size": 48, "targets": 100}
    found = measure_features(image, text, near, groups, **options)
    tensors = [torch.from_numpy(each) for each in (image, text, near, groups)]
    assert measure_features(*tensors, **options) == found
    assert measure_features(image.tolist(), text.tolist(), near, groups, **options) == found
    half = measure_features(*(each.half() for each in tensors[:2]), near, groups, **options)
    assert half.between.value == pytest.approx(found.between.value, abs=0.02)


def test_a_seed_gives_the_same_draws_and_another_one_others() -> None:
    image, text = rows()
    near = pools(image)
    made = [measure_features(image, text, near, batch_size=48, seed=seed) for seed in (3, 3, 4)]
    assert made[0] == made[1] != made[2]


def test_ties_count_against_the_model() -> None:
    image = np.ones((N, D))
    found = measure_features(image, image, pools(rows()[0]), batch_size=48)
    assert (found.between.value, found.within.value, found.violated.value) == (0.0, 0.0, 1.0)
    assert found.random_loss == pytest.approx(np.log(48))


def test_a_perfect_model_is_right_everywhere() -> None:
    image = np.eye(N)
    found = measure_features(image, image, pools(rows()[0]), batch_size=48)
    assert (found.between.value, found.within.value, found.violated.value) == (1.0, 1.0, 0.0)
    assert found.within.error == pytest.approx(wilson_interval(0.0, N)[1])


def test_short_pools_are_left_out_and_counted() -> None:
    image, text = rows()
    near = pools(image)
    near[:200, 5:] = -1
    found = measure_features(image, text, near, batch_size=48)
    assert (found.within.n, found.left_out) == (40, 200)
    assert found.window_members == pytest.approx((200 * 5 + 40 * 50) / 240)
    near[:, 5:] = -1
    found = measure_features(image, text, near, batch_size=48)
    assert found.within.value is found.within.error is found.violated.value is None
    assert found.left_out == N
    assert found.between.value is not None


@pytest.mark.parametrize("share", [1.0, 0.5, 0.02])
def test_coverage_is_the_share_of_a_community_that_hard_pairs_can_fill(share: float) -> None:
    n, k = 1000, 20
    image = np.random.default_rng(0).normal(size=(n, 60))
    ids = np.full((n, k), -1)
    for row in range(round(share * n)):
        ids[row] = row // 50 * 50 + (row + 1 + np.arange(k)) % 50
    found = measure_features(image, image, ids, batch_size=16, targets=n)
    assert found.coverage == pytest.approx(sum(min((r >= 0).sum(), 7) for r in ids) / 7 / n)
    whole = comb(n - 1 - k, 15) / comb(n - 1, 15)
    assert found.none_by_chance == pytest.approx(whole)


@pytest.mark.parametrize("n", [1, 5, 400])
def test_an_estimate_of_targets_that_are_all_alike_is_as_uncertain_as_so_few_allow(n: int) -> None:
    for value in (0.0, 1.0):
        error = module._estimate(np.full(n, value)).error
        assert error == pytest.approx(wilson_interval(0.0, n)[1])
    halves = np.arange(400) % 2 * 1.0
    assert module._estimate(halves).error == pytest.approx(1.96 * halves.std(ddof=1) / 20, rel=1e-4)


def test_rows_that_cannot_be_read_take_their_communities_with_them() -> None:
    image, text = rows()
    communities = np.arange(32).reshape(4, 8)
    communities[1, 3] = communities[2, 0] = -1
    batch = np.arange(20)
    batch[4] = -1
    window = Communities(0, 10, communities, left_out=5)
    found: FeatureMeasures = compare(
        image, text, np.zeros((N, 1), dtype=np.int64), Draws((batch,), window, (), ()),
        rows=1000, batch_size=20, members=np.repeat([0, 4, 14], [100, 300, 600]),
        logit_scale=None,
    )  # fmt: skip
    assert (found.within.n, found.left_out) == (2, 7)
    assert found.between.n == 19
    assert (found.random_loss, found.community_loss, found.among.value) == (None, None, None)
    assert found.by_chance == pytest.approx((0.3 * 4 + 0.6 * 14) * 19 / 999)
    four, fourteen = (comb(999 - size, 19) / comb(999, 19) for size in (4, 14))
    assert found.none_by_chance == pytest.approx((four + 2 * fourteen) / 3)
    assert found.coverage == pytest.approx((0.3 * 4 + 0.6 * 7) / 7)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": np.ones((N, D + 1))}, "the shape of image and text is"),
        ({"image": np.ones(N), "text": np.ones(N)}, "two matrices"),
        ({"pools": np.ones((N - 1, 4), dtype=int)}, "the shape of pools is"),
        ({"pools": np.ones((N, 4))}, "the dtype of pools is 'float64'"),
        ({"pools": np.full((N, 4), N)}, rf"the span of pools is \[{N}"),
        ({"groups": np.ones(N)}, "the dtype and shape of groups is"),
        ({"groups": np.ones(N + 1, dtype=int)}, "the dtype and shape of groups is"),
        ({"batches": [np.array([-1, 3])]}, r"the span of batches is \[-1"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"window": 0}, "window is 0"),
        ({"targets": 0}, "targets is 0"),
        ({"image": np.full((N, D), np.nan)}, "holds NaN"),
    ],
)
def test_bad_input_is_one_clear_error(change: dict[str, Any], said: str) -> None:
    image, text = rows()
    given: dict[str, Any] = {"image": image, "text": text, "pools": pools(image), **change}
    with pytest.raises(InvalidArgumentError, match=said):
        measure_features(**given)


DIMS = 6


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def sides(rows: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Captions that are a linear map of their pictures, but for noise and their length."""
    random = np.random.default_rng(seed)
    image = unit(random.normal(size=(rows, DIMS)) + 0.3)
    weights = random.normal(size=(DIMS, DIMS))
    return image, unit(image @ weights + noise * random.normal(size=(rows, DIMS)))


def test_it_is_a_ridge_regression_of_centred_rows() -> None:
    image, text = sides(60, 0.3)

    def of(rows: Any) -> Any:
        return torch.from_numpy(image[rows]), torch.from_numpy(text[rows])

    fitted, asked = np.arange(40), np.array([41, 50, 3])
    told = mapped(of, fitted)
    assert told is not None
    centred = image[:40] - image[:40].mean(axis=0), text[:40] - text[:40].mean(axis=0)
    # With the penalty as rows of their own, a plain least squares.
    penalty = RIDGE * (centred[0] ** 2).sum(axis=0).mean()
    inputs = np.concatenate([centred[0], np.sqrt(penalty) * np.eye(DIMS)])
    outputs = np.concatenate([centred[1], np.zeros((DIMS, DIMS))])
    weights = np.linalg.lstsq(inputs, outputs, rcond=None)[0]
    expected = unit((image[asked] - image[:40].mean(axis=0)) @ weights)
    found = told(asked)
    assert found[0].numpy() == pytest.approx(expected)
    assert found[1].numpy() == pytest.approx(unit(text[asked] - text[:40].mean(axis=0)))


def test_too_few_rows_are_not_fitted() -> None:
    image, text = sides(40, 0.1)

    def of(rows: Any) -> Any:
        return torch.from_numpy(image[rows]), torch.from_numpy(text[rows])

    assert mapped(of, np.arange(ROWS_PER_DIMENSION * DIMS - 1)) is None
    assert mapped(of, np.arange(ROWS_PER_DIMENSION * DIMS)) is not None


@pytest.mark.parametrize("noise", [0.0, 30.0])
def test_features_that_are_not_aligned_are_known_where_a_map_aligns_them(noise: float) -> None:
    rows = 400
    image, text = sides(rows, noise)
    pools = np.stack([np.delete(np.arange(rows), row)[:30] for row in range(rows)])
    batches = [np.arange(first, first + 32) for first in range(0, rows - 31, 32)]
    found = measure_features(image, text, pools, batch_size=16, batches=batches, targets=50)
    assert found.between.value is not None and found.mapped.value is not None
    assert found.between.value < 0.3
    assert (found.mapped.value > 0.6) is (noise == 0.0)
    assert noise == 0.0 or found.mapped.value < 0.3


def test_none_is_told_where_too_few_rows_are_left() -> None:
    image, text = sides(20, 0.0)
    pools = np.stack([np.delete(np.arange(20), row)[:10] for row in range(20)])
    found = measure_features(image, text, pools, batch_size=20, targets=10)
    assert found.mapped.value is None and found.mapped.n == 0
