"""HTML that cannot be broken by its contents: escaping by default, captions made harmless."""

from __future__ import annotations

import base64
import hashlib
import html
import string
import unicodedata
from collections.abc import Iterable, Iterator
from importlib import resources
from typing import Any

# Letters by category that show as nothing.
INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180e\u2800\u3164\uffa0")
JOINERS = frozenset("\u200c\u200d")  # emoji, Persian and Indic words need them
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
MARKS = 4  # combining marks in a row; more of them are decoration that spills over neighbours


class Html(str):
    """A string that is markup already. Everything else is escaped by :func:`markup`."""

    __slots__ = ()


def markup(template: str, **values: Any) -> Html:
    """Fill ``{name}`` places of a template; values that are not Html are escaped."""
    safe = {
        name: value if isinstance(value, Html) else html.escape(plain(str(value)))
        for name, value in values.items()
    }
    return Html(template.format_map(safe))


def join(parts: Iterable[Html], separator: str = "\n") -> Html:
    """Concatenate markup."""
    return Html(separator.join(parts))


def plain(text: str, limit: int | None = None) -> str:
    """Text on one line in which every hidden character is spelled out, as in ``[U+202E]``."""
    if text.isascii() and text.isprintable() and (limit is None or len(text) <= limit):
        return text
    return "".join(piece if shown else f"[{piece}]" for piece, shown in _pieces(text, limit))


def caption(text: str, limit: int = 240) -> Html:
    """A caption as markup: isolated from the text around it, hidden characters spelled out."""
    inner = join(
        (
            Html(html.escape(piece))
            if shown
            else markup('<span class="hidden">{c}</span>', c=piece)
            for piece, shown in _pieces(text, limit)
        ),
        "",
    )
    return markup('<bdi dir="auto">{inner}</bdi>', inner=inner)


def document(title: str, body: Html) -> str:
    """The whole page: the template with its style, and a policy that allows nothing else."""
    folder = resources.files("helip.reporting")
    style = folder.joinpath("style.css").read_text(encoding="utf-8")
    page = string.Template(folder.joinpath("template.html").read_text(encoding="utf-8"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return page.substitute(
        title=html.escape(plain(title)), style=style, style_hash=f"sha256-{digest}", body=body
    )


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
