"""The table of hard pairs in Python; the format itself is tested in tests/cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from helip import HardPairs
from helip.common.errors import CorruptError, InvalidArgumentError, StorageError

IDS = np.array([[1, 2, 3], [0, -1, -1], [-1, -1, -1], [2, 0, -1]], np.int32)
SCORES = np.array([[0.9, 0.8, 0.1], [0.7, 0, 0], [0, 0, 0], [0.5, 0.25, 0]], np.float32)


def table() -> HardPairs:
    return HardPairs.from_arrays(
        IDS,
        SCORES,
        fingerprint="store",
        data_fingerprint="keys",
        options={"method": "exact", "k": 3},
        report={"drops": {"image_duplicate": 2}, "pairs": 12},
    )


def test_a_saved_table_opens_as_it_was(tmp_path: Path) -> None:
    table().save(tmp_path / "p")
    pairs = HardPairs.open(tmp_path / "p")
    pairs.verify()
    np.testing.assert_array_equal(pairs.ids, IDS)
    np.testing.assert_array_equal(pairs.scores, SCORES)
    np.testing.assert_array_equal(pairs.counts, [3, 1, 0, 2])
    assert (pairs.fingerprint, pairs.data_fingerprint) == ("store", "keys")
    assert pairs.options == {"method": "exact", "k": 3}
    assert (len(pairs), pairs.k) == (4, 3)


def test_its_shards_open_with_the_safetensors_package(tmp_path: Path) -> None:
    table().save(tmp_path / "p")
    with safe_open(tmp_path / "p" / "shard-00000.safetensors", "np") as file:
        np.testing.assert_array_equal(file.get_tensor("ids"), IDS)
        np.testing.assert_array_equal(file.get_tensor("counts"), [3, 1, 0, 2])


def test_statistics_agree_with_numpy() -> None:
    stats = table().stats()
    valid = SCORES[IDS >= 0]
    assert stats["outliers"] == 1
    assert stats["short_targets"] == 3
    assert stats["pairs"] == 6  # not the 12 that mining decided on
    for q, value in stats["score_quantiles"]:
        assert value == pytest.approx(np.quantile(valid, q), rel=1e-6)
    degrees = np.bincount(IDS[IDS >= 0], minlength=4)
    assert stats["hubness"]["mean_in_degree"] == pytest.approx(degrees.mean())
    assert stats["hubness"]["max_in_degree"] == degrees.max()
    assert stats["hubness"]["hubs"] == [(0, 2), (2, 2), (1, 1), (3, 1)]
    assert stats["drops"] == {"image_duplicate": 2}


def test_the_reference_csv_goes_out_and_in(tmp_path: Path) -> None:
    table().to_csv(tmp_path / "pairs.csv")
    assert (tmp_path / "pairs.csv").read_text().splitlines() == [
        "target,h1,h2,h3",
        "0,1,2,3",
        "1,0",
        "3,2,0",
    ]
    pairs = HardPairs.from_csv(tmp_path / "pairs.csv", rows=4)
    np.testing.assert_array_equal(pairs.ids, IDS)
    np.testing.assert_array_equal(pairs.counts, [3, 1, 0, 2])
    assert (np.diff(pairs.scores[0]) < 0).all()


@pytest.mark.parametrize(
    ("text", "rows", "message"),
    [
        ("0,1\nx,2\n", None, "line 2"),
        ("0,1\n0,2\n", None, "target 0"),
        ("0,9\n", 4, "names row 9"),
        ("0,0\n", 4, "itself"),
    ],
)
def test_a_bad_csv_is_refused_with_its_line(
    tmp_path: Path, text: str, rows: int | None, message: str
) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(InvalidArgumentError, match=message):
        HardPairs.from_csv(tmp_path / "pairs.csv", rows=rows)


@pytest.mark.parametrize(
    ("rows", "bound"),
    [
        (-5, "at least 0"), (2**70, f"below {2**40}"), ("3", "a whole number"),
        (3.5, "a whole number"), (True, "a whole number"),
    ],
)  # fmt: skip
def test_a_number_of_rows_out_of_its_bound_is_refused(
    tmp_path: Path, rows: Any, bound: str
) -> None:
    (tmp_path / "pairs.csv").write_text("0,1\n")
    with pytest.raises(InvalidArgumentError, match=f"rows is {rows!r}, must be {bound}"):
        HardPairs.from_csv(tmp_path / "pairs.csv", rows=rows)
    three: Any = np.int32(3)
    assert len(HardPairs.from_csv(tmp_path / "pairs.csv", rows=three)) == 3


@pytest.mark.parametrize("path", ["", None, Path()], ids=repr)
@pytest.mark.parametrize("writer", ["to_csv", "to_parquet"])
def test_a_path_that_names_no_file_is_refused(
    writer: str, path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgumentError, match=r"^path is .*, must name the file that is to"):
        getattr(table(), writer)(path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("store", [None, 5])
def test_what_is_no_store_is_refused(store: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=f"store is {store}, must be an EmbeddingStore"):
        table().with_store(store)


@pytest.mark.parametrize(
    ("ids", "scores", "message"),
    [
        ([[1], [2]], [[0.5], [0.5]], "id 2"),
        ([[0], [0]], [[0.5], [0.5]], "target itself"),
        ([[1], [0]], [[np.nan], [0.5]], "finite"),
        ([[1], [0]], [[0.5]], "must agree"),
        ([[1.0], [0.0]], [[0.5], [0.5]], "int32 or int64"),
    ],
)
def test_arrays_that_are_no_table_are_refused(ids: list, scores: list, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        HardPairs.from_arrays(np.array(ids), np.array(scores, np.float32))


def test_damage_is_found_in_ids_at_open_and_elsewhere_by_verify(tmp_path: Path) -> None:
    table().save(tmp_path / "p")
    shard = tmp_path / "p" / "shard-00000.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:4096] + b"\x02" + whole[4097:])
    with pytest.raises(CorruptError, match="ids"):
        HardPairs.open(tmp_path / "p")
    with safe_open(tmp_path / "p" / "shard-00000.safetensors", "np") as file:
        assert "scores" in file.keys()  # noqa: SIM118
    shard.write_bytes(whole[:8192] + b"\x01" + whole[8193:])
    pairs = HardPairs.open(tmp_path / "p")
    with pytest.raises(CorruptError, match="scores"):
        pairs.verify()


def test_a_store_is_not_a_table(tmp_path: Path) -> None:
    from helip import EmbeddingStore

    with EmbeddingStore.create(tmp_path / "s", image_dim=1, text_dim=1):
        pass
    with pytest.raises(ValueError, match="embedding_store, not a helip"):
        HardPairs.open(tmp_path / "s")
    with pytest.raises(StorageError):
        HardPairs.open(tmp_path / "absent")
