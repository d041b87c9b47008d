"""What hard pairs gain for small heads on rows held out."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helip
from helip.common.errors import InvalidArgumentError
from helip.data.dataset import Dataset
from helip.diagnosis import diagnosing, probe
from helip.diagnosis.advice import expected_gain
from helip.diagnosis.heads import FrozenFeatures, Heads, embedded_rows, found_of
from helip.diagnosis.probe import STUDENT, ProbeGain, probe_gain
from support.diagnosis_samples import ROWS, table, write_pictures, write_store

pytestmark = pytest.mark.usefixtures("one_thread")

CLUSTERS, EACH = 120, 10
N = CLUSTERS * EACH
#: So that a test takes seconds.
SMALL: dict[str, Any] = {"batch_size": 32, "window": 9, "seeds": 3, "rows_seen": 2000}


def grown(told: bool = True, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures, captions and pools of clusters whose rows differ by little; where nothing is
    ``told``, captions are those of other rows."""
    random = np.random.default_rng(seed)
    coarse = np.repeat(random.normal(size=(CLUSTERS, 16)), EACH, axis=0)
    latent = np.concatenate([coarse, 0.3 * random.normal(size=(N, 8))], axis=1)
    turned = [latent @ np.linalg.qr(random.normal(size=(24, 24)))[0] for _ in range(2)]
    image, text = (side + 0.05 * random.normal(size=side.shape) for side in turned)
    text = text if told else random.permutation(text)
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (image, text)]
    scores = (unit[0] @ unit[0].T) * (unit[1] @ unit[1].T)
    np.fill_diagonal(scores, -2)
    return image, text, np.argsort(-scores, axis=1)[:, :20]


@pytest.fixture(scope="module")
def fine() -> ProbeGain:
    return probe_gain(*grown(), **SMALL)


def test_rows_that_differ_by_little_promise_a_gain(fine: ProbeGain) -> None:
    found = fine.reciprocal_rank
    assert found.low > 0 and found.share is not None and found.share > 0.1
    assert found.difference == pytest.approx(found.hard_pairs - found.control)
    gain = expected_gain(fine)
    assert gain is not None and gain.word == "large"


def test_what_was_trained_and_measured_is_told(fine: ProbeGain) -> None:
    assert (fine.held_out, fine.rows) == (N // 5, N - N // 5)
    assert (fine.batch_size, fine.window, fine.community_rows, fine.seeds) == (32, 9, 8, 3)
    assert (fine.start_steps, fine.steps) == (30, 62)
    assert (fine.recall.candidates, fine.recall_held_out.candidates) == (N, N // 5)
    assert fine.recall_held_out.control > fine.recall.control
    assert fine.seconds > 0


def test_captions_that_tell_nothing_of_their_picture_promise_nothing() -> None:
    found = probe_gain(*grown(told=False), **SMALL)
    assert found.recall.hard_pairs < 0.01
    gain = expected_gain(found)
    assert gain is not None and gain.word == "none" and "next to nothing" in gain.why


def test_the_same_seed_gives_the_same_and_another_seed_another() -> None:
    few = SMALL | {"rows_seen": 300}
    image, text, pools = grown()
    torch.manual_seed(5)
    first = probe_gain(image, text, pools, **few)
    torch.manual_seed(6)
    drawn = torch.rand(1)
    torch.manual_seed(6)
    # Tensors, other lengths and a type that holds these numbers make no difference.
    halves = [torch.from_numpy(2 * side) for side in (image, text)]
    assert probe_gain(*halves, pools.astype(np.int32), **few) == first
    assert torch.rand(1) == drawn  # what the caller draws stays as it is
    assert probe_gain(image, text, pools, **few, seed=1) != first


def test_equal_rows_are_held_out_together_or_not_at_all() -> None:
    captions = np.arange(N) // 3 + 1
    captions[:200] = 7  # more than a fifth of what is held out
    pictures = np.zeros(N, dtype=int)
    pictures[[300, 900]] = 4  # which connects two captions
    groups = np.stack([captions, pictures], axis=1)
    for seed in range(20):
        held = probe._held_out(groups, [seed, 0])
        rest = np.setdiff1d(np.arange(N), held)
        assert 200 < len(held) <= 240 and held.min() >= 200
        assert not np.intersect1d(captions[held], captions[rest]).size
        assert (300 in held) is (900 in held)


def test_no_more_rows_are_held_out_than_the_bound() -> None:
    assert len(probe._held_out(np.zeros((30_000, 1), dtype=int), [0, 0])) == probe.HELD_OUT


def test_held_out_rows_leave_the_pools_and_later_ranks_move_up() -> None:
    pools = np.array([[1, 2, 3], [2, 0, -1], [0, 1, 3], [2, -1, -1], [0, 2, -1]])
    made = probe._table(pools, np.array([0, 2, 3]))
    assert made.ids.tolist() == [[1, 2, -1], [0, 2, -1], [1, -1, -1]]
    with pytest.raises(InvalidArgumentError, match="no row to train on has a hard pair"):
        probe._table(pools, np.array([3, 4]))


def test_nothing_held_out_is_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    of = FrozenFeatures.of

    def watched(self: FrozenFeatures, rows: np.ndarray) -> Any:
        if torch.is_grad_enabled():
            seen.update(rows.tolist())
        return of(self, rows)

    monkeypatch.setattr(FrozenFeatures, "of", watched)
    image, text, pools = grown()
    image[[5, 70]] = 0  # not embedded
    held = np.arange(0, N, 7)
    few = SMALL | {"seeds": 2, "rows_seen": 1200}
    found = probe_gain(image, text, pools, **few, held_out=held)
    assert seen == set(range(N)) - set(held.tolist()) - {5, 70}
    assert (found.held_out, found.rows) == (len(held) - 1, N - len(held) - 1)


def test_few_candidates_are_first_the_hard_pairs_of_what_is_sought() -> None:
    pools = np.array([[1, 2, 5]] + [[0, 1, 2]] * 99)
    held, train = np.array([0]), np.arange(1, 100)
    draw = np.random.default_rng(0)
    assert probe._others(pools, held, train, 2, 3, draw).tolist() == [1, 2]
    mixed = probe._others(pools, held, train, 3, 11, draw).tolist()
    assert len(mixed) == 10 and {1, 2, 5} < set(mixed)
    assert len(probe._others(pools, held, train, 3, 1000, draw)) == 99
    found = probe_gain(*grown(), **SMALL | {"rows_seen": 64}, candidates=300)
    assert (found.recall.candidates, found.recall_held_out.candidates) == (300, N // 5)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_recall_and_ranks_are_those_of_a_plain_loop() -> None:
    random = np.random.default_rng(0)
    image, text = random.normal(size=(60, 6)), random.normal(size=(60, 5))
    groups = np.zeros((60, 2), dtype=np.int64)
    groups[:, 0] = random.integers(0, 12, 60)
    groups[:, 1] = random.integers(0, 3, 60) * random.integers(0, 2, 60)
    held, others = np.arange(0, 60, 3), np.setdiff1d(np.arange(50), np.arange(0, 60, 3))
    torch.manual_seed(0)
    heads = Heads(6, 5)
    features = FrozenFeatures(image, text, torch.from_numpy(groups))
    found = found_of(heads, features, held, others)
    heads.eval()
    with torch.no_grad():
        sides = [side.double().numpy() for side in heads(*features.of(np.arange(60)))]

    def equal(one: int, other: int) -> bool:
        return one == other or bool(((groups[one] == groups[other]) & (groups[one] != 0)).any())

    def ranks(rows: list[int]) -> np.ndarray:
        told = []
        for queries, sought in (sides, sides[::-1]):
            for row in held:
                scores = {o: cosine(queries[row], sought[o]) for o in rows}
                best = max(score for o, score in scores.items() if equal(row, o) and o in held)
                wrong = [score for o, score in scores.items() if not equal(row, o)]
                told.append(1 + sum(score >= best - 1e-6 for score in wrong))
        return np.array(told)

    among_all, among_held_out = ranks([*held, *others]), ranks([*held])
    assert found.recall == pytest.approx((among_all == 1).mean())
    assert found.recall_held_out == pytest.approx((among_held_out == 1).mean())
    assert found.reciprocal_rank == pytest.approx((1 / among_all).mean())
    assert 0 < found.recall < found.recall_held_out < 1


def test_heads_that_give_all_the_same_find_nothing() -> None:
    heads = Heads(4, 4)
    for weights in heads.parameters():
        torch.nn.init.constant_(weights, 0.1)
    features = FrozenFeatures(np.ones((9, 4)), np.ones((9, 4)), torch.zeros(9, 1).long())
    found = found_of(heads, features, np.arange(5), np.arange(5, 9))
    assert (found.recall, found.recall_held_out) == (0.0, 0.0)
    assert found.reciprocal_rank == pytest.approx(1 / 9)


def test_the_interval_is_that_of_student() -> None:
    from scipy import stats

    for freedom, bound in enumerate(STUDENT, start=1):
        assert bound == pytest.approx(stats.t.ppf(0.975, freedom), abs=6e-4)
    told = np.array([[0.2, 0.25], [0.3, 0.31], [0.25, 0.28]])
    found = probe._summary(told, 9)
    inside = stats.t.interval(0.95, 2, loc=0.03, scale=stats.sem(told[:, 1] - told[:, 0]))
    assert (found.low, found.high) == pytest.approx(inside, abs=1e-4)
    assert found.share == pytest.approx(0.03 / 0.25)
    assert probe._summary(np.zeros((3, 2)), 9).share is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": np.ones((N, 3, 2))}, r"the shape of image and text is \[\[1200, 3, 2\]"),
        ({"text": np.ones((N - 1, 3))}, r"the shape of image and text is .* \[N, d\] and \[N, e\]"),
        ({"pools": np.ones((N - 1, 4), dtype=int)}, "the shape of pools is"),
        ({"text": np.full((N, 3), np.nan)}, "text: row 0 holds NaN"),
        ({"pools": np.full((N, 4), -1)}, "no row to train on has a hard pair"),
        ({"pools": np.full((N, 4), N)}, "the span of pools"),
        ({"groups": np.ones(N, dtype=int)}, "hold out 0 and train on 1,200"),
        ({"batch_size": 600}, "hold out 240 and train on 960; .* two batches of 600"),
        ({"held_out": np.arange(N)}, "hold out 1,200 and train on 0"),
        ({"held_out": [-1]}, r"the span of held_out is \[-1"),
        ({"held_out": np.arange(0)}, "the dtype of held_out|hold out 0"),
        ({"seeds": 1}, "seeds is 1, must be at least 2"),
        ({"epochs": 0.0}, "epochs is 0.0, must be above 0"),
        ({"rows_seen": 0}, "rows_seen is 0"),
        ({"candidates": 0}, "candidates is 0"),
    ],
)
def test_bad_input_is_one_clear_error(change: dict[str, Any], said: str) -> None:
    image, text, pools = grown()
    given = {"image": image, "text": text, "pools": pools, **SMALL, **change}
    with pytest.raises(InvalidArgumentError, match=said):
        probe_gain(**given)


def test_too_few_rows_are_refused() -> None:
    image, text, pools = (side[:400] for side in grown())
    with pytest.raises(InvalidArgumentError, match=r"400 rows are embedded.* at least 500"):
        probe_gain(image, text, np.minimum(pools, 399), **SMALL)


def test_rows_without_an_embedding_are_known_by_zeros() -> None:
    image, text = np.ones((5, 2), dtype=np.float16), np.ones((5, 3))
    image[1], text[4] = 0, 0
    assert embedded_rows(image, text).tolist() == [0, 2, 3]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return helip.open_dataset(write_pictures(tmp_path_factory.mktemp("data")), progress=False)


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LEAST_ROWS", ROWS)


@pytest.mark.usefixtures("few_rows")
def test_a_diagnosis_probes_the_store_that_was_mined(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = functools.partial(probe_gain, rows_seen=64, seeds=2)
    monkeypatch.setattr(diagnosing, "probe_gain", short)
    store = write_store(data, tmp_path / "store")
    options: dict[str, Any] = {"batch_size": 16, "progress": False}
    found = helip.diagnose(table(), data, store=store, probe=True, seed=3, **options)
    captions = np.arange(ROWS) % 24 + 1
    given = *store.rows(slice(None)), table().ids, captions
    assert found.probe == short(*given, batch_size=16, seed=3)
    assert found.gain == expected_gain(found.probe)
    page = str(found)
    for words in (
        "small heads on the store's features, 2 seeds", f"recall@1 of {ROWS}",
        f"expected gain: {found.gain.word}:", "heads on frozen features stand for the model",
    ):  # fmt: skip
        assert words in page
    assert found.to_dict()["probe"]["recall"] == dataclasses.asdict(found.probe.recall)


@pytest.mark.usefixtures("few_rows")
def test_of_a_large_table_random_rows_are_probed(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(diagnosing, "PROBED", 60)
    monkeypatch.setattr(
        diagnosing, "probe_gain", lambda *given, **options: seen.append((given, options))
    )
    store = write_store(data, tmp_path / "store")
    helip.diagnose(table(), data, store=store, probe=True, batch_size=8, progress=False)
    (((image, text, pools, groups), options),) = seen
    assert len(image) == len(text) == len(pools) == len(groups) == 60
    assert options["community_rows"] == 8
    rows = np.flatnonzero([(image == row).all(dim=1).any() for row in store.rows(slice(None))[0]])
    for place, row in enumerate(rows):
        there = pools[place] >= 0
        known = np.isin(table().ids[row], rows)
        assert rows[pools[place][there]].tolist() == table().ids[row][known].tolist()


def test_a_probe_needs_the_store(data: Dataset) -> None:
    with pytest.raises(InvalidArgumentError, match=r"probe=True trains on .* give store=PATH"):
        helip.diagnose(table(), data, probe=True, progress=False)
