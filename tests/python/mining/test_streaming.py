"""StreamingMiner: a rolling memory against float64, its state, and a table that grows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import helip
from helip.common.errors import InvalidArgumentError, MismatchError
from helip.mining.streaming import StreamingMiner
from helip.pairs.blocks import Pools
from helip.pairs.growing_pairs import GrowingPairs
from support.mining_reference import mine_plainly
from support.streaming_samples import ROWS, whole_rows


class PlainMiner:
    """The rolling memory in plain Python, with the float64 miner of docs/method.md."""

    def __init__(self, memory: int, k: int, **options):
        self.memory, self.k, self.options = memory, k, options
        self.rows: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # from the oldest to the newest

    def add(self, ids, image, text):
        batch = {int(i): (a, b) for i, a, b in zip(ids, image, text, strict=True)}
        present = {**self.rows, **batch}
        order = np.array(sorted(present))
        rows = [np.stack([present[i][part] for i in order]) for part in (0, 1)]
        mined = mine_plainly(*rows, self.k, **self.options)
        at = np.searchsorted(order, ids)
        places = mined.ids[at]
        found = np.where(places >= 0, order[places], -1), mined.scores[at], mined.counts[at]
        for row, value in batch.items():
            self.rows.pop(row, None)
            self.rows[row] = value
        self.rows = dict(list(self.rows.items())[-self.memory :])
        return found


def batches(rows: int = ROWS, size: int = 9, count: int = 20, seed: int = 1) -> list[np.ndarray]:
    """Ids of batches in which rows come again and again."""
    random = np.random.default_rng(seed)
    return [random.choice(rows, size, replace=False) for _ in range(count)]


def check_same(found: Pools, wanted) -> None:
    ids, scores, counts = wanted
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_array_equal(found.scores, scores.astype(np.float32))


@pytest.mark.parametrize("search", ["scan", "hnsw"])
@pytest.mark.parametrize("memory", [1, 8, 9, 25, 500])
@pytest.mark.parametrize(
    "options", [{}, {"signed": True}, {"image_max": 0.7, "text_max": 1.0, "min_score": 0.2}]
)
def test_a_batch_gets_the_pools_of_a_float64_reference_over_the_rows_that_came_last(
    memory, options, search
):
    """Where little is remembered a graph finds all of it."""
    image, text = whole_rows()
    miner = StreamingMiner(memory=memory, k=4, search=search, **options)
    plain = PlainMiner(memory, 4, **options)
    for ids in batches():
        check_same(miner.add(ids, image[ids], text[ids]), plain.add(ids, image[ids], text[ids]))
        assert len(miner) == len(plain.rows) <= memory
    assert miner.state_dict()["ids"].tolist() == list(plain.rows)


def test_pools_come_in_the_form_of_the_rest_of_helip():
    image, text = whole_rows()
    found = StreamingMiner(k=70).add(range(ROWS), image, text)
    ids, scores, counts = found
    assert (ids.dtype, scores.dtype, counts.dtype) == (np.int64, np.float32, np.int32)
    assert ids.shape == scores.shape == (ROWS, 70)
    assert (ids[np.arange(70) >= counts[:, None]] == -1).all()
    assert (scores[np.arange(70) >= counts[:, None]] == 0).all()
    table = helip.mine(image=image, text=text, k=70, device="cpu", progress=False)
    np.testing.assert_array_equal(ids, table.ids)
    np.testing.assert_array_equal(scores, table.scores)


def test_threads_change_nothing():
    image, text = whole_rows(900)
    alone, shared = StreamingMiner(threads=1), StreamingMiner(threads=5)
    for ids in batches(900, 100, 12):
        for one, other in zip(
            alone.add(ids, image[ids], text[ids]), shared.add(ids, image[ids], text[ids]),
            strict=True,
        ):  # fmt: skip
            assert one.tobytes() == other.tobytes()


FORMS = {
    "float64": lambda a: a.astype(np.float64),
    "float16": lambda a: a.astype(np.float16),
    "int8": lambda a: a.astype(np.int8),
    "columns": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "tensor": torch.from_numpy,
    "float64 tensor": lambda a: torch.from_numpy(a).double(),
    "float16 tensor": lambda a: torch.from_numpy(a).half(),
    "bfloat16 tensor": lambda a: torch.from_numpy(a).bfloat16(),
    "int8 tensor": lambda a: torch.from_numpy(a).to(torch.int8),
    "transposed tensor": lambda a: torch.from_numpy(a.T.copy()).T,
    "tensor with a gradient": lambda a: torch.from_numpy(a).requires_grad_() * 1,
}


@pytest.mark.parametrize("form", FORMS)
def test_arrays_and_tensors_of_every_dtype_are_taken(form):
    image, text = whole_rows()
    image, text = np.clip(image, -127, 127), np.clip(text, -127, 127)
    image[24], text[24] = image[18], text[18]
    miner, plain = StreamingMiner(memory=30, k=5), PlainMiner(30, 5)
    for ids in batches(count=6):
        given = FORMS[form](image[ids]), FORMS[form](text[ids])
        check_same(miner.add(torch.from_numpy(ids), *given), plain.add(ids, image[ids], text[ids]))


def test_float64_of_any_size_and_float16_beside_float32_are_taken():
    image, text = whole_rows()
    ids = np.arange(ROWS)
    wanted = StreamingMiner().add(ids, image, text)
    tiny = StreamingMiner().add(ids, image.astype(np.float64) * 2.0**-900, text.astype(np.float16))
    for one, other in zip(wanted, tiny, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": 0}, "memory is 0"),
        ({"memory": 2**31}, "memory is 2147483648, but must lie in 1 .. 2147483647"),
        ({"memory": 2.5}, "memory is 2.5, must be a whole number"),
        ({"k": 0}, "k is 0"),
        ({"k": True}, "k is True"),
        ({"image_max": float("nan")}, "image_max"),
        ({"min_score": -1}, "min_score"),
        ({"image_dim": 0}, "image_dim is 0"),
        ({"text_dim": 0}, "text_dim is 0"),
        ({"threads": -1}, "threads is -1"),
        ({"rows": -1}, "rows is -1"),
        ({"search": "usearch"}, "search is 'usearch'.*'scan'.*'hnsw'"),
        ({"search": "hnsw", "text_dim": 65_537}, "text_dim of search hnsw is 65537"),
    ],
)
def test_options_out_of_bounds_are_refused_with_value_and_bound(options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        StreamingMiner(**options)


def broken(image: np.ndarray, row: int, value: float) -> np.ndarray:
    image = image.copy()
    image[row, 3] = value
    return image


IMAGE, TEXT = whole_rows(6)


@pytest.mark.parametrize(
    ("ids", "image", "text", "message"),
    [
        (range(6), broken(IMAGE, 4, np.nan), TEXT, r"image embedding of row 4 \(id 4\) .* NaN"),
        (range(6), IMAGE, broken(TEXT, 2, np.inf), r"text embedding of row 2 \(id 2\)"),
        ([0, 1, 2, 3, 4, 0], IMAGE, TEXT, "id 0 is twice in the batch"),
        ([0, 1, -7, 3, 4, 5], IMAGE, TEXT, "id -7 of row 2 is negative"),
        ([0, 1, 2, 3, 4, 99], IMAGE, TEXT, r"id 99 of row 5 is none of the rows 0 \.\. 59"),
        (range(5), IMAGE, TEXT, "5 ids for 6 rows"),
        ([0.5] * 6, IMAGE, TEXT, "ids are float64"),
        ([[0, 1, 2, 3, 4, 5]], IMAGE, TEXT, r"shape \(1, 6\)"),
        (range(6), IMAGE[:5], TEXT, "5"),
        (range(6), IMAGE[:, :8], TEXT, "8 dimensions, but the memory is of 19"),
        (range(6), IMAGE[0], TEXT, "image has shape"),
        (range(6), IMAGE.astype(complex), TEXT, "image has dtype complex128"),
        (range(6), list(IMAGE), TEXT, "image is a list"),
    ],
)
def test_a_batch_that_cannot_be_mined_is_refused_and_not_remembered(ids, image, text, message):
    miner = StreamingMiner(rows=ROWS, image_dim=19)
    with pytest.raises(InvalidArgumentError, match=message):
        miner.add(ids, image, text)
    assert len(miner) == 0
    assert miner.pairs.known == 0
    miner.add(range(6), IMAGE, TEXT)
    with pytest.raises(InvalidArgumentError, match=message):
        miner.add(ids, image, text)
    assert len(miner) == 6


def test_dimensions_are_those_of_the_first_batch_that_was_taken():
    miner = StreamingMiner()
    with pytest.raises(InvalidArgumentError):
        miner.add(range(6), broken(IMAGE, 0, np.nan)[:, :10], TEXT)
    miner.add(range(6), IMAGE, TEXT)
    with pytest.raises(InvalidArgumentError, match="make the miner with text_dim = 9"):
        miner.add(range(6), IMAGE, TEXT[:, :9])
    miner.forget()
    assert len(miner) == 0
    miner.add(range(6), IMAGE, TEXT)


def test_rows_are_remembered_without_mining():
    image, text = whole_rows()
    ids = np.arange(40)
    silent, mining = StreamingMiner(memory=30, rows=ROWS), StreamingMiner(memory=30)
    silent.remember(ids, torch.from_numpy(image[:40]), text[:40])
    mining.add(ids, image[:40], text[:40])
    assert (len(silent), silent.pairs.known) == (30, 0)
    for name, value in mining.state_dict().items():
        assert value.tobytes() == silent.state_dict()[name].tobytes(), name
    with pytest.raises(InvalidArgumentError, match="id 60 of row 0"):
        silent.remember([60], image[:1], text[:1])


def test_an_empty_batch_finds_nothing():
    miner = StreamingMiner(rows=ROWS)
    for _ in range(2):
        found = miner.add([], IMAGE[:0], TEXT[:0])
        assert found.ids.shape == (0, 20)
        miner.add(range(6), IMAGE, TEXT)
    assert len(miner) == 6


def fed(miner: StreamingMiner, ids_of_batches) -> list[Pools]:
    image, text = whole_rows()
    return [miner.add(ids, image[ids], text[ids]) for ids in ids_of_batches]


def same_pools(one: list[Pools], other: list[Pools]) -> bool:
    return all(
        a.tobytes() == b.tobytes()
        for left, right in zip(one, other, strict=True)
        for a, b in zip(left, right, strict=True)
    )


def test_a_state_goes_through_a_file_and_on_with_the_same_bytes(tmp_path):
    whole = StreamingMiner(memory=30, rows=ROWS)
    wanted = fed(whole, batches())[12:]
    first = StreamingMiner(memory=30, rows=ROWS)
    fed(first, batches()[:12])
    save_file(first.state_dict(), tmp_path / "state.safetensors")
    second = StreamingMiner(memory=30)
    second.load_state_dict(load_file(tmp_path / "state.safetensors"))
    assert same_pools(fed(second, batches()[12:]), wanted)
    for name, value in whole.state_dict().items():
        assert value.tobytes() == second.state_dict()[name].tobytes(), name


def test_a_state_takes_the_place_of_what_was_there():
    first = StreamingMiner(memory=30, rows=ROWS)
    fed(first, batches()[:4])
    second = StreamingMiner(memory=30, rows=ROWS)
    pairs = second.pairs
    fed(second, batches(seed=9))
    second.load_state_dict({k: torch.from_numpy(v) for k, v in first.state_dict().items()})
    assert second.pairs is pairs  # the one that loaders draw from
    for name, value in first.state_dict().items():
        assert value.tobytes() == second.state_dict()[name].tobytes(), name
    second.load_state_dict(StreamingMiner(rows=ROWS).state_dict())
    assert len(second) == pairs.known == 0


def test_with_less_memory_a_state_gives_its_newest_rows():
    first = StreamingMiner(memory=30)
    fed(first, batches())
    small = StreamingMiner(memory=10)
    small.load_state_dict(first.state_dict())
    assert small.state_dict()["ids"].tolist() == first.state_dict()["ids"].tolist()[-10:]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"ids": None}, InvalidArgumentError, "ids of the state is a NoneType"),
        ({"image": np.zeros((3, 2))}, InvalidArgumentError, "float64 .* must be float32"),
        ({"text": np.zeros((30, 2), np.float32)}, InvalidArgumentError, "2 dimensions"),
        ({"rows": np.array([61])}, MismatchError, "61 rows, this one has 60"),
        ({"pool_ids": np.full((1, 20), 5, np.int32)}, InvalidArgumentError, "ids and scores must"),
        ({"targets": None}, InvalidArgumentError, "targets of the state"),
    ],
)
def test_what_is_no_state_of_this_miner_is_refused_and_changes_nothing(change, error, message):
    miner = StreamingMiner(memory=30, rows=ROWS, text_dim=33)
    fed(miner, batches()[:5])
    before = miner.state_dict()
    other = StreamingMiner(memory=30, rows=ROWS)
    fed(other, batches()[:7])
    with pytest.raises(error, match=message):
        miner.load_state_dict({**other.state_dict(), **change})
    for name, value in before.items():
        assert value.tobytes() == miner.state_dict()[name].tobytes(), name


def test_what_is_found_is_offered_to_both_rows_and_the_best_stay():
    miner = StreamingMiner(memory=12, k=3, rows=ROWS)
    best: dict[int, dict[int, float]] = {row: {} for row in range(ROWS)}
    for ids, found in zip(batches(), fed(miner, batches()), strict=True):
        for target, pool, scores, count in zip(ids.tolist(), *found, strict=True):
            for row, score in zip(pool[:count].tolist(), scores[:count].tolist(), strict=True):
                for one, other in ((target, row), (row, target)):
                    best[one][other] = score
                    ranked = sorted(best[one].items(), key=lambda pair: (-pair[1], pair[0]))
                    best[one] = dict(ranked[:3])
    pools = miner.pairs.pools(range(ROWS))
    for row in range(ROWS):
        ranked = sorted(best[row].items(), key=lambda pair: (-pair[1], pair[0]))
        assert pools.ids[row, : pools.counts[row]].tolist() == [other for other, _ in ranked]
    known = [row for row in range(ROWS) if best[row]]
    assert miner.pairs.known == len(known)
    assert miner.pairs.mean_pool == pytest.approx(np.mean([len(best[row]) for row in known]))
    table = miner.pairs.table(data_fingerprint="f" * 32)
    np.testing.assert_array_equal(table.ids, pools.ids)
    assert table.data_fingerprint == "f" * 32
    assert table.options == {"method": "streaming", "k": 3}


def test_a_table_that_grows_takes_pools_of_any_miner_and_forgets():
    pairs = GrowingPairs(5, 2)
    scores = np.array([[0.5, 0.4]], dtype=np.float32)
    pairs.offer([1], Pools(np.array([[3, 4]]), scores, np.array([2], dtype=np.int32)))
    assert pairs.pools([4]).ids.tolist() == [[1, -1]]
    assert (len(pairs), pairs.k, pairs.known) == (5, 2, 3)
    with pytest.raises(InvalidArgumentError, match="row 9 is none of the rows"):
        pairs.offer([1], Pools(np.array([[9, 4]]), scores, np.array([2], dtype=np.int32)))
    pairs.clear()
    assert (pairs.known, pairs.mean_pool) == (0, 0)
