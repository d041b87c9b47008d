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
from pathlib import PurePosixPath, PureWindowsPath
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
_BEFORE = r"(?<![\w/.*-])(?<!:(?=//))(?<!<(?=/\w{1,10}>))"
_ROOT = r"(?:file:/*)?(?:(?:~|[A-Za-z]:)?/|(?:~|[A-Za-z]:)\\|\\\\(?=\w))"
_PART = r"""[^\s/\\'",;()|]+"""
# A folder may have spaces in its name. Words before the next slash are taken for such a name: it is
# better to lose them than to tell a path.
_FOLDER = rf"""{_PART}(?: [^\s/\\'",;():|`<>]+){{0,4}}[/\\]"""
_PATH = re.compile(rf"{_BEFORE}{_ROOT}(?:{_FOLDER})*{_PART}")
# Before a folder of the machine: not the host or path of an address, nor of a relative path.
_LEFT = r"(?:(?<![\w/.~-])(?<!:(?=//))|(?<=file://)|(?<=\\[nrt]))"


def model_card(metadata: Mapping[str, Any], **values: Any) -> str:
    """The text of a model's README.md; ``values`` are those of templates/model_card.md."""
    from huggingface_hub import ModelCard, ModelCardData

    return str(ModelCard(_page("model", ModelCardData(**_given(metadata)), values)))


def dataset_card(metadata: Mapping[str, Any], **values: Any) -> str:
    """The text of a table's README.md; ``values`` are those of templates/dataset_card.md."""
    from huggingface_hub import DatasetCard, DatasetCardData

    return str(DatasetCard(_page("dataset", DatasetCardData(**_given(metadata)), values)))


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
    if value.startswith(("/", "~", "\\", "file:")) or re.match(r"[A-Za-z]:[/\\]", value):
        return (PureWindowsPath if "\\" in value else PurePosixPath)(value).name
    return _last_parts(value)


def markdown_without_paths(text: str | None) -> str | None:
    """The same Markdown, of absolute paths only the last part, of URLs no credentials."""
    return None if text is None else _last_parts(without_secrets(text, markdown=True))


def refuse_paths(name: str, text: str) -> None:
    """InvalidArgumentError where the file ``name`` names the home or the working directory."""
    folders = [os.path.expanduser("~")]
    with contextlib.suppress(OSError):  # it may be deleted
        folders.append(os.getcwd())
    for folder in folders:
        place = rf"{_LEFT}{re.escape(folder)}(?!\.?[\w-])"
        if len(folder) > 1 and re.search(place, text):
            raise InvalidArgumentError(
                f"{name} names {folder}, a path of this machine, and would be public; take it out "
                "of data, results or the file"
            )


def _last_parts(text: str) -> str:
    return _PATH.sub(lambda found: re.split(r"[/\\]", found[0])[-1], text)


def _page(kind: Literal["model", "dataset"], metadata: Any, values: Mapping[str, Any]) -> str:
    body = _templates().get_template(f"{kind}_card.md").render(versions=_versions(), **values)
    return f"---\n{metadata.to_yaml()}\n---\n\n{body.strip()}\n"


def _given(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if value is not None}


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
