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

_TEXT = (".json", ".md", ".txt")
_VOCABULARY = ("vocab.json", "merges.txt", "tokenizer.json")  # pieces of words, by chance any
# An absolute path within words; not the path of an address, nor a fraction such as 1/2.
_PART = r"""[^\s/\\'",;()]+"""
_PATH = re.compile(rf"(?<![\w:/.*-])(?:file:/*)?(?:~|[A-Za-z]:)?[/\\](?:{_PART}[/\\])*{_PART}")


def without_paths(value: Any) -> Any:
    """The same plain values, of absolute paths only the last part."""
    if isinstance(value, Mapping):
        return {str(name): without_paths(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_paths(each) for each in value]
    if isinstance(value, os.PathLike):
        return without_paths(os.fspath(value))
    if not isinstance(value, str):
        return value
    if value.startswith(("/", "~", "\\", "file:")) or re.match(r"[A-Za-z]:[/\\]", value):
        return (PureWindowsPath if "\\" in value else PurePosixPath)(value).name
    return _PATH.sub(lambda found: re.split(r"[/\\]", found[0])[-1], value)


def is_text(name: str) -> bool:
    """Whether a file of that name holds words that somebody wrote."""
    return name.endswith(_TEXT) and name not in _VOCABULARY


def refuse_private(name: str, contents: bytes) -> None:
    """InvalidArgumentError where the text file ``name`` holds a path of this machine."""
    if not is_text(name):
        return
    text = contents.decode("utf-8", "replace")
    for place in _places():
        if re.search(rf"{re.escape(place)}(?![\w.-])", text):
            raise InvalidArgumentError(
                f"{name} names {place}, a path of this machine, and would be public; take it out "
                "of data, results or the file"
            )


def _places() -> list[str]:
    """Folders that say whose machine this is."""
    found = {str(Path.home()), os.path.expanduser("~"), tempfile.gettempdir()}
    with contextlib.suppress(OSError):  # it may be deleted
        found.add(os.getcwd())
    return sorted(place for place in found if len(place) > 1)
