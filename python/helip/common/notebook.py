"""What notebooks show of an object: a small table of HTML, in which everything is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from helip.common.text import plain


def table_html(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A title and a table; cells that are Markup go in as they are."""
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
