"""Messages of the library in the words of the shell: ``--image-column`` for ``image_column``."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike, fspath
from typing import Any

from cyclopts import Parameter

_QUOTED = r"""(?<!\w)'[^'\n]*'(?!\w)|(?<!\w)"[^"\n]*"(?!\w)"""
# A name stands alone: not in a path, an address, a file's name, an index or a value.
_BEFORE, _AFTER = r"(?<![\w./\\:=~-])", r"(?![\w/\\\[-])(?!\.\w)(?:=(?=[\s,;:).]|$))?"


def option_forms(signature: inspect.Signature) -> dict[str, str]:
    """Name → what the shell calls it, of each parameter of a command that is an option."""
    return {
        name: _form(parameter)
        for name, parameter in signature.parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def shell_words(message: str, forms: Mapping[str, str], given: Iterable[Any]) -> str:
    """``message`` with options as the shell has them.

    A name with an underscore is one wherever it stands alone, another where the message begins
    ``name is``. What is quoted stays, and so does what was ``given``, the values of the options.
    """
    kept = [
        rf"(?<!\w){re.escape(text)}(?!\w)"
        for text in sorted(_texts(given), key=len, reverse=True)
        if any(name in text for name in forms)
    ]
    names = sorted(forms, key=len, reverse=True)
    first = rf"\A(?:{'|'.join(names)})(?= is )"
    others = rf"{_BEFORE}(?:{'|'.join(name for name in names if '_' in name) or '(?!)'}){_AFTER}"
    pattern = "|".join([_QUOTED, *kept, f"(?P<name>{first}|{others})"])

    def written(found: re.Match[str]) -> str:
        name = found["name"]
        return found[0] if name is None else forms[name.removesuffix("=")]

    return re.sub(pattern, written, message) if forms else message


def _form(parameter: inspect.Parameter) -> str:
    for told in typing.get_args(parameter.annotation)[1:]:
        if isinstance(told, Parameter) and told.name:
            return told.name if isinstance(told.name, str) else next(iter(told.name))
    return f"--{parameter.name.replace('_', '-')}"


def _texts(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, (str, PathLike)):
            yield str(fspath(value))
        elif isinstance(value, (tuple, list)):
            yield from _texts(value)
