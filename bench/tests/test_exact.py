"""The rivals in bench/exact.py are right: what helip is measured against finds the same pools."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.mining_reference import brute_force

ROWS, K = 400, 20


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, ...]:
    """float32 unit rows with a common direction, and pairs on either side of a near duplicate."""
    random = np.random.default_rng(0)
    cosines = np.linspace(0.976, 0.984, 40)[:, None]
    parts = []
    for width, twins in ((48, slice(0, 40)), (32, slice(30, 70))):
        part = unit(random.normal(size=(ROWS, width)) + 0.7)
        across = random.normal(size=(40, width))
        across -= (across * part[200:240]).sum(axis=1, keepdims=True) * part[200:240]
        part[twins] = cosines * part[200:240] + np.sqrt(1 - cosines**2) * unit(across)
        parts.append(part.astype(np.float32))
    return tuple(parts)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def pools(ids: np.ndarray) -> list[set[int]]:
    return [set(row) - {-1} for row in ids.tolist()]


@pytest.mark.parametrize("name", ["reference", "tuned", "faiss"])
def test_a_rival_finds_the_pools_of_a_float64_brute_force(
    bench: Any, data: tuple[np.ndarray, ...], name: str
) -> None:
    if name == "faiss":
        pytest.importorskip("faiss")
    side = bench("exact_sides").SIDES[name][0](K, 2)
    side.tune(*data)
    side.block, side.tile, side.wide = 128, 64, ROWS  # several blocks, thresholds after each tile
    side.prepare(*data)
    expected, _ = brute_force(*data, K)
    assert pools(side.solve(np.arange(ROWS))) == pools(expected)


def test_a_linear_side_solves_the_targets_asked_for_and_no_others(
    bench: Any, data: tuple[np.ndarray, ...]
) -> None:
    expected = pools(brute_force(*data, K)[0])
    targets = np.arange(3, ROWS, 7)
    for name in ("reference", "tuned"):
        side = bench("exact_sides").SIDES[name][0](K, 2)
        side.prepare(*data)
        ids = side.solve(targets)
        assert pools(ids[targets]) == [expected[target] for target in targets]
        assert (np.delete(ids, targets, axis=0) == -1).all()


def test_a_row_that_faiss_certifies_is_complete(bench: Any, data: tuple[np.ndarray, ...]) -> None:
    pytest.importorskip("faiss")
    expected = pools(brute_force(*data, K)[0])
    side = bench("exact_sides").SIDES["faiss"][0](K, 2)
    side.wide = 3 * K // 2  # too few for some rows
    side.prepare(*data)
    certified = complete = 0
    for target in range(ROWS):
        found = pools(side.solve(np.array([target]))[target : target + 1])
        if side.facts["certified"]:
            assert found == [expected[target]]
        certified += side.facts["certified"]
        complete += found == [expected[target]]
    assert 0 < certified < complete < ROWS


def test_a_part_of_the_targets_is_the_same_in_every_run_and_near_the_share(bench: Any) -> None:
    draw = bench("exact").measured_targets
    targets = draw(200_000, 0.05)
    np.testing.assert_array_equal(targets, draw(200_000, 0.05))
    assert len(np.unique(targets)) == len(targets) == 10_240
    np.testing.assert_array_equal(draw(5000, 1.0), np.arange(5000))


def test_goals_tell_what_was_measured_from_what_was_not(bench: Any) -> None:
    sides = {
        "reference": {"seconds": 60.0, "over_helip": {"median": 30.0}},
        "helip": {"seconds": 2.0, "of_limit": {"int8": 0.9}, "extra_mb": 10.0},
    }
    cell = {"rows": 60_000, "dims": [1280, 384], "k": 50, "sides": sides}
    met = [goal["met"] for goal in bench("exact").goals([cell])]
    assert met == [True, None, None, False, None, None, None, None]
