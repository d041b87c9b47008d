"""Captions of icons from their names: what is drawn, without how.

A name such as ``arrow-circle-left-24-filled`` says an object, a size and a style. `Styles` learns
of a set which of its parts say how (declared by the set, or at the end of many of its names), and
`Captions` makes a caption of the rest: "arrow circle left". `in_one_order` makes "circle arrow
left" of another designer the same caption.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from math import log

from icon_sets import IconSet

# Parts that are styles wherever they stand last.
_STYLE = {
    "outline", "outlined", "filled", "solid", "duotone", "twotone", "two-tone", "bold-duotone",
    "line-duotone", "regular", "rounded", "alt", "variant", "stroke", "colored",
}  # fmt: skip
# Those that also mean something ("traffic light", "text bold"): styles where a set has many of
# them, or where the name without it, or with another style in its place, is in the set too.
_OFTEN_STYLE = {
    "fill", "line", "linear", "thin", "light", "bold", "sharp", "round", "flat", "duo", "broken",
    "remix", "print", "pop", "pencil", "mini", "micro", "compact", "small", "o", "f", "r", "md",
    "lg", "sm", "ltr", "rtl", "dark", "expressive", "color", "poly",
}  # fmt: skip
_SIZE = re.compile(r"\d+px|(8|10|12|14|15|16|18|20|22|24|28|32|36|40|48|64|96)|\dx\d")
_FEWEST = 5  # names, before a share of them says anything
_OFTEN = 0.1  # share of a set's names
_NEARLY_ALL = 0.3  # at the end of so many, any part is a style, but these:
_MEANT = {"off", "tone", "open", "face", "circle", "square", "jp", "file", "folder", "flag"}

# After these, and in longer series, a number says what is drawn; else it tells drawings apart, as
# it does in sets that number all that they draw again.
_ALWAYS_NUMBERED = {"number", "numbers", "digit", "keycap", "dice", "die", "heading"}
_ALTERNATES = ("streamline", "hugeicons", "reicon")
_NUMBERED = {
    "clock", "h", "level", "neg", "cellular", "multiplier", "signal",
    "battery", "column", "columns", "col", "cols", "row", "rows", "grid", "counter", "timer",
    "forward", "replay", "backward", "rewind", "back", "rating", "confirmations", "bar", "bars",
    "beaufort", "letter", "exposure", "fps", "version", "step", "steps", "plus", "minus", "day",
    "days", "hour", "hours", "minute", "minutes", "top", "index", "dan", "filter", "looks",
    "channel", "speed", "week", "quarter", "wifi", "bluetooth", "web", "person", "area", "f",
}  # fmt: skip
_SERIES = 6
_NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    )
}
# Words that tell drawings of one thing apart, wherever they stand.
_SAME = re.compile(r"alternate|alternative|alt\d?|variant\d?")
_INNER_STYLE = {"outline", "outlined", "filled", "solid", "duotone", "twotone", "stroke"}
_LETTERS_AND_NUMBER = re.compile(r"([a-z]{4,})(\d{1,2})")
_NO_WORDS = re.compile(r"uni[0-9a-f]{3,5}|u[0-9a-f]{4}")
LONGEST = 9  # words
_SHORT = {"of", "on", "in", "up", "to"}  # that a word can be split into


class Styles:
    """Which ends and beginnings of a set's names are sizes and styles."""

    def __init__(self, icons: IconSet) -> None:
        declared, prefixes = icons.styles
        emoji = icons.category == "Emoji"
        names = list(icons.icons)
        total = len(names)
        sizes = sum(bool(_SIZE.fullmatch(name.rpartition("-")[2])) for name in names)
        self.sized = not emoji and (
            any(_unsized(part) != part for part in declared) or sizes / total >= _OFTEN
        )
        if self.sized:
            names = [name for name in map(_without_size, names) if name]
        ends = Counter(name.rpartition("-")[2] for name in names if "-" in name)
        starts = Counter(name.partition("-")[0] for name in names if "-" in name)
        self.ends = set() if emoji else {_unsized(part) for part in declared} - {""} | _STYLE
        self.starts = set(prefixes)
        self.doubtful = set() if emoji else set(_OFTEN_STYLE)
        if not emoji:
            ends = Counter({part: count for part, count in ends.items() if count >= _FEWEST})
            starts = Counter({part: count for part, count in starts.items() if count >= _FEWEST})
            for part, count in ends.items():
                often = count / total >= _OFTEN
                if (part in _OFTEN_STYLE and often) or (
                    count / total >= _NEARLY_ALL and part not in _MEANT and not part.isdigit()
                ):
                    self.ends.add(part)
            self.starts |= {
                part
                for part, count in starts.items()
                if count / total >= _NEARLY_ALL and part not in _MEANT
            }
        self._names = set(names)
        heads = Counter()
        for name in self._names:
            head, _, part = name.rpartition("-")
            if part in self.ends or part in self.doubtful:
                heads[head] += 1
        self._heads = heads

    def cut(self, name: str) -> tuple[str, tuple[str, ...], int]:
        """A name without its styles and size; the styles; the size, 0 where it says none."""
        styles: list[str] = []
        size = 0
        changed = True
        while changed:
            changed = False
            for count in (2, 1):  # the longest first: "20-filled" before "filled"
                parts = name.split("-")
                if len(parts) <= count:
                    continue
                head, end = "-".join(parts[:-count]), "-".join(parts[-count:])
                if count == 1 and _SIZE.fullmatch(end) and (self.sized or end.endswith("px")):
                    size = int(re.split(r"\D", end)[0])
                elif end in self.ends or (end in self.doubtful and self._is_style(head)):
                    styles.append(end)
                else:
                    continue
                name, changed = head, True
                break
        start, _, rest = name.partition("-")
        if start in self.starts and rest:
            name = rest
            styles.append(start)
        return name, tuple(styles), size

    def _is_style(self, head: str) -> bool:
        return head in self._names or self._heads[head] > 1


def _unsized(style: str) -> str:
    return "-".join(part for part in style.split("-") if not _SIZE.fullmatch(part))


def _without_size(name: str) -> str:
    head, _, end = name.rpartition("-")
    return head if _SIZE.fullmatch(end) else name


class Captions:
    """Captions of the icons of one set."""

    def __init__(self, icons: IconSet, named: Callable[[IconSet, str], str | None]) -> None:
        """``named`` knows the names of flags and emoji, None for all others."""
        self._icons = icons
        self._named = named
        self._styles = Styles(icons)
        self._number_words = icons.prefix.startswith("icon-park")
        self._series: dict[str, set[int]] = defaultdict(set)
        if icons.category != "Emoji":
            for name in icons.icons:
                words = self._split(self._styles.cut(name)[0])
                if words[-1].isdigit():
                    self._series[" ".join(words[:-1])].add(int(words[-1]))

    def of(self, name: str) -> tuple[str, tuple[str, ...], int]:
        """The caption ("" where a name says nothing), the styles and the size."""
        known = self._named(self._icons, name)
        if known is not None:
            size = 1 if name.endswith("-1x1") else 4
            return known, (), size if self._icons.prefix == "flag" else 0
        bare, styles, size = self._styles.cut(name)
        words = self._split(bare)
        if self._icons.category != "Emoji" or self._icons.prefix.startswith(_ALTERNATES):
            words = self._without_number(words)
        words = [
            word
            for place, word in enumerate(words)
            if not _SAME.fullmatch(word) and not (place and word in _INNER_STYLE)
        ] or words
        if self._icons.prefix == "vscode-icons":
            words = [word for word in words if word not in ("type", "light")] or words
            words = ["open" if word == "opened" else word for word in words]
        if any(_NO_WORDS.fullmatch(word) for word in words) or len(words) > LONGEST:
            return "", styles, size
        caption = " ".join(words)
        # A lone letter or digit is what a hundred designers drew something else under.
        return (caption if len(caption) > 1 and not caption.isdigit() else ""), styles, size

    def _split(self, name: str) -> list[str]:
        words: list[str] = []
        for part in name.lower().replace("_", "-").replace(".", "-").split("-"):
            if glued := _LETTERS_AND_NUMBER.fullmatch(part):
                words += glued.groups()
            elif part:
                words.append(part)
        if self._number_words and len(words) > 1 and words[-1] in _NUMBER_WORDS:
            words[-1] = _NUMBER_WORDS[words[-1]]
        if words and words[-1].isdigit():
            words[-1] = str(int(words[-1]))  # "01"
        return words or [name]

    def _without_number(self, words: list[str]) -> list[str]:
        if len(words) < 2 or not words[-1].isdigit() or int(words[-1]) > 20:
            return words
        head = words[:-1]
        if head[-1].isdigit() or head[-1] in _ALWAYS_NUMBERED or "number" in head:
            return words
        if self._icons.prefix.startswith(_ALTERNATES):
            return head
        if head[-1] in _NUMBERED or len(self._series[" ".join(head)]) >= _SERIES:
            return words
        return head


class Joined:
    """Splits words that were written as one ("articulatedlorry"), by the words of all others."""

    def __init__(self, words: Mapping[str, int], whole: Collection[str] = ()) -> None:
        """``words``: how many designers use each; ``whole``: words that are one."""
        ranked = sorted(words, key=lambda word: (-words[word], word))
        self._words = {*ranked, *whole}
        self._cost = {
            word: log((place + 2) * log(len(ranked) + 2))
            for place, word in enumerate(ranked)
            if len(word) > 2 or word in _SHORT
        }
        self._longest = max(map(len, self._cost), default=0)

    def split(self, word: str) -> list[str]:
        """The words of it; itself where it is one or where there are none."""
        if len(word) < 8 or word in self._words or not word.isascii() or not word.isalpha():
            return [word]
        best: list[tuple[float, int]] = [(0.0, 0)]
        for end in range(1, len(word) + 1):
            options = [
                (best[start][0] + self._cost[word[start:end]], start)
                for start in range(max(0, end - self._longest), end)
                if word[start:end] in self._cost and best[start][0] < float("inf")
            ]
            best.append(min(options, default=(float("inf"), 0)))
        if best[-1][0] == float("inf"):
            return [word]
        parts: list[str] = []
        end = len(word)
        while end:
            start = best[end][1]
            parts.append(word[start:end])
            end = start
        return parts[::-1]


def in_one_order(captions: Iterable[str], longest: int = 3) -> dict[str, str]:
    """Of each caption of up to ``longest`` words: the order of them that most pictures have."""
    orders: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    counted = Counter(captions)
    for caption, count in counted.items():
        words = caption.split()
        meant = sum(word.isdigit() for word in words) > 1 or {"to", "of"} & set(words)
        if 1 < len(words) <= longest and not meant:
            orders[tuple(sorted(words))][caption] += count
    return {caption: min(of, key=lambda c: (-of[c], c)) for of in orders.values() for caption in of}
