"""Photographs from folders: what is read, how it is split, and what is measured."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import helip

Lines = list[tuple[str, int, str]]


def _lay(root: Path, lines: Lines, seed: int = 0) -> Path:
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for file in dict.fromkeys(file for file, _, _ in lines):
        pixels = rng.integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).resize((48, 48)).save(root / "images" / file, quality=95)
    told = "".join(f"{file}\t{number}\t{text}\n" for file, number, text in lines)
    (root / "captions.tsv").write_text(told, encoding="utf-8")
    return root


@pytest.fixture
def photos(experiments: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HELIP_PHOTOS", str(tmp_path))
    module = experiments("photos")
    module.load.cache_clear()
    return module


def test_titles_and_near_twins_are_on_one_side(photos: Any, tmp_path: Path) -> None:
    lines = [(f"{i}.jpg", 0, f"title {i % 150}") for i in range(300)]
    root = _lay(tmp_path / "fashion", lines)
    # Twins of twenty photographs, under titles of their own.
    for i in range(20):
        shutil.copy(root / "images" / f"{i}.jpg", root / "images" / f"twin{i}.jpg")
        lines.append((f"twin{i}.jpg", 0, f"another title {i}"))
    told = "".join(f"{file}\t{number}\t{text}\n" for file, number, text in lines)
    (root / "captions.tsv").write_text(told, encoding="utf-8")
    shown = photos.load("fashion")
    held = {shown.captions[i][0] for part in photos.SPLITS[1:] for i in shown.rows(part)}
    assert len(held) > 10
    trained = shown.rows("train")
    assert len(trained) > 150
    looks = photos.photo_looks(shown.paths)
    for part in photos.SPLITS[1:]:
        assert not {looks[i] for i in shown.rows(part)} & {looks[i] for i in trained}
    # A title that is held out as such stands at no photograph that is trained on.
    titles = {shown.captions[i][0] for i in trained}
    new = {title for title in held if photos.percentile(f"title {title}") < 2 * photos.HELD_TITLES}
    assert new and not new & titles
    assert all(shown.known[i] == (shown.captions[i][0] in titles) for i in range(len(shown)))


def test_what_is_missing_is_counted_and_what_is_there_is_used(photos: Any, tmp_path: Path) -> None:
    lines = [(f"{i}.jpg", n, f"caption {n} of {i}") for i in range(12) for n in range(2)]
    root = _lay(tmp_path / "flickr8k", lines)
    (root / "images" / "3.jpg").unlink()
    Image.new("RGB", (8, 8)).save(root / "images" / "unnamed.jpg")
    for name, rows in (("train", range(8)), ("dev", range(8, 10)), ("test", range(10, 11))):
        (root / f"{name}.txt").write_text("".join(f"{i}.jpg\n" for i in rows))
    shown = photos.load("flickr8k")
    assert shown.left_out == {
        "captions without their photograph": 1, "photographs without a caption": 1,
        "in no published split": 1,
    }  # fmt: skip
    assert [len(shown.rows(part)) for part in photos.SPLITS] == [7, 2, 1]
    assert all(texts == (f"caption 0 of {path.stem}", f"caption 1 of {path.stem}")
               for path, texts in zip(shown.paths, shown.captions, strict=True))  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [("other.jpg\t0\ta cat\n", "file of another set"), ("0.jpg a cat\n", "captions.tsv:1: ")],
)
def test_a_caption_file_of_another_set_is_named(
    photos: Any, tmp_path: Path, line: str, message: str
) -> None:
    _lay(tmp_path / "fashion", [("0.jpg", 0, "a cat")])
    (tmp_path / "fashion" / "captions.tsv").write_text(line)
    with pytest.raises(SystemExit, match=message):
        photos.load("fashion")


def test_recall_is_that_of_a_plain_search(experiments: Any, photos: Any) -> None:
    scenes = experiments("photo_scene")
    rng = np.random.default_rng(5)
    splits = rng.integers(0, 3, 120)
    told = [tuple(f"caption {c}" for c in rng.integers(0, 90, 1 + i % 2)) for i in range(120)]
    shown = photos.Photos(
        "fashion", [Path(str(i)) for i in range(120)], told, splits, np.ones(120, bool),
        np.zeros(120, np.int64), {},
    )  # fmt: skip
    distinct, caption = np.unique([text for texts in told for text in texts], return_inverse=True)
    first = np.cumsum([0, *map(len, told)])
    scene = scenes.Scene(
        shown, torch.zeros(0), torch.zeros(len(distinct), 1), caption, first,
        np.flatnonzero(splits == 0), None,
    )  # fmt: skip
    text = rng.normal(size=(len(distinct), 6))
    image = rng.normal(size=(120, 6)) + text[caption[first[:-1]]]
    found = scenes.recall(scene, torch.from_numpy(image), torch.from_numpy(text), "test")
    of = [set(caption[first[i] : first[i + 1]].tolist()) for i in range(120)]
    for name, rows in (("published", np.flatnonzero(splits == 2)), ("among all", range(120))):
        asked = [i for i in rows if splits[i] == 2]
        captions = sorted(set().union(*(of[i] for i in rows)))
        forth = [max(captions, key=lambda c: text[c] @ image[i]) in of[i] for i in asked]
        back = []
        for c in sorted(set().union(*(of[i] for i in asked))):
            gallery = [i for i in rows if splits[i] == 2 or c not in of[i]]
            back.append(c in of[max(gallery, key=lambda i: text[c] @ image[i])])
        assert found[f"I→T, {name}"] == pytest.approx(np.mean(forth))
        assert found[f"T→I, {name}"] == pytest.approx(np.mean(back))
        assert found[name] == pytest.approx((np.mean(forth) + np.mean(back)) / 2)
        assert 0 < np.mean(forth) < 1


def test_experiments_on_photographs_compare_what_they_hold(experiments: Any) -> None:
    for name, experiment in experiments("photo_experiments").EXPERIMENTS.items():
        names = [trial.name for trial in experiment.variants]
        assert len(set(names)) == len(names), name
        assert set(experiment.compared.values()) <= set(names), name


def test_a_start_of_other_sets_has_not_seen_the_set_that_is_tuned_on(experiments: Any) -> None:
    trial = experiments("photo_trials").Trial("", data="mixed", only="paragraphs")
    start = experiments("photo_runs").start_trial(trial)
    chosen = experiments("photo_scene").those_of
    sources = np.array([0, 1, 2, 1])
    assert chosen(sources, trial.only).tolist() == [False, True, False, True]
    assert chosen(sources, start.only).tolist() == [True, False, True, False]


def test_communities_with_replacement_leave_rows_out(experiments: Any) -> None:
    rivals = experiments("photo_rivals")
    rng = np.random.default_rng(3)
    ids = np.stack([rng.choice(np.delete(np.arange(96), row), 60, False) for row in range(96)])
    pairs = helip.HardPairs.from_arrays(ids, np.sort(rng.random((96, 60)))[:, ::-1])
    batches = [batch for batch, _ in itertools.islice(rivals.replaced(pairs, 16, 1), 6)]
    for batch in batches:
        assert len(set(batch)) == 16
        assert np.isin(batch[1:8], ids[batch[0], :50]).all()
    # Of as many rows as there are, some come twice and some not at all.
    assert 40 < len(set(np.concatenate(batches))) < 90
