"""Cards: the README.md of a repository, with the metadata that a hub reads, from templates.

They are public, so paths of a machine and credentials in URLs stay out of them, and out of the
files that go with them.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import PureWindowsPath
from typing import Any, Literal

import jinja2

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.common.remote.urls import without_secrets
from helip.common.text import number, plain

#: In place of the name of a repository, where a card is written before there is one.
NO_REPOSITORY = "OWNER/NAME"
_LIBRARIES = ("torch", "open_clip_torch", "transformers")
# An absolute path within words; not the path of an address, nor a fraction such as 1/2, nor </b>.
_PATH = re.compile(r"""(?<![\w/.*<-])(?<!:(?=//))(?:file:/*)?~?/[^\s'",;()|]+""")
# Begins a value that is a path as a whole, also one of Windows.
_WHOLE_PATH = re.compile(r"/|~|file:|[A-Za-z]:[/\\]|\\\\")


def card_of(kind: Literal["model", "dataset"], metadata: Mapping[str, Any], **values: Any) -> str:
    """The text of a README.md; ``values`` are those of templates/{kind}_card.md.

    Raises InvalidArgumentError for metadata that a hub refuses.
    """
    from huggingface_hub import DatasetCardData, ModelCardData

    given = {name: value for name, value in metadata.items() if value is not None}
    data = (ModelCardData if kind == "model" else DatasetCardData)(**given)
    body = _templates().get_template(f"{kind}_card.md").render(versions=_versions(), **values)
    return f"---\n{data.to_yaml()}\n---\n\n{body.strip()}\n"


def without_paths(value: Any) -> Any:
    """The same plain values, of absolute paths only the last part, of URLs no credentials."""
    if isinstance(value, Mapping):
        return {str(name): without_paths(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_paths(each) for each in value]
    if isinstance(value, os.PathLike):
        return without_paths(os.fspath(value))
    if not isinstance(value, str):
        return value
    value = without_secrets(value)
    if _WHOLE_PATH.match(value):
        return PureWindowsPath(value).name  # which takes slashes, too
    return _last_parts(value)


def words_without_paths(text: str) -> str:
    """The same Markdown, of absolute paths only the last part, of URLs no credentials."""
    return _last_parts(without_secrets(text, markdown=True))


def refuse_paths(name: str, text: str) -> None:
    """InvalidArgumentError where the file ``name`` names the home or the working directory."""
    folders = [os.path.expanduser("~")]
    with contextlib.suppress(OSError):  # it may be deleted
        folders.append(os.getcwd())
    for folder in folders:
        # Not the path of an address, nor of a relative path; also behind a line's end in JSON.
        place = rf"(?:(?<![\w.~-])|(?<=\\[nrt])){re.escape(folder)}(?!\.?[\w-])"
        if len(folder) > 1 and re.search(place, text):
            raise InvalidArgumentError(
                f"{name} names {folder}, a path of this machine, and would be public; take it out "
                "of data, results or the file"
            )


def _last_parts(text: str) -> str:
    return _PATH.sub(lambda found: found[0].rpartition("/")[2], text)


def _versions() -> list[str]:
    found = [f"helip {_core.__version__}"]
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:  # it was installed by hand
            continue
    return found


@cache
def _templates() -> jinja2.Environment:
    """Templates that refuse names they are not given."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("helip.common.hub"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {"cell": _cell, "number": number}
    return templates


def _cell(value: Any) -> str:
    """A value in a table of Markdown: on one line, with nothing that is markup there."""
    text = plain(str(without_paths(value)))
    for mark in ("\\", "|", "*", "_", "`", "<", "["):
        text = text.replace(mark, f"\\{mark}")
    return text
