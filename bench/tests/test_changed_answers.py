"""Answers that change: what is counted of two sides, and what is drawn of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

SPLITS = ["train", "designers-test", "names-test", "variants-test"]


def _icons(experiments: Any) -> Any:
    rng = np.random.default_rng(4)
    groups = np.concatenate([np.arange(60), rng.integers(0, 60, 140)])
    splits = rng.integers(0, len(SPLITS), 200)
    return experiments("icons").Icons(
        folder=Path(), keys=[str(row) for row in range(200)],
        captions=[f"caption {group}" for group in groups], groups=groups,
        sets=np.where(np.arange(200) % 8, 0, 1), set_names=["a", "gcp"],
        designers=np.zeros(200, np.int64), designer_names=["a"], splits=splits, split_names=SPLITS,
        known=np.isin(groups, groups[splits == 0]),
    )  # fmt: skip


def _shown(experiments: Any, icons: Any) -> Any:
    asked = {f", {split}": icons.rows(f"{split}-test") for split in ("variants", "names")}
    rows = icons.rows("designers-test")
    asked[", designers"] = rows[icons.known[rows]]
    return experiments("changed_answers").Shown(
        [f"caption {group}" for group in range(60)], np.arange(200), icons.groups,
        icons.rows("train"), asked, lambda row: Image.new("RGB", (8, 12), (row, 0, 0)),
        lambda row: icons.set_names[icons.sets[row]],
    )  # fmt: skip


def _rows(icons: Any, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of pictures and captions, so that some answers are right."""
    rng = np.random.default_rng(seed)
    text = np.random.default_rng(1).normal(size=(60, 6))
    image = rng.normal(size=(200, 6)) + 1.5 * text[icons.groups]
    return torch.from_numpy(image), torch.from_numpy(text)


@pytest.fixture
def sides(experiments: Any) -> tuple[Any, Any]:
    icons = _icons(experiments)
    shown, changed = _shown(experiments, icons), experiments("changed_answers")
    return shown, {
        name: changed.answers(shown, *_rows(icons, seed)) for seed, name in enumerate(changed.SIDES)
    }


def test_as_many_answers_of_icons_are_right_as_recall_says(experiments: Any) -> None:
    icons = _icons(experiments)
    shown, rows = _shown(experiments, icons), _rows(icons, 0)
    found = experiments("changed_answers").answers(shown, *rows)
    figures = experiments("icon_recall").recall(icons, *rows, "test")["figures"]
    assert len(found) == 6
    for what, told in found.items():
        name = f"{what.partition(', ')[2]} {'I→T' if told.to_text else 'T→I'}"
        assert told.right.mean() == pytest.approx(figures[name]), what
        assert 0 < told.right.mean() < 1


def test_as_many_answers_of_photographs_are_right_as_recall_says(experiments: Any) -> None:
    photos, scenes = experiments("photos"), experiments("photo_scene")
    rng = np.random.default_rng(5)
    told = [tuple(f"caption {c}" for c in rng.integers(0, 90, 1 + i % 2)) for i in range(120)]
    about = photos.Photos(
        "fashion", [Path(str(i)) for i in range(120)], told, rng.integers(0, 3, 120),
        np.ones(120, bool), np.zeros(120, np.int64), {},
    )  # fmt: skip
    distinct, caption = np.unique([text for texts in told for text in texts], return_inverse=True)
    first = np.cumsum([0, *map(len, told)])
    scene = scenes.Scene(
        about, torch.zeros(0), torch.zeros(len(distinct), 1), caption, first, about.rows("train"),
        None,
    )  # fmt: skip
    changed = experiments("changed_answers")
    shown = changed.shown_photographs(scene)
    text = rng.normal(size=(len(distinct), 6))
    image = rng.normal(size=(120, 6)) + text[caption[first[:-1]]]
    rows = torch.from_numpy(image), torch.from_numpy(text)
    found, figures = changed.answers(shown, *rows), scenes.recall(scene, *rows, "test")
    assert found["picture → text"].right.mean() == pytest.approx(figures["I→T, among all"])
    assert found["text → picture"].right.mean() == pytest.approx(figures["T→I, among all"])
    assert shown.captions == distinct.tolist()


def test_each_question_is_counted_once(experiments: Any, sides: Any) -> None:
    changed, (_, of) = experiments("changed_answers"), sides
    counts = changed.counted(of)
    for what, (questions, both, gained, lost, neither, *orders) in counts.items():
        assert questions == both + gained + lost + neither > 0
        if what != "all":
            right = {name: int(side[what].right.sum()) for name, side in of.items()}
            assert (both + gained, both + lost) == (right["hard"], right["plain"])
            assert orders[0] - orders[1] == right["other"] - right["plain"]
    assert counts["all"][0] == sum(len(side.right) for side in of["plain"].values())
    titles, *rows = changed.table({"fashion": counts, "icons": counts})
    assert [row[0] for row in rows[:2]] == ["icons, all", "icons, picture → text, designers"]
    assert all(len(row) == len(titles) for row in rows)


def test_examples_are_of_one_seed_in_proportion_and_show_no_marks(
    experiments: Any, sides: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, (shown, of) = experiments("changed_answers"), sides
    monkeypatch.setattr(changed, "EXAMPLES", 4)
    _, _, gained, lost, *_ = changed.counted(of)["all"]
    sections = changed.examples(shown, of)
    assert [len(cards) for _, cards in sections] == [4, max(3, round(4 * lost / gained))]
    assert sections[0][0].endswith(f"4 of {gained}")
    for (_, cards), which in zip(sections, ([False, True], [True, False]), strict=True):
        for card in cards:
            assert [cell.right for cell in card] == [None, *which]
            assert not {cell.note for cell in card} & changed.MARKS
    again = changed.examples(shown, of)
    assert [[[cell.text for cell in card] for card in cards] for _, cards in again] == [
        [[cell.text for cell in card] for card in cards] for _, cards in sections
    ]


def test_a_wrong_picture_has_its_own_caption_and_a_caption_its_picture(
    experiments: Any, sides: Any
) -> None:
    changed, (shown, of) = experiments("changed_answers"), sides
    for what, plain in of["plain"].items():
        place = int(np.flatnonzero(~plain.right)[0])
        asked, answer, _ = changed.card(shown, plain, of["hard"][what], place)
        told = plain.answer[place]
        row = answer.picture.getpixel((0, 0))[0]
        if plain.to_text:
            assert asked.picture.getpixel((0, 0))[0] == plain.query[place] and not asked.text
            assert answer.text == shown.captions[told]
            assert shown.caption[row] == told
            assert row in shown.train or told not in shown.caption[shown.train]
        else:
            assert asked.text == shown.captions[plain.query[place]] and asked.picture is None
            assert (row, answer.text) == (told, shown.captions[shown.caption[told]])


def test_whose_icons_are_drawn_is_said_with_the_licence(experiments: Any) -> None:
    sets, changed = experiments("icon_sets"), experiments("changed_answers")
    about = {"name": "A set, in colour", "author": {"name": "Ann (B)", "url": "https://a"},
             "license": {"spdx": "CC-BY-4.0", "url": "https://l"}}  # fmt: skip
    other = {"name": "Other", "author": {"name": "Bo"}, "license": {"spdx": "MIT"}}
    used = [sets.icon_set(prefix, told, {"icons": {}})
            for prefix, told in (("a-set", about), ("b", other), ("c", other))]  # fmt: skip
    assert changed.credits(sets.attribution(used), {"a-set", "b"}) == [
        ["set", "by", "licence"],
        ["A set, in colour (a-set)", "[Ann (B)](https://a)", "[CC-BY-4.0](https://l)"],
        ["Other (b)", "Bo", "MIT"],
    ]


def test_texts_fit_into_their_cells(experiments: Any, tmp_path: Path) -> None:
    cards = experiments("answer_cards")
    long = "a caption of unabbreviated" + "x" * 60 + " words " * 40
    for size, most in cards.MOST.items():
        lines = cards.wrapped(long, size)
        assert len(lines) == most and lines[-1].endswith("…")
        assert all(cards.font(size).getlength(line) < cards.WIDE for line in lines)
    assert cards.wrapped("two words", "small") == ["two words"]
    picture = Image.new("RGB", (30, 60), "blue")
    card = (
        cards.Cell(long, text_first=True), cards.Cell("a caption", picture, "a set", right=False),
        cards.Cell("a caption", picture, "a set", True, True),
    )  # fmt: skip
    cards.draw([("One", [card] * 3), ("Two", [card])], tmp_path / "new" / "cards.png", 100)
    with Image.open(tmp_path / "new" / "cards.png") as drawn:
        high = 3 * (cards.height(card[0], 100) + 2 * cards.GAP) + 2 * cards.HEAD + cards.PAD
        assert drawn.height == high
        assert drawn.width == cards.left_of(5) + cards.WIDE + cards.PAD
    assert cards.fitted(picture, 100).size == (50, 100)
