"""The rivals in bench/scale.py do their task, and what they are held against is right."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.mining_reference import brute_force

ROWS, K = 1500, 10


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, ...]:
    """float32 unit rows in clusters, the same in both parts, with some near duplicates."""
    random = np.random.default_rng(0)
    cluster = random.integers(0, 30, ROWS)
    parts = []
    for width in (48, 32):
        part = random.normal(size=(30, width))[cluster] + 0.6 * random.normal(size=(ROWS, width))
        part[:40] = part[40:80] + 0.02 * random.normal(size=(40, width))
        parts.append((part / np.linalg.norm(part, axis=1, keepdims=True)).astype(np.float32))
    return tuple(parts)


@pytest.fixture(scope="module")
def folder(data: tuple[np.ndarray, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grown") / "data"
    folder.mkdir()
    for name, part in zip(("image", "text"), data, strict=True):
        np.save(folder / f"{name}.npy", part)
    return folder


def test_truth_is_that_of_a_plain_brute_force(
    bench: Any, data: tuple[np.ndarray, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = bench("scale_truth")
    monkeypatch.setattr(module, "BLOCK", 400)
    truth = module.truth_of(folder, K, 200)
    ids, scores = brute_force(*data, K)
    np.testing.assert_allclose(truth.least, scores[truth.targets, -1], atol=1e-12)
    assert module.recall(truth, ids[truth.targets], *data)[0] == 1
    again = module.truth_of(folder, K, 200)  # read
    np.testing.assert_array_equal(truth.targets, again.targets)
    # The best k by the sum, with the row itself among them, hold about what they must.
    found = np.argsort(-(data[0] @ data[0].T + data[1] @ data[1].T), axis=1)
    for factor, ceiling in zip(module.FACTORS, truth.ceilings, strict=True):
        kept = found[truth.targets, : round(K * factor)]
        hits = [len(set(a) & set(b)) for a, b in zip(kept, ids[truth.targets], strict=True)]
        assert ceiling == pytest.approx(np.mean(hits) / K)


def test_recall_counts_each_pair_once_and_no_wrong_one(
    bench: Any, data: tuple[np.ndarray, ...]
) -> None:
    module = bench("scale_truth")
    truth = module.solve(*data, K, 100)
    ids = brute_force(*data, K)[0][truth.targets]
    half = ids.copy()
    half[:, K // 2 :] = half[:, :1]  # one of them again and again
    assert module.recall(truth, half, *data)[0] == pytest.approx(0.5)
    half[:, K // 2 :] = -1
    assert module.recall(truth, half, *data)[0] == pytest.approx(0.5)
    half[:, K // 2 :] = truth.targets[:, None]
    mean, low, high = module.recall(truth, half, *data)
    assert low <= mean <= high and mean == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("name", "package", "least"),
    [
        ("helip-partition", "helip", 0.9),
        ("helip-hnsw", "helip", 0.9),
        ("helip-exact", "helip", 1.0),
        ("faiss-ivf", "faiss", 0.95),
        ("faiss-sq8", "faiss", 0.95),
        ("faiss-hnsw", "faiss", 0.95),
        ("hnswlib", "hnswlib", 0.95),
        ("usearch-bf16", "usearch", 0.95),
        ("usearch-i8", "usearch", 0.9),
        ("scann", "scann", 0.9),
        pytest.param("pynndescent", "pynndescent", 0.95, marks=pytest.mark.slow),
        pytest.param("pynndescent-product", "pynndescent", 0.95, marks=pytest.mark.slow),
    ],
)
def test_a_side_finds_the_hard_pairs_and_their_scores(
    bench: Any, data: tuple[np.ndarray, ...], name: str, package: str, least: float
) -> None:
    pytest.importorskip(package)
    kind = bench("scale_sides").SIDES[name]
    side = kind(*data, k=K, wide=2 * K, threads=2)
    side.build(side.efforts()[-1])
    targets = np.arange(0, ROWS, 3) if side.linear else np.arange(ROWS)
    ids, scores = side.solve(side.levels()[-1], targets)
    assert ids.shape == scores.shape == (len(targets), K)
    expected, by_score = brute_force(*data, K)
    hits = [len(set(a) & set(b)) for a, b in zip(ids, expected[targets], strict=True)]
    assert np.mean(hits) / K >= least
    found = (np.sort(ids) == np.sort(expected[targets])).all(axis=1)
    assert found.any()
    np.testing.assert_allclose(scores[found], by_score[targets][found], atol=1e-5)


def test_a_part_of_the_targets_holds_the_sample(bench: Any) -> None:
    draw = bench("scale").measured_targets
    sample = np.arange(7, 10_000, 10)
    targets = draw(10_000, 0.3, sample)
    assert len(targets) == 3000 and (np.diff(targets) > 0).all()
    assert np.isin(sample, targets).all()
    np.testing.assert_array_equal(targets, draw(10_000, 0.3, sample))
    np.testing.assert_array_equal(draw(10_000, 1.0, sample), np.arange(10_000))


def test_time_at_equal_recall_lies_between_the_best_points(bench: Any) -> None:
    at = bench("scale").seconds_at
    points = [
        {"recall": recall, "seconds": seconds}
        for recall, seconds in ((0.8, 10.0), (0.9, 20.0), (0.85, 30.0), (0.99, 80.0))
    ]
    assert at(points, 0.5) == 10 and at(points, 0.8) == 10
    assert 10 < at(points, 0.85) < 20  # the dear point counts for nothing
    assert at(points, 0.9) == pytest.approx(20) and at(points, 0.99) == pytest.approx(80)
    assert at(points, 0.995) is None and at([], 0.5) is None


def test_ratios_and_goals_say_what_was_measured(bench: Any) -> None:
    scale = bench("scale")

    def run(*points: tuple[str, float, float]) -> dict[str, Any]:
        return {
            "points": [
                {"level": level, "recall": recall, "seconds": seconds, "extra_mb": 1.0}
                for level, recall, seconds in points
            ],
            "ended": "",
        }

    runs = {
        "helip-partition": [run(("0.9", 0.9, 1.0), ("0.95", 0.96, 2.0)) for _ in range(2)],
        "faiss-ivf": [run(("1", 0.8, 4.0), ("2", 0.96, 8.0)), run(("2", 0.96, 12.0))],
        "hnswlib": [run(("64/100", 0.93, 3.0))],
    }
    cell = scale.summary(1000, runs)
    low, high = cell["over_helip"]
    assert high["sides"] == {"faiss-ivf": {"median": 5.0, "min": 4.0, "max": 6.0}}
    assert low["sides"]["hnswlib"]["median"] == 3.0 and low["short"] == {}
    assert high["short"] == {}  # hnswlib does not come to 0.95
    runs["hnswlib"] = [run(("64/100", 0.955, 3.0))]
    assert scale.ratios(runs)[1]["short"]["hnswlib"]["median"] == 1.5
    assert cell["sides"]["faiss-ivf"]["points"][1]["seconds"] == 10
    (goal,) = scale.goals(cell)
    assert "faiss-ivf with 5.00 times" in goal and goal.endswith("is met")


def test_a_child_is_watched_and_stopped(bench: Any) -> None:
    watch = bench("watch")
    if not watch.held():
        pytest.skip("no /proc")
    fill = "import time; x = bytearray(300_000_000); print('full', flush=True); time.sleep({})"
    watched = watch.Watched([sys.executable, "-c", fill.format(0.2)])
    assert list(watched.lines()) == ["full\n"]
    assert watched.ended == "" and watched.status == 0 and 3e8 < watched.most < 4e8
    watched = watch.Watched([sys.executable, "-c", fill.format(60)], memory=2e8)
    list(watched.lines())
    assert watched.ended == "took more than 0.2 GB"
    watched = watch.Watched([sys.executable, "-c", fill.format(60)], seconds=1)
    assert list(watched.lines()) == ["full\n"] and watched.ended == "took more than 1 s"


def test_a_picture_is_drawn_of_what_was_measured(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    plot = bench("plot_scale")
    points = [
        {"recall": recall, "seconds": seconds, "scaled": seconds > 5}
        for recall, seconds in ((0.8, 2.0), (0.97, 9.0), (1.0, 20.0))
    ]
    sides = {
        "helip-partition": {"points": points, "ended": ""},
        "scann": {"points": points[:1], "ended": "took more than 3 s"},
    }
    cells = {rows: {"rows": rows, "k": 50, "sides": sides} for rows in (1000, 2000)}
    plot.draw(cells, {"threads": 2, "dims": [8, 4]}, tmp_path / "scale.png")
    assert (tmp_path / "scale.png").stat().st_size > 10_000
    assert plot.unfinished(cells[1000]) == "stopped, more than 3 s: scann"
