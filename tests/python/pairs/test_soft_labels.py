"""label_pairs and SoftLabels: weights of pairs, against plain float64 loops."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

import helip
from helip.common.errors import CorruptError, InvalidArgumentError, MismatchError
from support.loader_samples import FakeData, random_pools, table_of

ROWS, K, DIM = 83, 6, 5
POOLS = random_pools(ROWS, K, seed=2)
TABLE = table_of(POOLS, K)
ZERO = 11  # a row that the teacher does not know


def store_of(path, image, text):
    keys = [f"key-{row}" for row in range(len(image))]
    with helip.EmbeddingStore.create(
        path, image_dim=image.shape[1], text_dim=text.shape[1], dtype="float32"
    ) as writer:
        writer.append(keys, image, text)
    return helip.EmbeddingStore.open(path)


def labelled(tmp_path, table=TABLE, **sources):
    return helip.label_pairs(table, out=tmp_path / "labels", progress=False, **sources)


def dense(weights, own):
    """[rows, rows] of {(row, other): weight} and own weights."""
    expected = np.zeros((ROWS, ROWS))
    for (row, other), weight in weights.items():
        expected[row, other] = weight
    expected[np.arange(ROWS), np.arange(ROWS)] = own
    return expected


def expected_of_teacher(image, text, temperature):
    weights, own = {}, np.ones(ROWS)
    for row, pool in enumerate(POOLS):

        def c(other, row=row):
            return 0.5 * (image[row] @ text[other] + text[row] @ image[other])

        others = [other for other, _ in pool if ZERO not in (row, other)]
        most = max([c(row), *map(c, others)])
        if row != ZERO:
            own[row] = np.exp((c(row) - most) / temperature)
        weights |= {(row, other): np.exp((c(other) - most) / temperature) for other in others}
    return weights, own


def test_a_teacher_gives_its_softmax_over_the_row_and_its_pool(tmp_path):
    random = np.random.default_rng(4)
    image, text = random.normal(size=(2, ROWS, DIM)).astype(np.float32)
    image[ZERO] = 0
    store = store_of(tmp_path / "store", image, text)
    image, text = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)
                   for x in (image.astype(np.float64), text.astype(np.float64)))  # fmt: skip
    table = helip.HardPairs.from_arrays(TABLE.ids, TABLE.scores, TABLE.counts)
    labels = labelled(tmp_path, table, teacher=store, temperature=0.3)
    weights, own = expected_of_teacher(image, text, 0.3)
    order = random.permutation(ROWS)
    found = labels.of(order).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, dense(weights, own)[np.ix_(order, order)], atol=2e-3)
    assert own.min() < 0.9
    assert labels.to_dict()["rows_below_one"] == (own < 1).sum()


def test_ones_own_weights_are_those_of_the_places_of_the_table(tmp_path):
    column = np.random.default_rng(5).random((ROWS, K)).astype(np.float32)
    np.save(tmp_path / "column.npy", column)
    weights = {
        (row, other): column[row, place]
        for row, pool in enumerate(POOLS)
        for place, (other, _) in enumerate(pool)
    }
    for number, given in enumerate((column, torch.from_numpy(column), tmp_path / "column.npy")):
        labels = labelled(tmp_path / str(number), weights=given)
        found = labels.of(np.arange(ROWS)).numpy()
        np.testing.assert_allclose(found, dense(weights, 1.0), atol=1e-3)
    # Of a batch, rows that are not in it have no part.
    few = labels.of([5, 70, 6])
    np.testing.assert_array_equal(few.numpy(), found[np.ix_([5, 70, 6], [5, 70, 6])])


def write_weights(path, entries):
    target, hard, weight = zip(*entries, strict=True)
    table = pa.table(
        {"target": target, "hard": hard, "weight": weight, "of": ["me"] * len(entries)}
    )
    pyarrow.parquet.write_table(table, path)
    return path


def test_later_sources_replace_earlier_ones(tmp_path):
    column = np.full((ROWS, K), 0.25, np.float32)
    a, b, c = (POOLS[0][place][0] for place in range(3))
    path = write_weights(
        tmp_path / "w.parquet", [(0, a, 0.5), (0, b, 0.75), (3, 3, 0.5), (80, 2, 1.0)]
    )
    with helip.Verdicts.open(tmp_path / "v", pairs=TABLE) as verdicts:
        verdicts.add(b, 0, "false negative", person="Ada")
        verdicts.add(b, 0, "keep", person="Bo")
        verdicts.add(b, 0, "unsure", person="Cy")
        verdicts.add(c, 0, "keep", person="Ada")
        verdicts.add(7, None, "mismatch", person="Ada")
        verdicts.add(8, None, "keep", person="Ada")
        of_file = labelled(tmp_path / "1", weights=path, verdicts=verdicts)
    found = of_file.of(np.arange(ROWS)).numpy()
    named = {(0, a): 0.5, (0, b): 0.5, (b, 0): 0.5, (80, 2): 1.0}
    own = np.ones(ROWS)
    own[[3, 7]] = 0.5, 0.0
    np.testing.assert_allclose(found, dense(named, own), atol=1e-3)
    both = labelled(tmp_path / "2", weights=column, verdicts=tmp_path / "v")
    found = both.of(np.arange(ROWS)).numpy()
    assert found[0, a] == 0.25
    assert found[0, b] == 0.5
    assert found[0, c] == 0.0
    assert found[7, 7] == 0.0
    assert both.to_dict()["sources"] == {"weights": column.size, "verdicts": 6}


def test_labels_are_checked_and_of_their_data(tmp_path):
    labels = labelled(tmp_path, weights=np.ones((ROWS, K)))
    labels.verify()
    assert helip.SoftLabels.open(labels.path).digest == labels.digest
    labels.require_data(FakeData(ROWS))
    for data in (FakeData(ROWS + 1), FakeData(ROWS, "b" * 32)):
        with pytest.raises(MismatchError, match="label the pairs of this one"):
            labels.require_data(data)
    with pytest.raises(InvalidArgumentError, match="row 83 of a batch is none of the 83"):
        labels.of([3, 83])
    assert labels.of([]).shape == (0, 0)
    cut = tmp_path / "cut"
    shutil.copytree(labels.path, cut)
    with (cut / "weights.npy").open("r+b") as file:
        file.truncate(200)
    with pytest.raises(CorruptError, match=r"in place of .* label the pairs again"):
        helip.SoftLabels.open(cut)
    damaged = tmp_path / "damaged"
    shutil.copytree(labels.path, damaged)
    with (damaged / "own.npy").open("r+b") as file:
        file.seek(130)
        file.write(b"\x01")
    with pytest.raises(CorruptError, match=r"own\.npy is damaged"):
        helip.SoftLabels.open(damaged).verify()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give teacher, weights or verdicts"),
        (
            {"weights": np.ones((ROWS, K - 1))},
            r"weights are float64 \(83, 5\), must be .*\(83, 6\)",
        ),
        ({"weights": np.full((ROWS, K), 1.5)}, r"weight of the pair \(0, \d+\) is 1.5, must be in"),
        ({"weights": np.full((ROWS, K), np.nan)}, "is nan, must be in 0 .. 1"),
        ({"weights": [(1, 2, 0.5), (1, 2, 0.5)]}, r"has the pair \(1, 2\) twice"),
        ({"weights": [(1, 83, 0.5)]}, "hard of .* has the rows 83 to 83, must be rows of the data"),
        ({"weights": [(1, 2, "x")]}, "weight of .* has string with 0 nulls, must be numbers in 0"),
        ({"weights": [(1, None, 0.5)]}, "hard of .* has null with 1 nulls, must be rows of"),
        ({"weights": [(1, 2, -0.5)]}, r"weight of the pair \(1, 2\) is -0.5"),
        ({"teacher": (5, 4)}, "pictures of 5 dimensions and captions of 4, which are not in one"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_left(tmp_path, given, message):
    given = dict(given)
    if isinstance(given.get("weights"), list):
        given["weights"] = write_weights(tmp_path / "w.parquet", given["weights"])
    if "teacher" in given:
        given["teacher"] = store_of(
            tmp_path / "s", *(np.ones((ROWS, d), np.float32) for d in given["teacher"])
        )
    with pytest.raises(InvalidArgumentError, match=message):
        labelled(tmp_path, **given)
    assert not (tmp_path / "labels").exists()


def test_a_teacher_of_other_data_is_refused(tmp_path):
    store = store_of(tmp_path / "s", *np.ones((2, ROWS + 1, 3), np.float32))
    with pytest.raises(MismatchError, match="embed the data that was mined with the teacher"):
        labelled(tmp_path, teacher=store)


def test_of_pairs_is_what_the_matrix_has(tmp_path):
    labels = labelled(tmp_path, weights=np.random.default_rng(8).random((ROWS, K)))
    index = np.random.default_rng(9).permutation(ROWS)[:40]
    dense = labels.of(index).numpy()
    places, others = np.nonzero(~np.eye(40, dtype=bool))
    own, found = labels.of_pairs(index, places, others)
    np.testing.assert_array_equal(own, dense.diagonal())
    np.testing.assert_array_equal(found, dense[places, others])
    for wrong in ([3, 3], [0.5], np.ones(2, bool)):
        with pytest.raises(InvalidArgumentError, match="give whole numbers, each row once"):
            labels.of(wrong)
