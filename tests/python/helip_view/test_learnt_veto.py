"""A veto learnt from verdicts: what it learns, how well it says it does, and what is refused."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip import EmbeddingStore, HardPairs, Verdicts
from helip.common.errors import CorruptError, InvalidArgumentError, MismatchError, UnsupportedError
from helip.common.proportions import wilson_interval
from helip_view import LearntVeto, propose
from helip_view.learnt_veto import _share_with_interval
from helip_view.pair_features import PairFeatures

ROWS, K, DIM = 80, 10, 8


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[HardPairs, EmbeddingStore]:
    """A table with its store; images and captions of one space, so that it may judge as well."""
    random = np.random.default_rng(0)
    text = random.normal(size=(ROWS, DIM)).astype(np.float32) + np.float32(0.5)
    image = text + random.normal(size=(ROWS, DIM)).astype(np.float32) * np.float32(0.4)
    path = tmp_path_factory.mktemp("made")
    with EmbeddingStore.create(path / "s", image_dim=DIM, text_dim=DIM) as writer:
        writer.append([f"k{i}" for i in range(ROWS)], image, text)
    store = EmbeddingStore.open(path / "s")
    pairs = helip.mine(store, k=K, device="cpu", progress=False).with_store(store)
    return pairs, store


def judged(path: Path, pairs: HardPairs, *, noise: float = 0.0) -> Verdicts:
    """Three pairs of each target, taken out where the images are alike."""
    random = np.random.default_rng(1)
    verdicts = Verdicts.open(path, pairs=pairs)
    bound = np.median([s for pool in pairs for s in pool.image_similarity])
    for pool in pairs:
        for place in range(0, len(pool), 4):
            alike = bool(pool.image_similarity[place] > bound) ^ bool(random.random() < noise)
            verdict = "false negative" if alike else "keep"
            verdicts.add(pool.target, int(pool.ids[place]), verdict, person="Ada")
    return verdicts


def test_features_are_those_of_plain_loops_and_of_either_order(
    made: tuple[HardPairs, EmbeddingStore],
) -> None:
    pairs, store = made
    captions = [f"a dog number {i % 7}" if i % 2 else "A cat, a dog" for i in range(ROWS)]

    class Data:
        def __len__(self) -> int:
            return ROWS

        def caption(self, row: int) -> str:
            return captions[row]

    found = PairFeatures(pairs, store, by=store, data=Data())
    image, text = (np.asarray(side, np.float64) for side in (store.image, store.text))

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / math.sqrt((a @ a) * (b @ b)))

    def rank(i: int, j: int) -> float:
        pool = pairs[i].ids.tolist()
        return math.log2(2 + (pool.index(j) if j in pool else K))

    first = pairs.ids[:, 3].astype(np.int64)
    some = np.stack([np.arange(ROWS), first], axis=1)[::7]
    for (i, j), got in zip(some.tolist(), found.of_pairs(some), strict=True):
        own = cosine(image[i], image[j]), cosine(text[i], text[j])
        cross = cosine(image[i], text[j]), cosine(image[j], text[i])
        gain = sum(cross) - cosine(image[i], text[i]) - cosine(image[j], text[j])
        a, b = (set(captions[row].lower().replace(",", "").split()) for row in (i, j))
        expected = [
            *own, own[0] * own[1], *sorted((rank(i, j), rank(j, i))),
            max(cross), min(cross), gain, len(a & b) / len(a | b),
        ]  # fmt: skip
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.of_pairs(some[:, ::-1]), found.of_pairs(some), rtol=1e-12)
    for start, ids, block in found.of_table():
        np.testing.assert_array_equal(np.isnan(block[..., 0]), ids < 0)
        np.testing.assert_allclose(block[::7, 3], found.of_pairs(some), rtol=1e-12)
        assert start == 0


def test_what_people_go_by_is_learnt_measured_and_kept(
    made: tuple[HardPairs, EmbeddingStore], tmp_path: Path
) -> None:
    pairs, _ = made
    with judged(tmp_path / "v", pairs) as verdicts:
        veto = LearntVeto.fit(verdicts, pairs)
        again = LearntVeto.fit(verdicts, pairs)
        assert veto.to_dict() == again.to_dict()
        found = veto.measured
        assert found is not None
        assert found.precision is not None
        assert found.precision[0] == found.right / found.flagged > 0.85
        assert found.recall[0] == found.right / found.positives > 0.85
        assert found.precision[1] < found.precision[0] < found.precision[2]
        assert found.labels == len(verdicts.decided())
        veto.save(tmp_path / "veto")
        assert LearntVeto.open(tmp_path / "veto").to_dict() == veto.to_dict()
    with judged(tmp_path / "noise", pairs, noise=0.5) as verdicts:
        noisy = LearntVeto.fit(verdicts, pairs).measured
        assert noisy is not None
        assert noisy.precision is None or noisy.precision[0] < 0.7


def test_pairs_of_one_target_count_together_in_the_interval_of_the_precision() -> None:
    flagged, right = np.ones(40, dtype=bool), np.arange(40) >= 10
    alone = _share_with_interval(right, flagged, np.arange(40))
    assert alone == (0.75, *wilson_interval(0.75, 40))
    # Four targets of ten pairs each, one of which is wrong in all: no more than four trials tell.
    together = _share_with_interval(right, flagged, np.arange(40) // 10)
    assert together is not None
    assert together == pytest.approx((0.75, *wilson_interval(0.75, 4)))
    assert _share_with_interval(right, ~flagged, np.arange(40)) is None


def test_a_veto_takes_out_what_it_would_flag_and_proposes_what_it_is_least_sure_of(
    made: tuple[HardPairs, EmbeddingStore], tmp_path: Path
) -> None:
    pairs, store = made
    with judged(tmp_path / "v", pairs) as verdicts:
        veto = LearntVeto.fit(verdicts, pairs, by=store)
        table = pairs.filter(learnt_veto=veto, by=store, min_precision=0.5, progress=False)
        chance = {}
        for first, ids, values in PairFeatures(pairs, store, by=store).of_table():
            for place, pool in enumerate(veto.probabilities(values)):
                for j, p in zip(ids[place].tolist(), pool.tolist(), strict=True):
                    if j >= 0:
                        chance[first + place, j] = p
        for old, new in zip(pairs, table, strict=True):
            assert new.ids.tolist() == [
                j for j in old.ids.tolist() if chance[old.target, j] < veto.threshold
            ]
        flagged = sum(p >= veto.threshold for p in chance.values())
        assert table.report["filter"][0]["reasons"]["learnt_veto"] == flagged > 0
        proposed = propose(verdicts, veto, pairs, n=7, by=store)
        known = set(verdicts.decided())
        open_ = {
            (min(pair), max(pair)): p
            for pair, p in chance.items()
            if (min(pair), max(pair)) not in known
        }
        expected = sorted(open_, key=lambda pair: (abs(open_[pair] - veto.threshold), pair))[:7]
        assert [(p.target, p.hard) for p in proposed] == expected
        assert len(propose(verdicts, veto, pairs, n=10**6, by=store)) == len(open_)
        others = propose(verdicts, veto, pairs, n=10**6, by=store, person="Bo")
        assert len(others) > len(open_)
        with pytest.raises(InvalidArgumentError, match="by is missing, and the veto was learnt"):
            propose(verdicts, veto, pairs)


def test_a_veto_that_was_not_measured_or_is_not_precise_filters_nothing(
    made: tuple[HardPairs, EmbeddingStore], tmp_path: Path
) -> None:
    pairs, _ = made
    with judged(tmp_path / "v", pairs) as verdicts:
        blind = LearntVeto.fit(verdicts, pairs, folds=0)
        veto = LearntVeto.fit(verdicts, pairs)
    assert veto.measured is not None
    assert veto.measured.precision is not None
    low = veto.measured.precision[1]
    with pytest.raises(
        InvalidArgumentError, match="precision of this learnt veto was not measured"
    ):
        pairs.filter(learnt_veto=blind, progress=False)
    with pytest.raises(InvalidArgumentError, match=f"does not reach it .from {low:.3f}, on "):
        pairs.filter(learnt_veto=veto, min_precision=low + 1e-9, progress=False)
    pairs.filter(learnt_veto=veto, min_precision=low, progress=False)
    veto.measured = replace(veto.measured, precision=None)
    with pytest.raises(InvalidArgumentError, match="it flagged no judged pair"):
        pairs.filter(learnt_veto=veto, min_precision=0.0, progress=False)


def test_too_few_verdicts_other_data_and_no_store_are_refused(
    made: tuple[HardPairs, EmbeddingStore], tmp_path: Path
) -> None:
    pairs, store = made
    with Verdicts.open(tmp_path / "few", pairs=pairs) as verdicts:
        verdicts.add(0, 1, "keep", person="Ada")
        verdicts.add(2, 1, "near duplicate", person="Ada")
        with pytest.raises(InvalidArgumentError, match="1 pairs that people took out and 1 that"):
            LearntVeto.fit(verdicts, pairs)
        with pytest.raises(InvalidArgumentError, match="folds is 1, must be 0, or at least 2"):
            LearntVeto.fit(verdicts, pairs, folds=1)
        with pytest.raises(InvalidArgumentError, match="the table knows no store"):
            LearntVeto.fit(verdicts, HardPairs(pairs._core))
    with judged(tmp_path / "v", pairs) as verdicts:
        veto = LearntVeto.fit(verdicts, pairs)
    other = HardPairs.from_arrays(
        pairs.ids, pairs.scores, data_fingerprint="1-2-3-4", fingerprint=pairs.fingerprint
    ).with_store(store)
    with pytest.raises(MismatchError, match="the veto was learnt on other data than this"):
        other.filter(learnt_veto=veto, progress=False)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2}, {"coefficients": [1.0]}, {"intercept": None}, {"features": 3},
        {"measured": {"precision": [0.1], "recall": [0.1]}},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_file_that_holds_something_else_is_refused(
    made: tuple[HardPairs, EmbeddingStore], tmp_path: Path, change: dict[str, Any]
) -> None:
    pairs, _ = made
    with judged(tmp_path / "v", pairs) as verdicts:
        value = LearntVeto.fit(verdicts, pairs, folds=0).to_dict()
    (tmp_path / "veto").write_text(json.dumps({**value, **change}))
    with pytest.raises(CorruptError, match="is not a learnt veto"):
        LearntVeto.open(tmp_path / "veto")


def test_a_store_of_other_rows_judges_no_pairs(
    made: tuple[HardPairs, EmbeddingStore], tmp_path: Path
) -> None:
    pairs, store = made
    image, text = (part.numpy() for part in store.rows(slice(None)))
    with EmbeddingStore.create(tmp_path / "s", image_dim=DIM, text_dim=DIM) as writer:
        writer.append(list(store.keys)[::-1], image[::-1].copy(), text[::-1].copy())
    with pytest.raises(MismatchError, match="rows of other keys, or in another order"):
        PairFeatures(pairs, store, by=tmp_path / "s")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"measured": {"precision": [0.9]}}, "precision must be three numbers"),
        ({"threshold": 1.5}, "threshold is 1.5, must be 0 .. 1"),
    ],
)
def test_numbers_of_a_file_that_cannot_be_are_refused(
    made: tuple[HardPairs, EmbeddingStore], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with judged(tmp_path / "v", made[0]) as verdicts:
        LearntVeto.fit(verdicts, made[0]).save(tmp_path / "veto.json")
    value = json.loads((tmp_path / "veto.json").read_text())
    for name, part in change.items():
        value[name] = {**value[name], **part} if isinstance(part, dict) else part
    (tmp_path / "veto.json").write_text(json.dumps(value))
    with pytest.raises(CorruptError, match=words):
        LearntVeto.open(tmp_path / "veto.json")


def test_a_sample_of_targets_is_looked_at_in_blocks_drawn_by_the_seed(
    made: tuple[HardPairs, EmbeddingStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, _ = made
    monkeypatch.setattr("helip_view.learnt_veto._BLOCK", 8)
    with judged(tmp_path / "v", pairs) as verdicts:
        veto = LearntVeto.fit(verdicts, pairs)
        everything = propose(verdicts, veto, pairs, n=10**6)
        found = [propose(verdicts, veto, pairs, n=10**6, targets=20, seed=s) for s in (0, 0, 1)]
        assert propose(verdicts, veto, pairs, n=10**6, targets=ROWS) == everything
        with pytest.raises(InvalidArgumentError, match="targets is 0"):
            propose(verdicts, veto, pairs, targets=0)
    assert found[0] == found[1] != found[2]
    looked = np.sort(np.random.default_rng(0).choice(10, 3, replace=False))
    assert set(found[0]) == {
        p
        for p in everything
        if any(
            t // 8 in looked and h in pairs.ids[t]
            for t, h in ((p.target, p.hard), (p.hard, p.target))
        )
    }


def test_without_scikit_learn_the_error_names_the_extra(
    made: tuple[HardPairs, EmbeddingStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with (
        judged(tmp_path / "v", made[0]) as verdicts,
        pytest.raises(UnsupportedError, match=r"pip install 'helip\[view\]'"),
    ):
        LearntVeto.fit(verdicts, made[0])


@pytest.mark.parametrize("veto", ["veto.json", 3])
def test_what_is_no_veto_filters_nothing(made: tuple[HardPairs, EmbeddingStore], veto: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"helip_view\.LearntVeto\.open"):
        made[0].filter(learnt_veto=veto, progress=False)
