"""What of the icons is trained on, and what is held out, decided by hashes alone.

- ``designers``: sets by people whose pictures are never trained on;
- ``names``: concepts of which no picture is trained on;
- ``variants``: pictures of a name by a designer who is trained on, of which this designer's
  pictures are not, but others' are.

Each is in two halves, for choosing (``validation``) and for reporting (``test``).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

from helip_demo.data import concept_of

TRAIN = "train"
HELD_OUT = ("designers", "names", "variants")
SPLITS = (
    *(f"{what}-{half}" for what in HELD_OUT for half in ("test", "validation")),
    TRAIN,
)
SPLITS = tuple(sorted(SPLITS))

# 7 % of the colour icons; with those of one colour, too.
DESIGNERS = frozenset({
    "Bas Milius", "CyCraft", "Designmodo, Inc.", "Gerrit Halfmann", "Goran Spasojevic", "Icons8",
    "Iconscout", "Marketeq", "Mozilla", "Remix Design", "Resolve to Save Lives", "VMware",
})  # fmt: skip
NAMES = 1500  # concepts
VARIANTS = 2000  # pictures


class Picture(Protocol):
    @property
    def designer(self) -> str: ...
    @property
    def caption(self) -> str: ...
    @property
    def guessable(self) -> bool: ...


def splits(
    rows: Sequence[Picture],
    *,
    designers: Iterable[str] = DESIGNERS,
    names: int = NAMES,
    variants: int = VARIANTS,
) -> list[str]:
    """The split of each row: the same for the same rows, whatever their order."""
    held_designers = frozenset(designers)
    concepts = [concept(row.caption) for row in rows]
    held_names = _names(rows, concepts, held_designers, names)
    found = []
    for row, what in zip(rows, concepts, strict=True):
        if row.designer in held_designers:
            found.append(f"designers-{_half(row.caption)}")
        elif what in held_names:
            found.append(f"names-{_half(what)}")
        else:
            found.append(TRAIN)
    cells: dict[tuple[str, str], list[int]] = defaultdict(list)
    drawn_by: dict[str, set[str]] = defaultdict(set)
    for place, row in enumerate(rows):
        if found[place] == TRAIN:
            cells[row.caption, row.designer].append(place)
            drawn_by[row.caption].add(row.designer)
    count = 0
    taken: set[str] = set()
    for cell in sorted(cells, key=lambda cell: _hash("\n".join(cell))):
        caption, _ = cell
        if count >= variants:
            break
        if caption in taken or len(drawn_by[caption]) < 2:
            continue
        taken.add(caption)  # so that others' pictures stay
        count += len(cells[cell])
        for place in cells[cell]:
            found[place] = f"variants-{_half(caption)}"
    return found


def concept(caption: str) -> str:
    """What a caption is of: words in any order, without skin tones and genders."""
    return " ".join(sorted(concept_of(caption).split()))


def _names(
    rows: Sequence[Picture], concepts: list[str], held: frozenset[str], count: int
) -> set[str]:
    """So many concepts; none with a picture whose name says too little of it to find it by."""
    open_to_holding = {
        what for row, what in zip(rows, concepts, strict=True) if row.designer not in held
    }
    for row, what in zip(rows, concepts, strict=True):
        if not row.guessable:
            open_to_holding.discard(what)
    return set(sorted(open_to_holding, key=_hash)[:count])


def _half(text: str) -> str:
    return "test" if hashlib.sha256(f"half\n{text}".encode()).digest()[0] % 2 else "validation"


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
