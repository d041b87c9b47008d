"""Filtering a table: against a double loop in float64, and what is refused and counted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip import EmbeddingStore, HardPairs
from helip.common.errors import (
    InvalidArgumentError,
    MismatchError,
    StorageError,
    UnsupportedError,
)

ROWS, K, DIM = 60, 12, 16


def embeddings(seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Images near their captions, a few captions the same, whole numbers so that sums are exact."""
    random = np.random.default_rng(seed)
    text = random.integers(-9, 10, (ROWS, DIM)).astype(np.float64)
    image = text + random.integers(-7, 8, (ROWS, DIM))
    text[10] = text[11]  # one caption at two pictures
    image[20], text[20] = image[21], text[21]  # one sample twice
    image[30] = 0  # a picture that could not be read
    image[:, 0] += 4  # cosines that are mostly positive, as those of a CLIP
    image[30] = 0
    return image, text


def table(seed: int = 5, **origin: str) -> HardPairs:
    """Pools of 0 to K random rows, scores falling, among them ones of equal score."""
    random = np.random.default_rng(seed)
    ids = np.full((ROWS, K), -1, np.int32)
    scores = np.zeros((ROWS, K), np.float32)
    for i in range(ROWS):
        count = int(random.integers(0, K + 1)) if i % 7 else K
        others = np.delete(np.arange(ROWS), i)
        ids[i, :count] = random.choice(others, count, replace=False)
        scores[i, :count] = -np.sort(-random.integers(1, 9, count) / 8)
    for i, j in ((10, 11), (20, 21), (21, 20)):  # the equal ones lead each other's pool
        ids[i], scores[i] = -1, 0
        ids[i, :2], scores[i, :2] = (j, 5), (1, 0.5)
    return HardPairs.from_arrays(ids, scores, options={"method": "exact", "k": K}, **origin)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
    return float(np.clip(float(a @ b) / lengths, -1, 1)) if lengths else math.nan


def combined(how: str, a: float, b: float) -> float:
    return {"any": max(a, b), "both": min(a, b), "mean": (a + b) / 2}[how]


def plainly(pairs: HardPairs, image: np.ndarray, text: np.ndarray, **rules: Any) -> dict[str, Any]:
    """Flags of every pair, one at a time, straight from the definitions."""
    flagged: dict[tuple[int, int], set[str]] = {}
    for i in range(ROWS):
        for r in range(int(pairs.counts[i])):
            j = int(pairs.ids[i, r])
            own, other = cosine(image[i], text[i]), cosine(image[j], text[j])
            forth, back = cosine(image[i], text[j]), cosine(image[j], text[i])
            found = set()
            near = combined(rules.get("match", "any"), forth, back)
            if "relative_margin" in rules and near > own - rules["relative_margin"] * abs(own):
                found.add("relative_margin")
            if "margin" in rules and near > own - rules["margin"]:
                found.add("margin")
            if veto := rules.get("veto"):
                least = {
                    "any": min(own, other),
                    "both": max(own, other),
                    "mean": (own + other) / 2,
                }[veto]
                if combined(veto, forth, back) >= least:
                    found.add("veto")
            if "image_max" in rules and cosine(image[i], image[j]) > rules["image_max"]:
                found.add("image_max")
            if "text_max" in rules and cosine(text[i], text[j]) > rules["text_max"]:
                found.add("text_max")
            if "max_score" in rules and pairs.scores[i, r] > rules["max_score"]:
                found.add("max_score")
            if "min_score" in rules and pairs.scores[i, r] <= rules["min_score"]:
                found.add("min_score")
            flagged[i, r] = found
    return flagged


RULES: list[dict[str, Any]] = [
    {"relative_margin": 0.05},
    {"relative_margin": 0.3, "match": "both"},
    {"margin": 0.1, "match": "mean"},
    {"margin": -0.2},
    {"veto": "any"},
    {"veto": "both"},
    {"veto": "mean"},
    {"image_max": 0.3},
    {"text_max": 0.3},
    {"max_score": 0.75},
    {"min_score": 0.25},
    {"relative_margin": 0.1, "veto": "any", "text_max": 0.4, "min_score": 0.2},
]


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_rules_flag_what_a_double_loop_flags(rules: dict[str, Any]) -> None:
    image, text = embeddings()
    pairs = table()
    flagged = plainly(pairs, image, text, **rules)
    by = (image, text) if set(rules) - {"max_score", "min_score"} else None
    got = pairs.filter(by=by, **rules, progress=False)
    for i in range(ROWS):
        kept = [r for r in range(int(pairs.counts[i])) if not flagged[i, r]]
        assert got.ids[i, : got.counts[i]].tolist() == pairs.ids[i, kept].tolist()
        assert got.scores[i, : got.counts[i]].tolist() == pairs.scores[i, kept].tolist()
    found = got.report["filter"][0]
    assert found["flagged"] == sum(bool(names) for names in flagged.values()) > 0
    assert found["pairs"] == len(flagged) == found["left"] + found["flagged"]
    for name in found["reasons"]:
        assert found["reasons"][name] == sum(name in names for names in flagged.values())
    ranks = [
        sum(bool(names) for (_, r), names in flagged.items() if r == rank) for rank in range(K)
    ]
    assert found["ranks"]["flagged"] == ranks
    assert found["ranks"]["pairs"] == [int((pairs.counts > rank).sum()) for rank in range(K)]
    assert found["outliers"] == {
        "before": int((pairs.counts == 0).sum()),
        "after": int((got.counts == 0).sum()),
    }
    assert found["short_targets"]["after"] == int((got.counts < K).sum())
    assert found["changed"] == len({i for (i, _), names in flagged.items() if names})


def test_equal_captions_and_equal_samples_are_flagged_without_a_margin() -> None:
    """Their cosines have the same bits, whatever the rounding."""
    image, text = embeddings()
    got = table().filter(by=(image, text), veto="any", progress=False)
    assert 11 not in got.ids[10]
    both = table().filter(by=(image, text), veto="both", progress=False)
    assert 21 not in both.ids[20]
    assert 20 not in both.ids[21]


def test_a_pair_that_cannot_be_judged_stays_and_is_counted() -> None:
    image, text = embeddings()
    pairs = table()
    got = pairs.filter(by=(image, text), margin=2.0, progress=False)
    of_zero = [
        (i, int(j)) for i in range(ROWS) for j in pairs.ids[i, : pairs.counts[i]] if 30 in (i, j)
    ]
    assert got.report["filter"][0]["unjudged"] == len(of_zero) > 0
    left = {(i, int(j)) for i in range(ROWS) for j in got.ids[i, : got.counts[i]]}
    assert left == set(of_zero)


def test_downweighted_pairs_stay_in_their_pool_in_the_order_of_new_scores() -> None:
    image, text = embeddings()
    pairs = table()
    flagged = plainly(pairs, image, text, veto="mean")
    got = pairs.filter(
        by=(image, text), veto="mean", action="downweight", weight=0.25, progress=False
    )
    np.testing.assert_array_equal(got.counts, pairs.counts)
    for i in range(ROWS):
        rows = [
            (-float(pairs.scores[i, r]) * (0.25 if flagged[i, r] else 1), r)
            for r in range(int(pairs.counts[i]))
        ]
        order = [r for _, r in sorted(rows)]
        assert got.ids[i, : len(order)].tolist() == pairs.ids[i, order].tolist()
        assert got.scores[i, : len(order)].tolist() == [-score for score, _ in sorted(rows)]
    assert got.report["filter"][0]["left"] == int(pairs.counts.sum())


def test_keep_changes_nothing_and_counts() -> None:
    image, text = embeddings()
    pairs = table()
    got = pairs.filter(by=(image, text), veto="any", action="keep", progress=False)
    np.testing.assert_array_equal(got.ids, pairs.ids)
    np.testing.assert_array_equal(got.scores, pairs.scores)
    assert got.report["filter"][0]["flagged"] > 0


def test_k_keeps_the_best_of_what_is_left() -> None:
    pairs = table()
    got = pairs.filter(max_score=0.8, k=3, progress=False)
    assert got.k == 3
    for i in range(ROWS):
        rows = [r for r in range(int(pairs.counts[i])) if pairs.scores[i, r] <= np.float32(0.8)]
        assert got.ids[i, : got.counts[i]].tolist() == pairs.ids[i, rows[:3]].tolist()
    found = got.report["filter"][0]
    assert found["left"] + found["cut"] + found["flagged"] == found["pairs"]
    assert found["short_targets"]["before"] == int((pairs.counts < 3).sum())


def store(path: Path, *, prefix: str = "k", rows: int = ROWS, **metadata: Any) -> EmbeddingStore:
    image, text = embeddings()
    with EmbeddingStore.create(path, image_dim=DIM, text_dim=DIM, dtype="float32") as writer:
        keys = [f"{prefix}{i}" for i in range(rows)]
        writer.append(keys, image[:rows].astype(np.float32), text[:rows].astype(np.float32))
        return writer.commit(metadata)


def test_a_table_on_disk_says_what_it_was_made_from(tmp_path: Path) -> None:
    clip = store(tmp_path / "clip", image_encoder="open_clip:X", text_encoder="open_clip:X")
    table(fingerprint="mined", data_fingerprint=clip.keys_fingerprint).save(tmp_path / "pairs")
    pairs = HardPairs.open(tmp_path / "pairs")
    got = pairs.filter(by=clip.path, veto="mean", out=tmp_path / "new", progress=False)
    got.verify()
    assert (got.fingerprint, got.data_fingerprint) == ("mined", clip.keys_fingerprint)
    in_memory = pairs.filter(by=clip, veto="mean", progress=False)
    np.testing.assert_array_equal(got.ids, in_memory.ids)
    found = got.report["filter"][0]
    assert found["from"]["path"] == str(tmp_path / "pairs")
    assert found["by"]["fingerprint"] == clip.fingerprint
    assert found["by"]["encoder"] == "open_clip:X"
    assert got.options["method"] == "exact"
    assert got.options["filter"][0]["veto"] == "mean"
    again = got.filter(max_score=0.5, progress=False)
    assert [step.get("veto") for step in again.options["filter"]] == ["mean", None]
    assert again.report["filter"][1]["from"]["path"] == str(tmp_path / "new")
    with pytest.raises(InvalidArgumentError, match="new"):
        pairs.filter(by=clip, veto="mean", out=tmp_path / "new", progress=False)


def test_blocks_are_joined_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    by = embeddings()
    whole = table().filter(by=by, veto="any", relative_margin=0.1, progress=False)
    monkeypatch.setattr("helip.pairs.blocks._PLACES", 7 * K)
    parts = table().filter(by=by, veto="any", relative_margin=0.1, progress=False)
    np.testing.assert_array_equal(whole.ids, parts.ids)
    np.testing.assert_array_equal(whole.scores, parts.scores)
    assert whole.report == parts.report


def test_an_interrupted_filter_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("helip.pairs.filtering.FilterAccount.add", stop)
    with pytest.raises(KeyboardInterrupt):
        table().filter(max_score=0.5, out=tmp_path / "new", progress=False)
    assert not (tmp_path / "new" / "manifest.json").exists()
    monkeypatch.undo()
    table().filter(max_score=0.5, out=tmp_path / "new", progress=False).verify()


def test_a_store_of_other_data_is_refused_with_what_differs(tmp_path: Path) -> None:
    clip = store(tmp_path / "clip")
    pairs = table(data_fingerprint=clip.keys_fingerprint)
    with pytest.raises(MismatchError, match=r"belongs to other data.*60 rows.*59 rows"):
        pairs.filter(by=store(tmp_path / "fewer", rows=ROWS - 1), veto="any", progress=False)
    with pytest.raises(MismatchError, match="the keys or their order differ"):
        pairs.filter(by=store(tmp_path / "others", prefix="x"), veto="any", progress=False)
    image, text = embeddings()
    with pytest.raises(MismatchError, match=r"numbers of rows differ \(60 rows .*, 10 rows here"):
        pairs.filter(by=(image[:10], text[:10]), veto="any", progress=False)


def test_images_and_captions_of_two_models_are_not_compared(tmp_path: Path) -> None:
    image, text = embeddings()
    with pytest.raises(InvalidArgumentError, match=r"16 numbers and captions 8.*one model"):
        table().filter(by=(image, text[:, :8]), veto="any", progress=False)
    two = store(tmp_path / "two", image_encoder="timm:vit", text_encoder="st:mini")
    with pytest.raises(InvalidArgumentError, match=r"images by timm:vit and captions by st:mini"):
        table().filter(by=two, relative_margin=0.05, progress=False)
    table().filter(by=two, image_max=0.9, progress=False)  # within a modality any model does


def test_wrong_use_is_one_clear_error(tmp_path: Path) -> None:
    pairs = table()
    by = embeddings()
    for wrong, message in (
        ({}, "no rule is given"),
        ({"veto": "any"}, "by is missing, and veto need"),
        ({"max_score": 0.5, "by": by}, "no rule needs it"),
        ({"k": K + 1}, "at most 12"),
        ({"veto": "most", "by": by}, "veto is 'most', must be one of"),
        ({"relative_margin": 1.5, "by": by}, "relative_margin is 1.5, must be at most 1"),
        ({"max_score": 0.5, "weight": 1.0}, "weight is 1.0, must be below 1"),
        ({"veto": "any", "by": "open_clip:ViT-B-32"}, "helip embed DATA --out STORE"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            pairs.filter(**wrong, progress=False)
    with pytest.raises(StorageError):
        pairs.filter(by=tmp_path / "nothing", veto="any", progress=False)


def test_a_filtered_table_is_neither_mined_again_nor_brought_up_to_date(tmp_path: Path) -> None:
    clip = store(tmp_path / "store")
    mined = helip.mine(clip, k=4, out=tmp_path / "pairs", progress=False)
    mined.filter(max_score=0.5, out=tmp_path / "filtered", progress=False)
    with pytest.raises(MismatchError, match="was filtered"):
        helip.mine(clip, k=4, out=tmp_path / "filtered", progress=False)
    with EmbeddingStore.append_to(clip.path) as writer:
        writer.delete([3])
    with pytest.raises(UnsupportedError, match="was filtered"):
        helip.update(tmp_path / "filtered", clip.path, out=tmp_path / "new", progress=False)


@pytest.mark.parametrize("action", ["drop", "downweight", "keep"])
def test_what_people_said_is_a_rule_as_others_are(tmp_path: Path, action: str) -> None:
    pairs = table()
    first = int(pairs.ids[0, 0])
    with helip.Verdicts.open(tmp_path / "v", pairs=pairs) as verdicts:
        verdicts.add(first, 0, "false negative", person="Ada")  # in the other order
        verdicts.add(10, 11, "near duplicate", person="Ada")
        verdicts.add(20, 21, "keep", person="Ada")
        verdicts.add(30, None, "mismatch", person="Ada")
        new = pairs.filter(verdicts=verdicts, action=action, progress=False)
        again = pairs.filter(verdicts=tmp_path / "v", action=action, progress=False)
    np.testing.assert_array_equal(again.ids, new.ids)
    np.testing.assert_array_equal(again.scores, new.scores)
    gone = {(0, first), (first, 0), (10, 11), (11, 10)}

    def flagged(i: int, j: int) -> bool:
        return (i, j) in gone or 30 in (i, j)

    scores = [dict(zip(p.ids.tolist(), p.scores.tolist(), strict=True)) for p in new]
    counted = 0
    for pool, left in zip(pairs, scores, strict=True):
        for j, score in zip(pool.ids.tolist(), pool.scores.tolist(), strict=True):
            counted += flagged(pool.target, j)
            expected = score * 0.5 if flagged(pool.target, j) else score
            if action == "drop" and flagged(pool.target, j):
                assert j not in left
            else:
                assert left[j] == (expected if action == "downweight" else score)
    step = new.report["filter"][0]
    assert step["reasons"] == {"verdicts": counted}
    assert new.options["filter"][0]["verdicts"] | {"digest": ""} == {
        "pairs": 2, "rows": 1, "digest": "",
    }  # fmt: skip


def test_verdicts_on_other_data_are_refused(tmp_path: Path) -> None:
    helip.Verdicts.open(tmp_path / "v", pairs=table(data_fingerprint="1-2-3-4")).close()
    with pytest.raises(MismatchError, match="belongs to other data than this: the captions differ"):
        table(data_fingerprint="1-9-3-4").filter(verdicts=tmp_path / "v", progress=False)
    with pytest.raises(StorageError, match="there is no file of verdicts"):
        table().filter(verdicts=tmp_path / "no", progress=False)
    assert not (tmp_path / "no").exists()
