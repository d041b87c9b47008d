"""Queries are mined in a corpus as docs/negatives.md states it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError
from support.negatives_reference import (
    check_negatives,
    equal_queries,
    mine_negatives_plainly,
    whole_rows,
)

Sides = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


def sides_of(queries: int, rows: int, seed: int = 0, **dims: int) -> Sides:
    """Rows of both lie in the same groups; some are zero, some stand twice."""
    rng = np.random.default_rng(seed)
    sides: Sides = ({}, {})
    order = rng.permutation(queries + rows)
    for name, dim in dims.items():
        both = whole_rows(rng, queries + rows, dim)[order]
        both[rng.integers(0, len(both), len(both) // 50)] = 0
        sides[0][name], sides[1][name] = both[:queries], both[queries:]
        sides[1][name][1::7] = sides[1][name][::7][: len(sides[1][name][1::7])]
    return sides


def close_positives(sides: Sides, each: int) -> list[list[int]]:
    """The rows closest to each query by the first modality, so that they would be mined."""
    name = next(iter(sides[0]))
    return np.argsort(-(sides[0][name] @ sides[1][name].T), axis=1)[:, :each].tolist()


def mined(sides: Sides, **options: Any) -> helip.HardNegatives:
    left, right = (tuple(side.values()) for side in sides)
    pair = (left, right) if len(left) == 2 else (left[0], right[0])
    found = helip.mine(queries=pair[0], corpus=pair[1], progress=False, **options)
    assert isinstance(found, helip.HardNegatives)
    return found


def stores_of(sides: Sides, folder: Path) -> dict[str, helip.EmbeddingStore]:
    stores = {}
    for name, side in zip(("queries", "corpus"), sides, strict=True):
        dims = {f"{of}_dim": rows.shape[1] for of, rows in side.items()}
        keys = [f"{name[0]}{row}" for row in range(len(side["image"]))]
        with helip.EmbeddingStore.create(folder / name, **dims) as writer:
            writer.append(keys, side["image"], side["text"])
        stores[name] = helip.EmbeddingStore.open(folder / name)
    return stores


@pytest.mark.parametrize("few", [True, False])  # all pairs are scored, or pass filters first
@pytest.mark.parametrize("dims", [{"image": 20, "text": 33}, {"text": 70}])
def test_each_query_has_the_best_rows_that_do_not_belong_to_it(
    few: bool, dims: dict[str, int]
) -> None:
    sides = sides_of(*((9, 40) if few else (200, 3000)), **dims)
    positives = close_positives(sides, 2)
    for options in (
        {"k": 10},
        {"k": 10, "skip": 2, "min_score": 0.3, "positives": positives},
        {"k": 4, "relative_margin": 0.1, "positives": positives, "text_max": 0.9},
        {"k": 4, "positives": positives, "collapse": "text", "text_max": 0.9, "memory": 1},
        {"k": 4, "positives": positives, "image_max": 1.0, "text_max": 1.0, "signed": True},
    ):
        wanted = mine_negatives_plainly(
            *sides, **{name: value for name, value in options.items() if name != "memory"}
        )
        check_negatives(mined(sides, **options), wanted)


@pytest.mark.parametrize("modality", ["both", "text"])
def test_equal_queries_share_their_positives(tmp_path: Path, modality: str) -> None:
    sides = sides_of(200, 3000, image=20, text=33)
    for rows in sides[0].values():
        rows[120:180] = rows[:60]
        rows[190:] = rows[:10] * (1 + 1e-6 * np.random.default_rng(1).normal(size=rows[:10].shape))
    # Each has a row of its own, which another that is equal would have among its first.
    each = [0] * 120 + [1] * 60 + [2] * 20
    positives = [own[n : n + 1] for own, n in zip(close_positives(sides, 3), each, strict=True)]
    if modality == "text":
        sides = ({"text": sides[0]["text"]}, {"text": sides[1]["text"]})
    equal = [group for group in equal_queries(sides[0]) if len(group) > 1]
    options: dict[str, Any] = {"k": 10, "positives": positives, "relative_margin": 0.02}
    found = mined(sides, **options)
    check_negatives(found, mine_negatives_plainly(*sides, **options))
    assert found.report["equal_queries"] == found.stats()["equal_queries"] == len(equal) > 100
    for group in equal:
        theirs = {row for query in group for row in positives[query]}
        assert not any(theirs & set(found[query].ids.tolist()) for query in group)
    # What they were mined with is what was given.
    texts = ([f"q{row}" for row in range(200)], [f"c{row}" for row in range(3000)])
    data = found.to_dataset(*texts, positives)
    assert set(zip(data["anchor"], data["positive"], strict=True)) <= {
        (f"q{query}", f"c{own[0]}") for query, own in enumerate(positives)
    }
    if modality == "both":
        stores = stores_of(sides, tmp_path)
        parts = helip.mine(**stores, **options, out=tmp_path / "n", parts=3, progress=False)
        np.testing.assert_array_equal(parts.ids, found.ids)
        assert parts.report["equal_queries"] == len(equal)
    assert "equal_queries" not in mined(sides, k=3).report


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_query_that_is_not_finite_is_named(value: float) -> None:
    sides = sides_of(20, 300, text=12)
    sides[0]["text"][7, 3] = value
    with pytest.raises(InvalidArgumentError, match=r"query text.* row 7"):
        mined(sides, k=3, positives=[[0]] * 20)


def test_parts_give_the_table_of_one_run(tmp_path: Path) -> None:
    sides = sides_of(300, 2000, image=8, text=12)
    options: dict[str, Any] = {
        **stores_of(sides, tmp_path), "k": 6, "positives": close_positives(sides, 1),
        "relative_margin": 0.02, "progress": False,
    }  # fmt: skip
    whole = helip.mine(**options, out=tmp_path / "whole")
    by_keys = {f"q{row}": f"c{own[0]}" for row, own in enumerate(options["positives"])}
    tables = [
        helip.mine(**options, out=tmp_path / "parts", parts=4),
        helip.mine(**{**options, "positives": by_keys}, out=tmp_path / "keys"),
    ]
    for index in (2, 1, 3):
        part = helip.mine(**options, out=tmp_path / "by" / str(index), part=(index, 3))
        assert isinstance(part, helip.HardPairsPart) and part.rows == 300
    tables.append(helip.merge([tmp_path / "by" / str(i) for i in (3, 1, 2)]))
    for table in tables:
        assert isinstance(table, helip.HardNegatives)
        np.testing.assert_array_equal(table.ids, whole.ids)
        np.testing.assert_array_equal(table.scores, whole.scores)
        assert table.options == whole.options and table.report["drops"] == whole.report["drops"]

    again = helip.mine(**options, out=tmp_path / "whole")
    assert again.path == whole.path  # it is the answer
    for other, said in (
        ({"k": 7}, "k 6, now 7"),
        ({"positives": [[0]] * 300}, "positives '"),
        ({"relative_margin": None}, "relative_margin 0.02, now None"),
        ({"corpus": options["queries"], "positives": [[0]] * 300}, "corpus "),
    ):
        with pytest.raises(MismatchError, match=said):
            helip.mine(**{**options, **other}, out=tmp_path / "whole")
    with pytest.raises(MismatchError, match="belongs to another job"):
        helip.mine(**{**options, "k": 7}, out=tmp_path / "by" / "1", part=(1, 3))


def test_an_interrupted_job_goes_on_with_its_parts(tmp_path: Path) -> None:
    sides = sides_of(300, 2000, image=8, text=12)
    options: dict[str, Any] = {**stores_of(sides, tmp_path), "k": 6, "progress": False}
    whole = helip.mine(**options)
    seen: list[int] = []

    def stop_late(stage: str, done: int, total: int) -> bool:
        seen.append(done)
        return (tmp_path / "n.parts" / "part-00002-of-00003").exists() is False

    with pytest.raises(helip.CancelledError):
        helip.mine(**options, out=tmp_path / "n", parts=3, on_progress=stop_late)
    done = helip.mine(**options, out=tmp_path / "n")  # with the parts that were begun
    assert not (tmp_path / "n.parts").exists()
    np.testing.assert_array_equal(done.ids, whole.ids)


def test_clusters_find_what_they_say_they_find() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((400, 64))
    rows = centres[rng.integers(0, 400, 42_000)] + 0.9 * rng.standard_normal((42_000, 64))
    sides: Sides = ({"text": rows[:2000]}, {"text": rows[2000:]})
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    positives = (units[:2000] @ units[2000:].T).argmax(axis=1)
    options: dict[str, Any] = {"k": 10, "positives": positives, "relative_margin": 0.0}
    exact = mined(sides, **options)
    found = mined(sides, method="partition", **options)
    report = found.report
    assert 0 < report["partition"]["met"] < 0.5 and not report["partition"]["exact"]
    reached = found.scores >= exact.scores[np.arange(2000), exact.counts - 1][:, None]
    recall = (reached & (found.ids >= 0)).sum() / exact.counts.sum()
    assert report["recall"]["low"] >= 0.95
    assert report["recall"]["low"] - 0.02 <= recall <= report["recall"]["high"] + 0.02
    # No wrong pair: each has the score that it has exactly, and none belongs to its query.
    some = units[2000:][found.ids[:50]]
    np.testing.assert_allclose(
        found.scores[:50], np.einsum("qd,qkd->qk", units[:50], some), atol=1e-6
    )
    assert not (found.ids == positives[:, None]).any()


def test_what_cannot_be_mined_is_refused() -> None:
    queries, corpus = np.eye(3, 4), np.eye(5, 4)
    given: dict[str, Any] = {"queries": queries, "corpus": corpus, "progress": False}
    for options, said in (
        ({"corpus": None}, "corpus is missing, and queries is given"),
        ({"queries": None}, "queries is missing, and corpus is given"),
        ({"corpus": np.eye(5, 3)}, "queries have 4 dimensions, those of the corpus 3"),
        ({"corpus": np.full((5, 4), np.nan)}, "corpus text embedding of row 0 holds a NaN"),
        ({"queries": np.full((5, 4), np.inf)}, "query text embedding of row 0 holds a NaN"),
        ({"queries": np.zeros((0, 4))}, "there are 0 queries and 5 rows of a corpus"),
        ({"corpus": np.zeros((0, 4))}, "there are 3 queries and 0 rows of a corpus"),
        ({"positives": [[1], [5], [0]]}, r"query 1 has the positive 5, but the corpus has rows 0"),
        ({"positives": [[1], [], [0]]}, "query 1 has no positive; give it one"),
        ({"positives": [1, 2]}, "positives are of 2 queries, and there are 3"),
        ({"relative_margin": 0.1}, "but there are no positives that it could be held against"),
        ({"positives": [1, 2, 0], "relative_margin": 1.5}, "relative_margin is 1.5"),
        ({"margin": 0.1}, "margin is 0.1, which mining queries in a corpus does not take"),
        ({"image": corpus}, "image is given, which mining queries in a corpus does not take"),
        ({"queries": (queries, queries)}, "corpus is one matrix, and the other has images and"),
        ({"queries": (queries,), "corpus": (corpus, corpus)}, "queries is a tuple of 1"),
        ({"image_max": 0.5}, "image_max is 0.5 and collapse is 'none', and a matrix alone counts"),
        ({"collapse": "image"}, "name the modality, modality='image', or give text_max"),
        ({"parts": 2, "out": "x"}, "bare arrays have no fingerprint by which parts could be told"),
        ({"part": (1, 2)}, "part needs a directory to write the part to"),
        ({"engine": "ray"}, "engine is 'ray', which reads stores of queries and corpus"),
    ):
        with pytest.raises(InvalidArgumentError, match=said):
            helip.mine(**{**given, **options})
    for options, said in (
        ({"method": "hnsw"}, "method is 'hnsw', which mines pairs of one data set"),
        ({"device": "cuda"}, "device is 'cuda'; queries are mined on the CPU"),
        ({"engine": "local"}, "engine is 'local', which mines partition in stages"),
    ):
        with pytest.raises(UnsupportedError, match=said):
            helip.mine(**given, **options)
    with pytest.raises(InvalidArgumentError, match="positives is given without queries"):
        helip.mine(image=corpus, text=corpus, positives=[1])


def test_positives_that_were_not_embedded_set_no_margin() -> None:
    corpus = np.float32([[1, 0.1], [0.9, 0.3], [0, 0], [0.5, 1]])
    found = helip.mine(
        queries=np.float32([[1, 0]]), corpus=corpus, positives=[[2]], relative_margin=0.05, k=3,
        text_max=1.0, progress=False,
    )  # fmt: skip
    assert found.ids[0].tolist() == [0, 1, 3]
