"""Draws questions and their answers as cards: what is asked, and what two models answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

# In pixels; a page shows two of them as one.
WIDE, GAP, PAD, HEAD = 272, 14, 18, 104
LINE = {"large": 34, "small": 27, "note": 24}
SIZE = {"large": 27, "small": 21, "note": 18, "title": 30}
MOST = {"large": 8, "small": 5}  # lines, of which the last ends in "…" where there are more
INK, GREY, PALE = "#111827", "#4b5563", "#d1d5db"
RIGHT, WRONG = ("#15803d", "✓"), ("#b91c1c", "✗")
BADGE = 17  # half of the mark's width
TITLES = ("asked", "plain batches", "hard pairs")
CARDS = 2  # in a row
COLOURS = 255  # of the palette


@dataclass(frozen=True)
class Cell:
    """A picture with its caption under it; or the caption first, where the text is what counts."""

    text: str = ""
    picture: Image.Image | None = None
    note: str = ""
    text_first: bool = False
    right: bool | None = None
    """Of an answer; None: what is asked."""


Card = tuple[Cell, Cell, Cell]


def draw(sections: Sequence[tuple[str, Sequence[Card]]], path: Path, side: int) -> None:
    """Write a PNG of all cards, section by section. side: of a picture, in pixels."""
    rows = [
        (
            title if first == 0 else "",
            [cell for card in cards[first : first + CARDS] for cell in card],
        )
        for title, cards in sections
        for first in range(0, len(cards), CARDS)
    ]
    heights = [max(height(cell, side) for cell in cells) for _, cells in rows]
    high = (
        PAD + sum(tall + 2 * GAP for tall in heights) + HEAD * sum(bool(told) for told, _ in rows)
    )
    sheet = Image.new("RGB", (left_of(3 * CARDS - 1) + WIDE + PAD, high), "white")
    pen = ImageDraw.Draw(sheet)
    top = PAD
    for (title, cells), tall in zip(rows, heights, strict=True):
        if title:
            pen.text((PAD, top), title, INK, font("title", bold=True))
            for place in range(len(cells)):
                pen.text((left_of(place) + 2, top + 56), TITLES[place % 3], GREY, font("small"))
            top += HEAD
        for place, cell in enumerate(cells):
            fill(sheet, cell, (left_of(place), top), tall, side)
        top += tall + 2 * GAP
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def left_of(place: int) -> int:
    """Where a cell of a row begins; cards stand further apart than their cells."""
    return PAD + place * (WIDE + GAP) + place // 3 * 2 * GAP


def fill(sheet: Image.Image, cell: Cell, at: tuple[int, int], tall: int, side: int) -> None:
    pen = ImageDraw.Draw(sheet)
    left, top = at
    box = (left, top, left + WIDE, top + tall)
    colour, mark = {None: (PALE, ""), True: RIGHT, False: WRONG}[cell.right]
    pen.rounded_rectangle(box, 12, None, colour, 4)
    if mark:
        x = box[2] - 2 * BADGE
        pen.ellipse((x - BADGE, top - BADGE, x + BADGE, top + BADGE), colour)
        pen.text((x, top), mark, "white", font("large", bold=True), anchor="mm")
    middle = left + WIDE // 2
    # What is asked stands in the middle, answers stand level with each other.
    top += PAD if mark else PAD + (tall - height(cell, side)) // 2
    for what, told in parts(cell, side):
        if isinstance(told, Image.Image):
            sheet.paste(told, (middle - told.width // 2, top))
            top += told.height + 8
            continue
        for line in told:
            ink = INK if what == "large" else GREY
            pen.text((middle, top), line, ink, font(what), anchor="ma")
            top += LINE[what]


def height(cell: Cell, side: int) -> int:
    return 2 * PAD + sum(
        told.height + 8 if isinstance(told, Image.Image) else LINE[what] * len(told)
        for what, told in parts(cell, side)
    )


def parts(cell: Cell, side: int) -> list[tuple[str, Image.Image | list[str]]]:
    """From the top: pictures, and lines of text by how large they are."""
    size = "large" if cell.text_first else "small"
    text = [(size, wrapped(cell.text, size))] if cell.text else []
    shown = []
    if cell.picture is not None:
        shown = [("picture", fitted(cell.picture, side * 2 // 3 if cell.text_first else side))]
    note = [("note", [cell.note])] if cell.note else []
    return [*text, *shown, *note] if cell.text_first else [*shown, *text, *note]


def fitted(picture: Image.Image, side: int) -> Image.Image:
    """The whole picture, in a square of this side."""
    scale = min(side / picture.width, side / picture.height)
    size = max(1, round(scale * picture.width)), max(1, round(scale * picture.height))
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def wrapped(text: str, size: str) -> list[str]:
    """Lines that a cell is wide enough for."""
    most, used = WIDE - 2 * PAD, font(size)
    lines = [""]
    for word in text.replace(" .", ".").split():
        while used.getlength(word) > most:
            cut = next(n for n in range(len(word), 0, -1) if used.getlength(word[:n]) <= most)
            lines += [word[:cut]]
            word = word[cut:]
        longer = f"{lines[-1]} {word}".strip()
        if used.getlength(longer) <= most:
            lines[-1] = longer
        else:
            lines.append(word)
    lines = [line for line in lines if line]
    if len(lines) > MOST[size]:
        lines = lines[: MOST[size]]
        lines[-1] = f"{lines[-1].rpartition(' ')[0] or lines[-1][:-1]} …"
    return lines


def font(size: str, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), SIZE[size])
