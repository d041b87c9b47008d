"""A data set that a YAML file describes: its source, and the options that it is opened with."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.common.patterns import is_url
from helip.common.yaml_files import load_yaml
from helip.data.options import OpenCall, OpenOptions

_SUFFIXES = (".yaml", ".yml")
_PATHS = ("source", "root", "subset", "cache")
# Quoted, since the shell leaves what is quoted as it is. No part of a path or an address.
_NAMES = "|".join(OpenOptions().as_dict())
_KEYWORD = re.compile(rf"(?<![\w./\\:=~?&'\"-])({_NAMES})=(?!\S*(?:/|\.[a-z]))([^\s,;)]*)")


@contextlib.contextmanager
def described(call: OpenCall) -> Iterator[OpenCall]:
    """The call that a file ``source: …`` with options below it stands for; any other as it is.

    An error inside names options as the file has them, ``image_column: …``.

    Paths in the file count from its folder. An option of the call goes before that of the file.

    Raises:
        InvalidArgumentError: the file is not such a mapping, names what is no option, or cannot be
            read.
    """
    source = call.source
    if not isinstance(source, (str, os.PathLike)) or is_url(os.fspath(source)):
        yield call
        return
    path = Path(source)
    if path.suffix.lower() not in _SUFFIXES or path.is_dir():
        yield call
        return
    said = _mapping(path)
    usual = OpenOptions().as_dict()
    # Of arrays == gives no bool; none of them is usual.
    given = {
        name: value
        for name, value in OpenOptions.of(call).as_dict().items()
        if not (value is None or (isinstance(value, (int, float)) and value == usual[name]))
    }
    try:
        yield replace(call, **{**said, **given})
    except InvalidArgumentError as error:
        words = _KEYWORD.sub(lambda found: f"'{found[1]}: {found[2]}' in {path}", str(error))
        of_file = str(error).partition(" is ")[0] in said.keys() - given.keys()
        raise InvalidArgumentError(f"{path}: {words}" if of_file else words) from error


def _mapping(path: Path) -> dict[str, Any]:
    said, _ = load_yaml(path)
    if not _is_source(said.get("source")):
        raise InvalidArgumentError(
            f"{path} describes no data set; it must hold `source: PATH`, or a list of paths, and "
            "options of opening it, one a line"
        )
    names = OpenOptions().as_dict().keys()
    for name in said:
        if name != "source" and name not in names:
            raise InvalidArgumentError(
                f"{path} names {name!r}, must be source or an option of opening: {', '.join(names)}"
            )
    for name in _PATHS:
        if said.get(name) is not None:
            said[name] = _from(path.parent, said[name])
    return said


def _is_source(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(each, str) for each in value)
    return isinstance(value, str) and value != ""


def _from(folder: Path, value: Any) -> Any:
    """Paths as whoever reads the file from elsewhere finds them."""
    if isinstance(value, list):
        return [_from(folder, each) for each in value]
    if not isinstance(value, str) or is_url(value):
        return value
    return os.path.join(folder, value)
