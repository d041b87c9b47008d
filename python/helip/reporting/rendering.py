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


def render(template: str = "page.html", **values: Any) -> str:
    """The page of a template with its style, and a policy that allows nothing else."""
    style = (resources.files("helip.reporting") / "templates/style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page = environment().get_template(template)
    return page.render(style=Markup(style), style_hash=f"sha256-{digest}", **values).lstrip()


@cache
def environment() -> jinja2.Environment:
    """Templates that refuse names they are not given and spell out what a reader cannot see."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("helip.reporting"),
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
