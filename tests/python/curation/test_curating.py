"""`helip.curate` on planted duplicates, wrong captions, outliers and hubs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError, MismatchError, StorageError
from helip.curation.curating import duplicates_of, preferred
from helip.curation.result import page_of
from support.curation_samples import (
    ALIKE_IN_IMAGE,
    OUTLIER,
    ROWS,
    SAME_CAPTION,
    UNREADABLE,
    WRONG,
    Planted,
    cosines,
    planted,
    sides,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return planted(tmp_path_factory.mktemp("curation"))


@pytest.fixture(scope="module")
def found(sample: Planted) -> helip.Curation:
    return helip.curate(sample.pairs, sample.data, store=sample.store, progress=False)


def plain_duplicates(alike: np.ndarray, wrong: np.ndarray, goes: np.ndarray) -> list[int]:
    """The kept row that each row resembles, its own where it is such a row, else -1; row by row."""
    found, kept = [-1] * len(wrong), list[int]()
    chance = np.nan_to_num(wrong, nan=1)
    for row in sorted(range(len(wrong)), key=lambda i: (goes[i], chance[i], i)):
        like = [one for one in kept if alike[row, one]]
        if like:
            found[row], found[like[0]] = like[0], like[0]
        elif not goes[row]:
            kept.append(row)
    return found


@pytest.mark.parametrize("drop", [("mismatched", "near_duplicate"), (), ("outlier",)])
def test_a_near_duplicate_resembles_the_kept_row_that_it_goes_for(sample: Planted, drop) -> None:
    found = helip.curate(sample.pairs, sample.data, store=sample.store, drop=drop, progress=False)
    image, text = cosines(sample.image), cosines(sample.text)
    with np.errstate(invalid="ignore"):
        alike = (image >= 0.98) & (text >= 0.98)
    np.fill_diagonal(alike, False)
    goes = np.zeros(ROWS, dtype=bool)
    for name in set(drop) - {"near_duplicate"}:
        goes |= found.flags[name]
    expected = plain_duplicates(alike, found.scores["mismatched"], goes)
    assert found.duplicate_of.tolist() == expected
    heads = {row for row, kept in enumerate(expected) if kept == row}
    assert found.counts()["duplicate_groups"] == len(heads) >= 2
    doubled = [row for row, kept in enumerate(expected) if kept not in (-1, row)]
    assert np.flatnonzero(found.flags["near_duplicate"]).tolist() == doubled
    for row in doubled:
        kept = expected[row]
        assert alike[row, kept] and not goes[kept]
        score = found.scores["near_duplicate"][row]
        assert score == pytest.approx(image[row, kept] * text[row, kept], abs=1e-6)


def test_pairs_alike_on_one_side_alone_are_no_duplicates(found: helip.Curation) -> None:
    assert not found.flags["near_duplicate"][[*SAME_CAPTION, *ALIKE_IN_IMAGE]].any()


def test_of_like_rows_the_one_whose_caption_is_least_likely_wrong_is_kept() -> None:
    one, other = np.array([1, 2, 5, 7]), np.array([2, 4, 6, 8])
    wrong = np.array([0, 0.9, 0.1, 0, 0.5, 0.2, 0.2, np.nan, 0.9], dtype=np.float32)
    stays = np.zeros(9, dtype=bool)
    found = duplicates_of(one, other, preferred(stays, wrong), stays)
    assert found.tolist() == [-1, 2, 2, -1, 2, 5, 5, 8, 8]


def test_the_end_of_a_chain_stays_unless_it_resembles_a_row_that_is_kept() -> None:
    """0 - 1 - 2 - 3 - 4: each resembles the next alone."""
    one, stays = np.arange(4), np.zeros(5, dtype=bool)
    found = duplicates_of(one, one + 1, np.arange(5), stays)
    assert found.tolist() == [0, 0, 2, 2, -1]
    gone = np.arange(5) == 0  # for another reason, so 1 has nobody to go for
    found = duplicates_of(one, one + 1, preferred(gone, np.zeros(5, dtype=np.float32)), gone)
    assert found.tolist() == [1, 1, 1, 3, 3]


def test_duplicates_are_those_of_a_plain_loop() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        count = int(random.integers(2, 40))
        alike = random.random((count, count)) < random.choice([0.02, 0.1, 0.4])
        alike = np.triu(alike, 1)
        one, other = np.nonzero(alike)
        wrong = random.choice([0.1, 0.5, np.nan], count).astype(np.float32)
        goes = random.random(count) < 0.2
        both = np.concatenate([one, other]), np.concatenate([other, one])
        for pair in ((one, other), both):
            found = duplicates_of(*pair, preferred(goes, wrong), goes)
            assert found.tolist() == plain_duplicates(alike | alike.T, wrong, goes)


def test_of_a_group_larger_than_what_is_looked_at_one_row_is_kept(tmp_path: Path) -> None:
    """Two groups of 60 rows, of which the 16 nearest of each row are looked at."""
    from support.data_samples import write_shard

    random = np.random.default_rng(2)
    centres = random.normal(size=(2, 2, 24))
    rows = [np.repeat(c, 60, axis=0) + 0.02 * random.normal(size=(120, 24)) for c in centres]
    write_shard(tmp_path / "d.tar", range(120))
    data = helip.open_dataset(tmp_path / "d.tar", progress=False)
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=24, text_dim=24) as writer:
        writer.append(list(data.keys), *[side.astype(np.float32) for side in rows])
    pairs = helip.mine(tmp_path / "s", k=5, device="cpu", progress=False)
    found = helip.curate(pairs, data, store=tmp_path / "s", drop=(), progress=False)
    alike = (cosines(rows[0]) >= 0.98) & (cosines(rows[1]) >= 0.98)
    assert alike[:60, :60].all() and alike[60:, 60:].all() and not alike[:60, 60:].any()
    assert np.flatnonzero(~found.flags["near_duplicate"]).tolist() == [
        int(found.duplicate_of[0]), int(found.duplicate_of[60]),
    ]  # fmt: skip
    assert found.full_groups == 120


def test_of_equal_rows_the_first_is_kept(tmp_path: Path) -> None:
    image, text = sides(wrong=False)
    one, other = 100, 300
    image[other] = image[one]
    text[other] = text[one]
    data = planted(tmp_path).data
    with helip.EmbeddingStore.create(tmp_path / "t", image_dim=24, text_dim=24) as writer:
        writer.append(list(data.keys), image, text)
    pairs = helip.mine(tmp_path / "t", k=5, device="cpu", progress=False)
    found = helip.curate(pairs, data, store=tmp_path / "t", progress=False)
    assert found.duplicate_of[other] == found.duplicate_of[one] == one  # equal: the first
    assert found.keep[one] and not found.keep[other]


def test_exchanged_captions_are_found_and_their_share_is_estimated(found: helip.Curation) -> None:
    wrong = np.zeros(ROWS, dtype=bool)
    wrong[list(WRONG)] = True
    flagged = found.flags["mismatched"]
    assert flagged[wrong].mean() > 0.8
    assert wrong[flagged].mean() > 0.8
    assert found.noise_rate == pytest.approx(len(WRONG) / ROWS, abs=0.06)
    probability = found.scores["mismatched"]
    judged = ~np.isnan(probability)
    # Average precision, plainly.
    order = np.argsort(-probability[judged], kind="stable")
    hits = wrong[judged][order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    assert precision[hits].mean() > 0.8
    assert np.isnan(probability[UNREADABLE])


def test_without_wrong_captions_hardly_a_row_is_called_mismatched(tmp_path: Path) -> None:
    clean = planted(tmp_path, wrong=False)
    found = helip.curate(clean.pairs, clean.data, store=clean.store, progress=False)
    assert found.noise_rate < 0.05
    assert found.flags["mismatched"].mean() < 0.03


def test_a_clip_of_the_data_finds_what_neighbours_leave_open(
    sample: Planted, tmp_path: Path
) -> None:
    """Its pictures and captions have one space, in which right pairs lie close."""
    random = np.random.default_rng(0)
    text = random.normal(size=(ROWS, 16)).astype(np.float32)
    image = text + 0.3 * random.normal(size=text.shape).astype(np.float32)
    rows = np.array(WRONG)
    text[rows] = text[np.roll(rows, 7)]
    with helip.EmbeddingStore.create(tmp_path / "clip", image_dim=16, text_dim=16) as writer:
        writer.append(list(sample.data.keys), image, text)
    found = helip.curate(
        sample.pairs, sample.data, store=sample.store, model=tmp_path / "clip", progress=False
    )
    assert found.cross_scores == "clip"
    wrong = np.isin(np.arange(ROWS), WRONG)
    flagged = found.flags["mismatched"]
    assert flagged[wrong].mean() > 0.75
    assert wrong[flagged].mean() > 0.95


def test_a_model_that_learnt_the_wrong_captions_does_not_hide_them(
    sample: Planted, found: helip.Curation, tmp_path: Path
) -> None:
    """It gives wrong pairs the scores of right ones."""
    random = np.random.default_rng(0)
    text = random.normal(size=(ROWS, 16)).astype(np.float32)
    image = text + 0.1 * random.normal(size=text.shape).astype(np.float32)
    with helip.EmbeddingStore.create(tmp_path / "clip", image_dim=16, text_dim=16) as writer:
        writer.append(list(sample.data.keys), image, text)
    ask = {"store": sample.store, "model": tmp_path / "clip", "progress": False}
    misled = helip.curate(sample.pairs, sample.data, **ask)
    assert (misled.flags["mismatched"] >= found.flags["mismatched"]).all()
    assert misled.flags["mismatched"][list(WRONG)].mean() > 0.8


def test_equal_captions_at_unlike_pictures_are_listed_with_their_similarity(
    sample: Planted, found: helip.Curation
) -> None:
    one, other = SAME_CAPTION
    assert found.flags["ambiguous_caption"][[one, other]].all()
    assert found.scores["ambiguous_caption"][other] == pytest.approx(
        cosines(sample.image)[one, other], abs=1e-6
    )
    assert not found.flags["ambiguous_caption"][[3, 203, 303]].any()
    assert found.keep[one], "it is listed, and not dropped by default"


def test_outliers_have_no_neighbour_on_either_side(sample: Planted, found: helip.Curation) -> None:
    image, text = cosines(sample.image), cosines(sample.text)
    for side in (image, text):
        np.fill_diagonal(side, -np.inf)
        side[np.isnan(side)] = -np.inf
    nearest = [np.maximum(side.max(axis=1), 0) for side in (image, text)]
    known = np.arange(ROWS) != UNREADABLE
    below = known.copy()
    for values in nearest:
        low, high = np.quantile(values[known], [0.25, 0.75])
        below &= values < low - 1.5 * (high - low)
    assert np.array_equal(found.flags["outlier"], below)
    assert found.flags["outlier"][OUTLIER]
    assert found.flags["unreadable"].nonzero()[0].tolist() == [UNREADABLE]


def test_hubs_are_rows_in_many_times_as_many_pools_as_the_average(sample: Planted) -> None:
    degrees = np.bincount(np.asarray(sample.pairs.ids)[np.asarray(sample.pairs.ids) >= 0],
                          minlength=ROWS)  # fmt: skip
    found = helip.curate(
        sample.pairs, sample.data, store=sample.store, hub_factor=2.0, progress=False
    )
    assert np.array_equal(found.flags["hub"], degrees >= 2.0 * degrees.mean())
    assert 0 < found.flags["hub"].sum() < ROWS
    assert np.array_equal(found.scores["hub"], degrees)


def test_every_dropped_row_is_counted_under_its_first_reason(sample: Planted) -> None:
    drop = ("mismatched", "near_duplicate", "unreadable", "outlier")
    found = helip.curate(sample.pairs, sample.data, store=sample.store, drop=drop, progress=False)
    counts = found.counts()
    assert counts["rows"] == ROWS == counts["kept"] + counts["dropped"]
    assert sum(counts["dropped_by"].values()) == counts["dropped"] == int((~found.keep).sum())
    assert set(counts["dropped_by"]) == set(drop)
    first = found.flags["unreadable"].copy()
    for name in ("unreadable", "near_duplicate", "mismatched", "outlier"):
        new = found.flags[name] & ~first if name != "unreadable" else found.flags[name]
        assert counts["dropped_by"][name] == new.sum()
        first |= found.flags[name]
    nothing = helip.curate(sample.pairs, sample.data, store=sample.store, drop=(), progress=False)
    assert nothing.keep.all() and nothing.counts()["flagged"] == counts["flagged"]


def test_the_lists_say_the_same_and_open_the_rows_that_are_kept(
    sample: Planted, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = helip.curate(sample.pairs, sample.data, store=sample.store, out=out, progress=False)
    assert sorted(entry.name for entry in out.iterdir()) == [
        "curation.json", "keep.csv", "report.html",
    ]  # fmt: skip
    counts = found.counts()
    data = helip.open_dataset(sample.data, subset=out / "keep.csv")
    assert list(data.keys) == [sample.data.keys[row] for row in np.flatnonzero(found.keep)]
    told = {f"left_out_subset_{reason}": n for reason, n in counts["dropped_by"].items() if n}
    assert data.counts() == {
        "rows": counts["kept"], "source_rows": ROWS, "left_out_subset": counts["dropped"], **told,
    }  # fmt: skip
    lines = (out / "keep.csv").read_text().splitlines()
    assert lines[0] == "key,keep,reason,score,flags,duplicate_of"
    assert len(lines) == ROWS + 1
    kept = sample.data.keys[int(found.duplicate_of[303])]
    key, keep, reason, score, flags, duplicate_of = lines[1 + 303].split(",")
    assert (key, keep, reason) == (sample.data.keys[303], "0", "near_duplicate")
    assert float(score) > 0.9 and "near_duplicate" in flags and duplicate_of == kept
    page = (out / "report.html").read_text()
    assert "<script" not in page and "Near duplicate" in page
    assert f"kept: row {found.duplicate_of[303]}" in page


def test_the_same_call_finds_the_same_and_changes_no_file_of_the_data(
    sample: Planted, found: helip.Curation
) -> None:
    before = sample.store.fingerprint
    again = helip.curate(sample.pairs, sample.data, store=sample.store, progress=False)
    assert again.to_dict() == found.to_dict()
    for name, flags in found.flags.items():
        assert np.array_equal(flags, again.flags[name]), name
    sample.store.verify()
    assert helip.EmbeddingStore.open(sample.store.path).fingerprint == before


def test_blocks_change_nothing(
    sample: Planted, found: helip.Curation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helip.pairs.blocks._PLACES", 57)
    again = helip.curate(sample.pairs, sample.data, store=sample.store, progress=False)
    assert again.to_dict() == found.to_dict()
    for name, scores in found.scores.items():
        assert np.array_equal(scores, again.scores[name], equal_nan=True), name


def test_large_data_are_searched_by_partition_and_the_recall_is_told(
    sample: Planted, found: helip.Curation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helip.curation.similar_rows.EXACT_ROWS", ROWS - 1)
    again = helip.curate(sample.pairs, sample.data, store=sample.store, progress=False)
    assert set(again.searches) == {"image", "text", "near duplicates"}
    for search in again.searches.values():
        assert search["method"] == "partition"
        assert search["recall"] >= search["recall_low"] >= 0.95
    page = page_of(again, sample.data, 0)
    assert ("lower 95 % limit" in page) == any(s["recall_low"] < 1 for s in again.searches.values())
    assert np.array_equal(again.duplicate_of >= 0, found.duplicate_of >= 0)


def test_a_few_rows_are_not_judged_by_chance(tmp_path: Path) -> None:
    from support.data_samples import write_shard

    write_shard(tmp_path / "d.tar", range(30))
    data = helip.open_dataset(tmp_path / "d.tar", progress=False)
    rows = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=8, text_dim=8) as writer:
        writer.append(list(data.keys), rows, rows)
    pairs = helip.mine(tmp_path / "s", k=3, device="cpu", progress=False)
    found = helip.curate(pairs, data, store=tmp_path / "s", progress=False)
    assert np.isnan(found.noise_rate) and found.to_dict()["noise_rate"] is None
    assert not found.flags["mismatched"].any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mismatch_min": 0.0}, "mismatch_min is 0.0, must be above 0"),
        ({"duplicate_image": 1.5}, "duplicate_image is 1.5, must be at most 1"),
        ({"outlier_text": -0.1}, "outlier_text is -0.1, must be at least 0"),
        ({"neighbours": 1}, "neighbours is 1, must be at least 2"),
        ({"hub_factor": 0}, "hub_factor is 0, must be above 0"),
        ({"drop": ("blurred",)}, "drop is 'blurred', must be one of 'unreadable'"),
        ({"drop": "mismatched"}, "drop is 'mismatched', must be a tuple of reasons"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_out_of_their_bounds_are_refused(sample: Planted, options, words) -> None:
    with pytest.raises(InvalidArgumentError, match=words.replace("(", r"\(")):
        helip.curate(sample.pairs, sample.data, store=sample.store, progress=False, **options)


def test_what_does_not_belong_together_or_is_missing_is_refused(
    sample: Planted, tmp_path: Path
) -> None:
    ask = {"progress": False}
    unknown = helip.HardPairs.open(sample.pairs.path)
    with pytest.raises(InvalidArgumentError, match=r"store is None.*store=STORE"):
        helip.curate(unknown, sample.data, **ask)
    helip.curate(unknown.with_store(sample.store), sample.data, **ask)
    with pytest.raises(StorageError, match="nowhere"):
        helip.curate(sample.pairs, sample.data, store=tmp_path / "nowhere", **ask)
    with pytest.raises(MismatchError, match="belongs to other data"):
        helip.curate(sample.pairs, sample.data.subset(range(10)), store=sample.store, **ask)
    other = planted(tmp_path, wrong=False)
    with pytest.raises(MismatchError, match="the table was made of a store with fingerprint"):
        helip.curate(sample.pairs, sample.data, store=other.store, **ask)
    with pytest.raises(StorageError, match="cannot write /proc/self/list"):
        helip.curate(sample.pairs, sample.data, store=sample.store, out="/proc/self/list", **ask)
    (tmp_path / "taken").mkdir()
    with pytest.raises(InvalidArgumentError, match=r"taken.*exists"):
        helip.curate(sample.pairs, sample.data, store=sample.store, out=tmp_path / "taken", **ask)
