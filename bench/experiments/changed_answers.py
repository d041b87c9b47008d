"""First answers that change where hard pairs take the place of plain batches: counted, and drawn.

    python bench/experiments/changed_answers.py                            icons
    python bench/experiments/changed_answers.py --set fashion --data DIR   photographs (photos.py)

From the start of one seed go on: plain batches, plain batches in another order, and hard pairs in
communities, on photographs with ``distill=1`` as is the default. Each answers every question of the
test half, among all pictures or captions of the set. Counts go into
``results/changed-answers.json``. Of the questions that plain batches answer wrong and hard pairs
right some are drawn, at random by a fixed seed; and of those the other way round in proportion.

Icons are drawn into docs/pictures, and ``results/changed-answers-sets.json`` says whose they are.
Photographs may not be passed on: they are drawn into build/changed-answers, which is not committed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import answer_cards
import heads
import icon_experiments
import icon_recall
import icon_scene
import icons
import numpy as np
import photo_experiments
import photo_runs
import photo_scene
import records
import torch
from answer_cards import Card, Cell
from PIL import Image

import helip

NAME = "changed-answers"
PICTURES = records.ROOT / "docs" / "pictures"
SETS = ("icons", *photo_experiments.SMALL)
SEED = 0
EXAMPLES = 8
FEWEST = 3  # of the questions that hard pairs answer wrong
ROWS = 64  # of a batch, of photographs
SIDE = {"icons": 128, "photographs": 210}  # of a picture that is drawn
#: Sets of file types and of clouds: marks of products, which are counted and not drawn.
MARKS = frozenset({"catppuccin", "gcp", "k8s", "material-icon-theme", "vscode-icons"})
#: What is trained: whether with hard pairs, and by which seed the batches are made.
SIDES = {"plain": (False, SEED), "other": (False, SEED + 1), "hard": (True, SEED)}


@dataclass(frozen=True, eq=False)
class Shown:
    """Pictures with captions, and which of them are asked for."""

    captions: Sequence[str]  # distinct
    owner: np.ndarray  # int64 [m], pictures, and
    caption: np.ndarray  # int64 [m], places in captions: which picture has which
    train: np.ndarray  # int64, pictures that are trained on
    asked: Mapping[str, np.ndarray]  # name of a split -> pictures
    picture: Callable[[int], Image.Image]
    maker: Callable[[int], str]  # of which set a picture is; "" where that is not said


class Answers(NamedTuple):
    to_text: bool
    query: np.ndarray  # int64 [n], pictures if to_text, else captions
    answer: np.ndarray  # int64 [n], captions if to_text, else pictures
    right: np.ndarray  # bool [n]


Side = dict[str, Answers]


def answers(shown: Shown, image: torch.Tensor, text: torch.Tensor) -> Side:
    """The first answers to all questions by unit rows of all pictures and captions. What is right,
    and what may be the answer, is as `icon_recall` and `photo_scene` have it."""
    found = {}
    having = shown.owner * len(shown.captions) + shown.caption
    for split, rows in shown.asked.items():
        told = photo_scene.first_of(image[rows], text)
        right = np.isin(rows * len(shown.captions) + told, having)
        found[f"picture → text{split}"] = Answers(True, rows, told, right)
        inside = np.isin(shown.owner, rows)
        queries = np.unique(shown.caption[inside])
        others = photo_scene.places(queries, shown.caption[~inside], shown.owner[~inside])
        told = photo_scene.first_of(text[queries], image, others)
        right = np.isin(told * len(shown.captions) + queries, having)
        found[f"text → picture{split}"] = Answers(False, queries, told, right)
    return found


def of_icons() -> tuple[Shown, dict[str, Side]]:
    ways = {trial.name: trial for trial in icon_experiments.EXPERIMENTS["icons-rivals"].variants}
    seen = icon_scene.scene()
    about = seen.icons
    caption = np.unique(about.groups, return_inverse=True)[1]
    firsts = icon_recall.first_rows(about)
    asked = {split: about.rows(f"{split}-test") for split in icon_recall.SPLITS}
    asked["designers"] = asked["designers"][about.known[asked["designers"]]]
    data = helip.open_dataset(about.shards(), progress=False)
    shown = Shown(
        [about.captions[row] for row in firsts], np.arange(len(about)), caption, seen.train,
        {f", {split}": rows for split, rows in asked.items()}, data.image,
        lambda row: about.set_names[about.sets[row]],
    )  # fmt: skip

    def trained(hard: bool, seed: int) -> Side:
        trial = ways[icon_experiments.EIGHT if hard else "control"]
        model = heads.loaded(heads.start(trial, SEED), seen)
        heads.train(model, seen, trial, seed)
        with torch.no_grad():
            return answers(shown, *model(seen.image, seen.texts[firsts]))

    return shown, {name: trained(*side) for name, side in SIDES.items()}


def shown_photographs(seen: photo_scene.Scene) -> Shown:
    about = seen.shown
    return Shown(
        sorted({text for told in about.captions for text in told}),
        np.repeat(np.arange(len(about)), np.diff(seen.first)), seen.caption, seen.train,
        {"": about.rows("test")}, lambda row: Image.open(about.paths[row]), lambda row: "",
    )  # fmt: skip


def of_photographs(name: str) -> tuple[Shown, dict[str, Side]]:
    ways = {trial.name: trial for trial in photo_experiments.EXPERIMENTS["photos-heads"].variants}
    seen = photo_scene.scene(name)
    shown = shown_photographs(seen)

    def trained(hard: bool, seed: int) -> Side:
        trial = ways[f"{name}, {ROWS} rows, {'default' if hard else 'control'}"]
        model = photo_runs.begun(trial, SEED)
        torch.manual_seed(seed)
        photo_runs.train(model, seen, trial, seed)
        return answers(shown, *photo_runs.encoded(model, seen, trial))

    return shown, {name: trained(*side) for name, side in SIDES.items()}


def counted(sides: Mapping[str, Side]) -> dict[str, list[int]]:
    """What is asked -> how many questions; how many of them both answer right, hard pairs alone,
    plain batches alone, neither; and plain batches in another order alone, in the first alone."""
    found = {}
    for what in sides["plain"]:
        plain, other, hard = (sides[name][what].right for name in SIDES)
        found[what] = [
            int(part.sum())
            for part in (plain | True, plain & hard, hard & ~plain, plain & ~hard, ~plain & ~hard,
                         other & ~plain, plain & ~other)
        ]  # fmt: skip
    return {**found, "all": np.sum([*found.values()], axis=0).tolist()}


def table(counts: Mapping[str, Mapping[str, list[int]]]) -> list[list[str]]:
    titles = ["what is asked", "questions", "both right", "hard pairs alone", "plain batches alone",
              "both wrong", "plain in another order alone",
              "plain in the first order alone"]  # fmt: skip
    return [
        titles,
        *([f"{name}, {what}", *(f"{count:,}" for count in row)]
          for name in SETS if name in counts for what, row in sorted(counts[name].items())),
    ]  # fmt: skip


def examples(shown: Shown, sides: Mapping[str, Side]) -> list[tuple[str, list[Card]]]:
    """Titles and cards, of questions that one side alone answers right."""
    rng = np.random.default_rng(SEED)
    plain, hard = sides["plain"], sides["hard"]
    _, _, gained, lost, *_ = counted(sides)["all"]
    several = max(FEWEST, round(EXAMPLES * lost / max(gained, 1)))
    told = []
    for title, right, wrong, count in (
        (f"Plain batches wrong, hard pairs right: {{}} of {gained:,}", hard, plain, EXAMPLES),
        (f"Plain batches right, hard pairs wrong: {{}} of {lost:,}", plain, hard, several),
    ):
        drawn = list(itertools.islice(changed(shown, sides, right, wrong, rng), count))
        drawn.sort(key=lambda each: each[0], reverse=True)  # those to text last
        told.append((title.format(len(drawn)), [found for _, found in drawn]))
    return told


def changed(
    shown: Shown, sides: Mapping[str, Side], right: Side, wrong: Side, rng: np.random.Generator
) -> Iterator[tuple[str, Card]]:
    """What is asked, and the card, of all questions that one side alone answers right; in random
    order, without those that show a mark."""
    places = [(what, place) for what in right
              for place in np.flatnonzero(right[what].right & ~wrong[what].right)]  # fmt: skip
    for number in rng.permutation(len(places)):
        what, place = places[number]
        found = card(shown, sides["plain"][what], sides["hard"][what], place)
        if not {cell.note for cell in found} & MARKS:
            yield what, found


def card(shown: Shown, plain: Answers, hard: Answers, place: int) -> Card:
    """What is asked, and the answers of both sides."""
    query = int(plain.query[place])

    def answer(of: Answers) -> Cell:
        told, right = int(of.answer[place]), bool(of.right[place])
        if not of.to_text:
            caption = query if right else int(shown.caption[shown.owner == told][0])
            return Cell(
                shown.captions[caption], shown.picture(told), shown.maker(told), right=right
            )
        # Beside a caption another picture that has it, if there is one that was trained on.
        having = shown.owner[shown.caption == told]
        having = having[having != query]
        if not len(having):
            return Cell(shown.captions[told], text_first=True, right=right)
        row = int(having[np.argmax(np.isin(having, shown.train))])
        return Cell(shown.captions[told], shown.picture(row), shown.maker(row), True, right)

    if plain.to_text:
        asked = Cell(picture=shown.picture(query), note=shown.maker(query))
    else:
        asked = Cell(shown.captions[query], text_first=True)
    return asked, answer(plain), answer(hard)


def credits(attribution: str, used: set[str]) -> list[list[str]]:
    """Sets whose pictures are drawn, by whom, and the licence, of what ``icons.py`` wrote."""
    lines = re.findall(r"^- ([\w-]+): (.+), by (.+), (\S+)(?: \((\S+)\))?$", attribution, re.M)
    found = [
        [f"{title} ({prefix})", re.sub(r"^(.+) \((\S+)\)$", r"[\1](\2)", author),
         f"[{licence}]({address})" if address else licence]
        for prefix, title, author, licence, address in lines if prefix in used
    ]  # fmt: skip
    return [["set", "by", "licence"], *found]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", choices=SETS, default="icons")
    parser.add_argument("--data", type=Path, help="the photographs, see photos.py")
    args = parser.parse_args()
    if args.data is not None:
        os.environ["HELIP_PHOTOS"] = str(args.data.resolve())
    torch.set_num_threads(1)
    shown, sides = of_icons() if args.set == "icons" else of_photographs(args.set)
    counts = records.read(NAME)["counts"] if NAME in records.names() else {}
    counts[args.set] = counted(sides)
    told = {"title": "First answers that change", "counts": counts, "table": table(counts)}
    records.write(NAME, told)
    print(records.markdown(table({args.set: counts[args.set]})))
    sections = examples(shown, sides)
    if args.set == "icons":
        path = PICTURES / f"{NAME}-icons.png"
        attribution = (icons.place("colour", 64) / "ATTRIBUTION.md").read_text(encoding="utf-8")
        drawn = {cell.note for _, cards in sections for found in cards for cell in found}
        credit = {"title": "Whose icons are drawn", "table": credits(attribution, drawn)}
        records.write(f"{NAME}-sets", credit)
    else:
        path = records.ROOT / "build" / NAME / f"{args.set}.png"
    answer_cards.draw(sections, path, SIDE["icons" if args.set == "icons" else "photographs"])
    print(f"drawn: {path}")


if __name__ == "__main__":
    main()
