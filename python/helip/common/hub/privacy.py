"""What says where somebody works: paths of a machine stay out of what is uploaded."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.common.url_secrets import without_secrets

_TEXT = (".json", ".md", ".txt")
_VOCABULARY = ("vocab.json", "merges.txt", "tokenizer.json")  # pieces of words, by chance any
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


def _last_parts(text: str) -> str:
    return _PATH.sub(lambda found: re.split(r"[/\\]", found[0])[-1], text)


def is_text(name: str) -> bool:
    """Whether a file of that name holds words that somebody wrote."""
    return name.endswith(_TEXT) and name not in _VOCABULARY


def refuse_private(name: str, contents: bytes) -> None:
    """InvalidArgumentError where the text file ``name`` holds a path of this machine."""
    if not is_text(name):
        return
    text = contents.decode("utf-8", "replace")
    for folder, place in _places().items():
        if re.search(f"{_LEFT}{place}", text):
            raise InvalidArgumentError(
                f"{name} names {folder}, a path of this machine, and would be public; take it out "
                "of data, results or the file"
            )


def _places() -> dict[str, str]:
    """Folders that say whose machine this is → patterns. Of the temporary one what lies in it."""
    found = {str(Path.home()), os.path.expanduser("~")}
    with contextlib.suppress(OSError):  # it may be deleted
        found.add(os.getcwd())
    temporary = tempfile.gettempdir()
    own = {place: rf"{re.escape(place)}(?!\.?[\w-])" for place in sorted(found) if len(place) > 1}
    return {temporary: rf"{re.escape(temporary)}/(?=\S)"} | own
