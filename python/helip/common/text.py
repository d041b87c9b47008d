"""Text on pages and in notebooks: hidden characters spelled out, captions isolated, figures
rounded."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape

# Letters by category that show as nothing.
INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180e\u2800\u3164\uffa0")
JOINERS = frozenset("\u200c\u200d")  # emoji, Persian and Indic words need them
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# English words that two captions share without saying the same.
_PARTICLES = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "her", "his", "in"}
    | {"into", "is", "it", "its", "of", "on", "or", "over", "that", "the", "their", "this", "to"}
    | {"under", "up", "with"}
)
MARKS = 4  # combining marks in a row; more of them are decoration that spills over neighbours


def first_of(names: Iterable[str], shown: int = 3) -> str:
    """The first of them, and whether there are more."""
    some = list(itertools.islice(names, shown + 1))
    return ", ".join(some[:shown]) + (", …" if len(some) > shown else "")


def plain(text: str, limit: int | None = None) -> str:
    """Text on one line in which every hidden character is spelled out, as in ``[U+202E]``."""
    if text.isascii() and text.isprintable() and (limit is None or len(text) <= limit):
        return text
    return "".join(piece if shown else f"[{piece}]" for piece, shown in _pieces(text, limit))


def caption(text: str, limit: int = 240, marked: Collection[str] = ()) -> Markup:
    """A caption as markup: isolated from the text around it, hidden characters spelled out.

    ``marked`` are words, as `words_of` gives them, that are marked.
    """
    hidden, mark = Markup('<span class="hidden">{}</span>'), Markup("<mark>{}</mark>")
    parts: list[Markup] = []
    for kind, group in itertools.groupby(_pieces(text, limit), key=_kind):
        pieces = [piece for piece, _ in group]
        if kind == "hidden":
            parts += [hidden.format(piece) for piece in pieces]
        else:
            word = "".join(pieces)
            found = kind == "word" and word.casefold() in marked
            parts.append(mark.format(word) if found else escape(word))
    return Markup('<bdi dir="auto">{}</bdi>').format(Markup("").join(parts))


def words_of(text: str) -> set[str]:
    """The words of a caption that say something, without case."""
    groups = itertools.groupby(_pieces(text, None), key=_kind)
    words = ("".join(piece for piece, _ in group) for kind, group in groups if kind == "word")
    return {word.casefold() for word in words} - _PARTICLES


def table_html(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """What notebooks show of an object: a title and a table, in which all but Markup is escaped."""
    head = Markup("").join(Markup("<th>{}</th>").format(name) for name in header)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(map(_cell, row))) for row in rows
    )
    return str(
        Markup("<div><p>{}</p><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>")
        .format(_text(title), head, body)
    )  # fmt: skip


def _cell(value: str) -> Markup:
    return Markup('<td style="text-align:left;vertical-align:top">{}</td>').format(_text(value))


def _text(value: str) -> Markup:
    return value if isinstance(value, Markup) else escape(plain(value))


def _kind(piece: tuple[str, bool]) -> str:
    """``hidden``, ``word`` or ``between``."""
    character, shown = piece
    if not shown:
        return "hidden"
    return "word" if unicodedata.category(character)[0] in "LMN" else "between"


def number(value: Any) -> str:
    """Three significant digits, thousands separated, no trailing noise."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{int(value):,}"
    value = float(value)
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 1e-3:
        return f"{value:.2g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def cosine(value: float) -> str:
    """Two decimals, and a true minus."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # + 0.0: no minus before zero


def _pieces(text: str, limit: int | None) -> Iterator[tuple[str, bool]]:
    """Yield (character, True), or (its code, False) for one that a reader could not see."""
    text = " ".join(text.split())
    if limit is not None and len(text) > limit:
        text = text[:limit].rstrip() + "…"
    # Joiners and tags with nothing to join are as hidden as the rest.
    bare = not any(unicodedata.category(c)[0] in "LNPS" and c not in INVISIBLE for c in text)
    marks, flag = 0, False
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        tag = "\U000e0020" <= character <= "\U000e007f"
        flag = character == "\U0001f3f4" or (flag and tag)  # a flag such as Scotland's
        hidden = category in HIDDEN and character not in JOINERS and not (flag and tag)
        hidden = hidden or character in INVISIBLE or marks > MARKS
        if hidden or (bare and not character.isspace()):
            yield f"U+{ord(character):04X}", False
        else:
            yield character, True
