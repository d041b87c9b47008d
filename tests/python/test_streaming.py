"""Streaming: a rolling memory against float64, a table that grows, batches and runs from it."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

import helip
from helip import _core
from helip.checkpoint import list_checkpoints, read_checkpoint
from helip.data import Dataset
from helip.errors import CancelledError, CorruptError, InvalidArgumentError, MismatchError
from helip.loader import HardPairLoader
from helip.metrics import read_metrics
from helip.models import create_model
from helip.pairs_growing import GrowingPairs, Pools
from helip.streaming import StreamingMiner
from helip.train_loop import Trainer
from mining_reference import mine_plainly

ROWS = 60
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def whole_rows(rows: int = ROWS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of small whole numbers, in clusters: every dtype holds them, every sum is exact."""
    random = np.random.default_rng(seed)
    parts = []
    for dim in (19, 33):
        centres = random.integers(-60, 60, (6, dim))
        parts.append(centres[np.arange(rows) % 6] + random.integers(-30, 31, (rows, dim)))
    image, text = (part.astype(np.float32) for part in parts)
    if rows > 24:
        image[7] = 0  # an outlier
        image[24], text[24] = 2 * image[18], 3 * text[18]  # a near duplicate, but for its length
    return image, text


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


@pytest.mark.parametrize("memory", [1, 8, 9, 25, 500])
@pytest.mark.parametrize(
    "options", [{}, {"signed": True}, {"image_max": 0.7, "text_max": 1.0, "min_score": 0.2}]
)
def test_a_batch_gets_the_pools_of_a_float64_reference_over_the_rows_that_came_last(
    memory, options
):
    image, text = whole_rows()
    miner = StreamingMiner(memory=memory, k=4, **options)
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
        ({"memory": 2.5}, "memory is 2.5; it must be a whole number"),
        ({"k": 0}, "k is 0"),
        ({"k": True}, "k is True"),
        ({"image_max": float("nan")}, "image_max"),
        ({"min_score": -1}, "min_score"),
        ({"image_dim": 0}, "image_dim is 0"),
        ({"text_dim": 0}, "text_dim is 0"),
        ({"threads": -1}, "threads is -1"),
        ({"rows": -1}, "-1 rows"),
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
    table = miner.pairs.table(keys_fingerprint="f" * 32)
    np.testing.assert_array_equal(table.ids, pools.ids)
    assert table.keys_fingerprint == "f" * 32
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


# Batches of what is found meanwhile.


class Colours(Dataset):
    """Squares of noise, one for each row of whole_rows()."""

    def __init__(self, rows: int = ROWS) -> None:
        self._keys = [f"row-{row}" for row in range(rows)]

    @property
    def keys(self):
        return self._keys

    def _read_image(self, row: int) -> Image.Image:
        pixels = np.random.default_rng(row).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        return Image.fromarray(pixels)

    def _read_caption(self, row: int) -> str:
        return f"colour number {row}"


def loader_of(miner, **options) -> HardPairLoader:
    return HardPairLoader(Colours(), miner, **{"batch_size": 10, "seed": 3, **options})


def train_on(loader: HardPairLoader, miner: StreamingMiner, batches=None) -> list[tuple]:
    """Goes through an epoch, or through so many batches of it, as a training loop does."""
    image, text = whole_rows()
    seen = []
    iterator = iter(loader)
    while len(seen) != batches and (batch := next(iterator, None)) is not None:
        rows = batch["index"]
        miner.add(rows, image[rows], text[rows])
        seen.append((rows.tolist(), batch["target"].tolist()))
    return seen


def plan_ahead(epochs: int, ahead: int, **options) -> list[tuple]:
    """The batches, each planned when the one ``ahead`` + 1 before it was mined last."""
    image, text = whole_rows()
    miner = StreamingMiner(memory=30, rows=ROWS)
    sampler = _core.BatchSampler(miner.pairs._core, batch_size=10, seed=3, **options)
    seen = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        steps = sampler.batches_per_epoch
        plans = [sampler.batch(step) for step in range(min(ahead, steps))]
        for step in range(steps):
            if step + ahead < steps:
                plans.append(sampler.batch(step + ahead))
            rows, target = plans[step]
            miner.add(rows, image[rows], text[rows])
            seen.append((rows.tolist(), target.tolist()))
    return seen


@pytest.mark.parametrize(("workers", "ahead"), [(0, 0), (2, 4)])
@pytest.mark.parametrize("short", ["skip", "random"])
def test_a_batch_is_drawn_from_what_was_found_when_it_was_planned(workers, ahead, short):
    miner = StreamingMiner(memory=30)
    loader = loader_of(miner, workers=workers, short=short)
    seen = train_on(loader, miner) + train_on(loader, miner)
    assert seen == plan_ahead(2, ahead, short_policy=short)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_row_is_a_target_once_an_epoch_and_plain_ones_are_counted(workers):
    miner = StreamingMiner(memory=30)
    loader = loader_of(miner, workers=workers)
    for epoch in range(3):
        seen = train_on(loader, miner)
        targets = [
            row for rows, target in seen for place, row in enumerate(rows) if target[place] == place
        ]
        assert sorted(targets) == list(range(ROWS))
        assert len(seen) == len(loader)
        stats = loader.stats()
        assert stats["targets"] == ROWS
        assert stats["emitted"] == stats["targets"] + stats["hard_pairs"]
        assert stats["hard_pairs"] + stats["unfilled"] == ROWS
        # Nothing is known of a row that was never seen; of the outlier, nothing ever.
        assert stats["plain_targets"] == (ROWS if epoch == 0 else 1)
    assert stats["hard_pairs"] > ROWS / 2


def test_random_rows_are_seen_before_they_are_targets():
    miner = StreamingMiner(memory=30)
    loader = loader_of(miner, short="random")
    train_on(loader, miner)
    stats = loader.stats()
    assert 10 < stats["plain_targets"] < ROWS
    assert stats["hard_pairs"] > 0


def test_hard_pairs_come_from_the_pools_of_their_targets():
    miner = StreamingMiner(memory=30)
    loader = loader_of(miner, hard_per_target=2)
    image, text = whole_rows()
    served = 0
    for batch in itertools.chain(loader, loader):
        rows = batch["index"].numpy()
        pools = miner.pairs.pools(rows)
        for place, target in enumerate(batch["target"].tolist()):
            if place != target:
                assert rows[place] in pools.ids[target]
                served += 1
        miner.add(rows, image[rows], text[rows])
    assert served == loader.stats()["hard_pairs"] > 0


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cut", [1, 5, 11, 12, 14])
def test_a_loader_resumes_with_the_batches_it_would_have_given(workers, cut):
    options = {"workers": workers, "short": "random"}
    miner = StreamingMiner(memory=30)
    loader = loader_of(miner, **options)
    whole = train_on(loader, miner) + train_on(loader, miner)
    assert len(loader) == 12

    miner = StreamingMiner(memory=30)
    first = loader_of(miner, **options)
    seen = train_on(first, miner, min(cut, 12))
    if cut > 12:
        seen += train_on(first, miner, cut - 12)
    state = json.loads(json.dumps(first.state_dict()))
    resumed = StreamingMiner(memory=30)
    second = loader_of(resumed, **options)
    resumed.load_state_dict(miner.state_dict())
    second.load_state_dict(state)
    assert second.state_dict() == state
    while len(seen) < 24:
        seen += train_on(second, resumed)
    assert seen == whole
    assert second.stats() == loader.stats()


def test_a_state_serves_another_number_of_workers_and_misses_nothing():
    miner = StreamingMiner(memory=30)
    first = loader_of(miner, workers=2)
    seen = train_on(first, miner, 3)
    second = loader_of(miner, workers=0)
    second.load_state_dict(first.state_dict())
    seen += train_on(second, miner)
    targets = [r for rows, target in seen for p, r in enumerate(rows) if target[p] == p]
    assert sorted(targets) == list(range(ROWS))


def test_an_iteration_that_begins_again_has_the_plans_of_its_place():
    miner = StreamingMiner(memory=30)
    first = loader_of(miner, workers=2)
    train_on(first, miner, 3)
    state = first.state_dict()
    assert [plan["step"] for plan in state["plans"]] == [3, 4, 5, 6]
    second = loader_of(miner, workers=2)
    second.load_state_dict(state)
    train_on(second, miner, 2)
    assert [plan["step"] for plan in second.state_dict()["plans"]] == [5, 6, 7, 8]
    iter(second)
    assert second.state_dict() == state


def test_a_miner_serves_one_data_set():
    miner = StreamingMiner()
    assert miner.pairs is None
    loader_of(miner)
    assert len(miner.pairs) == ROWS
    loader_of(miner), loader_of(miner.pairs)
    with pytest.raises(MismatchError, match="collects pairs of 60 rows, the data set has 61"):
        HardPairLoader(Colours(61), miner)
    with pytest.raises(MismatchError, match="60 rows"):
        HardPairLoader(Colours(61), miner.pairs)
    with pytest.raises(InvalidArgumentError, match="not found yet"):
        loader_of(miner, short="error")


# Runs.


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny models gain nothing from threads, and wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(out, **options):
    options.setdefault("model", create_model("tiny", config=CONFIG, seed=3))
    options.setdefault("pairs", StreamingMiner(memory=40, k=5, image_max=1.0, text_max=1.0))
    defaults = {"batch_size": 12, "device": "cpu", "progress": False, "lr": 1e-3, "epochs": 2}
    return helip.train(data=Colours(), out=out, **{**defaults, **options})


def frozen(batch):
    """Embeddings of encoders that are not trained."""
    image, text = whole_rows()
    return torch.from_numpy(image[batch["index"]]), text[batch["index"]]


def same_weights(one, other) -> bool:
    left, right = one.model.model.state_dict(), other.model.model.state_dict()
    return all(torch.equal(value, right[name]) for name, value in left.items())


@pytest.mark.parametrize("embed", [None, frozen])
def test_a_run_mines_while_it_trains_and_tells_what_it_knows(tmp_path, embed):
    miner = StreamingMiner(memory=40, k=5, image_max=1.0, text_max=1.0)
    result = run(tmp_path, pairs=miner, embed=embed)
    assert result.steps == 20
    rows = read_metrics(tmp_path / "metrics.jsonl")
    for row in rows:
        assert row["mining_seconds"] >= 0
    known = [row["known_targets"] for row in rows]
    assert known == sorted(known) and known[-1] == miner.pairs.known > ROWS / 2
    assert rows[-1]["mean_pool"] == miner.pairs.mean_pool > 1
    assert [row["plain_targets"] for row in rows[:10]] == sorted(
        row["plain_targets"] for row in rows[:10]
    )
    assert rows[9]["plain_targets"] > rows[-1]["plain_targets"]  # of the first, the second epoch
    assert rows[0]["margin"] == 0 < max(row["margin"] for row in rows)
    assert result.loader_stats["hard_pairs"] > 0
    assert len(miner) == 40
    wide = miner.state_dict()["image"].shape[1]
    assert wide == (16 if embed is None else 19)


def test_frozen_embeddings_find_what_mining_them_finds(tmp_path):
    miner = StreamingMiner(memory=ROWS, k=5)
    run(tmp_path, pairs=miner, embed=frozen, epochs=2)
    image, text = whole_rows()
    table = helip.mine(image=image, text=text, k=5, device="cpu", progress=False)
    # Sorted, for two scores may be one in float32.
    found = miner.pairs.pools(range(ROWS)).ids
    np.testing.assert_array_equal(np.sort(found), np.sort(table.ids))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("step", [4, 10, 13])  # in the first epoch, at its end, in the second
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, step, workers):
    calls = iter(range(1, 100))
    miners = [StreamingMiner(memory=40, image_max=1.0, text_max=1.0) for _ in range(3)]
    whole = run(tmp_path / "whole", pairs=miners[0], workers=workers)
    with pytest.raises(CancelledError, match=f"stopped after step {step} of 20"):
        run(
            tmp_path / "cut",
            pairs=miners[1],
            workers=workers,
            should_stop=lambda: next(calls) == step,
        )
    resumed = run(tmp_path / "cut", pairs=miners[2], workers=workers)
    assert resumed.resumed_from == step
    assert same_weights(resumed, whole)
    assert resumed.loader_stats == whole.loader_stats
    for name, value in miners[0].state_dict().items():
        assert value.tobytes() == miners[2].state_dict()[name].tobytes(), name


def test_the_state_of_the_miner_is_a_file_of_the_checkpoint_and_damage_is_found(tmp_path):
    miner = StreamingMiner(memory=40)
    run(tmp_path, pairs=miner, steps=5)
    path = list_checkpoints(tmp_path / "checkpoints")[0][1]
    saved = load_file(path / "streaming.safetensors")
    for name, value in miner.state_dict().items():
        assert value.tobytes() == saved[name].tobytes(), name
    content = bytearray((path / "streaming.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "streaming.safetensors").write_bytes(bytes(content))
    with pytest.raises(CorruptError, match=r"streaming.safetensors does not match"):
        read_checkpoint(path)


def test_a_run_is_not_resumed_with_another_miner(tmp_path):
    run(tmp_path, steps=2)
    with pytest.raises(MismatchError, match="streaming was"):
        run(tmp_path, steps=2, pairs=StreamingMiner(memory=41, k=5, image_max=1.0, text_max=1.0))
    with pytest.raises(MismatchError, match="streaming was"):
        run(tmp_path, steps=2, embed=frozen)
    with pytest.raises(MismatchError, match="streaming was"):
        run(tmp_path, steps=2, pairs=None)


def test_the_control_of_a_streaming_run_takes_as_many_steps_without_mining(tmp_path):
    miner = StreamingMiner(memory=40)
    result = run(tmp_path, pairs=miner, control=True)
    assert result.steps == 20
    assert result.loader_stats["hard_pairs"] == len(miner) == 0
    assert not list(tmp_path.glob("checkpoints/*/streaming.safetensors"))


def test_embed_without_a_miner_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="pairs is a NoneType"):
        run(tmp_path, pairs=None, embed=frozen)
    bundle = create_model("tiny", config=CONFIG, seed=3)
    with pytest.raises(InvalidArgumentError, match="pass miner="):
        Trainer(bundle, loader_of(StreamingMiner()), out=tmp_path, embed=frozen)


def test_a_trainer_with_a_loss_of_its_own_must_keep_the_features(tmp_path):
    class Own(Trainer):
        def compute_loss(self, batch):
            image, text, scale = self.model(batch["image"], batch["text"])
            return {**self.loss(image, text, scale, batch["target"]), "logit_scale": scale}

    bundle = create_model("tiny", config=CONFIG, seed=3)
    parts = {"transform": bundle.train_transform, "tokenizer": bundle.tokenizer}
    options = {"out": tmp_path, "device": "cpu", "progress": False, "steps": 2}
    miner = StreamingMiner()
    with pytest.raises(InvalidArgumentError, match="kept no features"):
        Own(bundle, loader_of(miner, **parts), miner=miner, **options).run()
    assert Own(bundle, loader_of(miner, **parts), miner=miner, embed=frozen, **options).run()
