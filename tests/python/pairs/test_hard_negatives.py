"""The table that mining of queries gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError

POSITIVES = [[0], [2, 1], [5]]
TEXTS = [f"document {row}" for row in range(6)]


@pytest.fixture(scope="module")
def negatives() -> helip.HardNegatives:
    rng = np.random.default_rng(0)
    found = helip.mine(
        queries=rng.random((3, 4)), corpus=rng.random((6, 4)), positives=POSITIVES, k=4,
        text_max=1.0, progress=False,
    )  # fmt: skip
    assert isinstance(found, helip.HardNegatives)
    return found


def test_a_table_is_what_it_was_when_it_was_saved(
    negatives: helip.HardNegatives, tmp_path: Path
) -> None:
    negatives.save(tmp_path / "n")
    opened = helip.HardNegatives.open(tmp_path / "n")
    opened.verify()
    assert len(opened) == 3 and opened.k == 4 and opened.corpus_rows == 6
    for name in ("ids", "scores", "counts"):
        np.testing.assert_array_equal(getattr(opened, name), getattr(negatives, name))
    assert opened.options == negatives.options and opened.report == negatives.report
    assert opened.options["corpus_rows"] == 6
    assert opened[1].ids.tolist() == negatives.ids[1, : negatives.counts[1]].tolist()
    assert opened.to_pandas()["hard"].tolist() == negatives.ids[negatives.ids >= 0].tolist()
    stats = opened.stats()
    assert stats["targets"] == 3 and stats["drops"] == negatives.report["drops"]
    assert stats["pairs"] == negatives.counts.sum()


def test_what_takes_hard_pairs_takes_no_hard_negatives(
    negatives: helip.HardNegatives, tmp_path: Path
) -> None:
    negatives.save(tmp_path / "n")
    with pytest.raises(MismatchError, match=r"is a helip\.hard_negatives, not a"):
        helip.HardPairs.open(tmp_path / "n")
    for use in (
        lambda: helip.BatchSampler(negatives, 2),
        lambda: helip.plan_batches(negatives, batch_size=2, epochs=1, out=tmp_path / "plan"),
        lambda: negatives.filter(max_score=0.5, by=None),
        lambda: negatives.to_csv(tmp_path / "csv"),
        lambda: negatives.with_store(tmp_path / "s"),
        lambda: helip.update(negatives, tmp_path / "s"),
    ):
        with pytest.raises(
            (UnsupportedError, InvalidArgumentError), match="hard negatives name rows of another"
        ):
            use()


def test_a_table_of_hard_negatives_is_mined_or_opened() -> None:
    for make in (
        helip.HardNegatives.from_arrays, helip.HardNegatives.from_csv,
        helip.HardNegatives.from_pretrained,
    ):  # fmt: skip
        with pytest.raises(UnsupportedError, match="a table of hard negatives comes"):
            make(None)


def test_a_data_set_has_each_positive_with_the_negatives_of_its_query(
    negatives: helip.HardNegatives,
) -> None:
    queries = ["a", "b", "c"]
    tuples = negatives.to_dataset(queries, TEXTS, POSITIVES, "n-tuple", num_negatives=2)
    assert tuples.column_names == ["anchor", "positive", "negative_1", "negative_2"]
    assert tuples["anchor"][:] == ["a", "b", "b", "c"]
    assert tuples["positive"][:] == [TEXTS[row] for row in (0, 2, 1, 5)]
    for place, query in enumerate((0, 1, 1, 2)):
        for rank in range(2):
            expected = TEXTS[negatives.ids[query, rank]]
            assert tuples[f"negative_{rank + 1}"][place] == expected

    triplets = negatives.to_dataset(queries, TEXTS, POSITIVES, num_negatives=1)
    assert triplets.column_names == ["anchor", "positive", "negative"]
    assert triplets["negative"][:] == tuples["negative_1"][:]

    with pytest.raises(InvalidArgumentError, match="corpus has 2 texts, and the table was mined"):
        negatives.to_dataset(queries, ["x", "y"], POSITIVES)
    with pytest.raises(InvalidArgumentError, match="num_negatives is 5, must be at most 4"):
        negatives.to_dataset(queries, TEXTS, POSITIVES, num_negatives=5)
    with pytest.raises(InvalidArgumentError, match="positives are missing"):
        negatives.to_dataset(queries, TEXTS, None)
    for others in ([[0], [2, 1], [4]], [[-1], [2, 1], [5]], negatives.ids[:, 0]):
        with pytest.raises(MismatchError, match="not those that the table was mined with"):
            negatives.to_dataset(queries, TEXTS, others)
    assert len(negatives.to_dataset(iter(queries), iter(TEXTS), [[0], [1, 2], [5]])) == len(
        negatives.to_dataset(queries, TEXTS, POSITIVES)
    )


def test_queries_without_enough_negatives_are_left_out_of_tuples() -> None:
    found = helip.mine(
        queries=np.float32([[1, 0.2], [0.1, 1]]), corpus=np.float32([[1, 0], [0, 1], [0.2, 1]]),
        positives=[[0], [1]], k=3, text_max=0.95, progress=False,
    )  # fmt: skip
    assert isinstance(found, helip.HardNegatives)
    assert found.counts.tolist() == [2, 1]
    both = found.to_dataset(["a", "b"], ["x", "y", "z"], [[0], [1]], "n-tuple", num_negatives=2)
    assert both["anchor"][:] == ["a"]
    three = found.to_dataset(["a", "b"], ["x", "y", "z"], [[0], [1]], num_negatives=2)
    assert three["anchor"][:] == ["a", "a", "b"]
