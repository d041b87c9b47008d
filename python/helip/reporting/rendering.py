"""The page from its templates: everything is escaped that is not markup already."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from helip.common.text import caption, cosine, number, plain

#: The style of a page: the whole of it, and its cards.
STYLES = ("style.css", "card.css")


def render(template: str = "page.html", /, package: str = "helip.reporting", **values: Any) -> str:
    """The page with its style, and a policy that allows nothing else; see `environment`."""
    folder = resources.files("helip.reporting") / "templates"
    style = "".join((folder / name).read_text(encoding="utf-8") for name in STYLES)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page = environment(package).get_template(template)
    return page.render(style=Markup(style), style_hash=f"sha256-{digest}", **values).lstrip()


@cache
def environment(package: str = "helip.reporting") -> jinja2.Environment:
    """Templates that refuse names they are not given and spell out what a reader cannot see.

    Those of ``package``, and those of the report where it has none of that name.
    """
    names = dict.fromkeys([package, "helip.reporting"])
    templates = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name) for name in names]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else plain(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "caption": caption,
        "cosine": cosine,
        "number": number,
        "point": "{:.2f}".format,
    }
    return templates
