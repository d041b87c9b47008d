"""Calls of the library in the words of the shell: messages, with ``--engine torch`` for
``engine='torch'``, and the line of a command with its options."""

from __future__ import annotations

import inspect
import re
import shlex
import typing
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike, fspath
from typing import Any

from cyclopts import Parameter

from helip.cli.configuration import NOT_IN_FILES, plain
from helip.cli.messages import shell_line
from helip.cli.registry import ENTRIES

_QUOTED = r"""(?<!\w)'[^'\n]*'(?!\w)|(?<!\w)"[^"\n]*"(?!\w)"""
_CALL = r"(?<![\w.])[A-Za-z_][\w.]*\([^()\n]*\)"  # of Python, whose keywords stay
# A name stands alone: not in a path, an address, a file's name, an index or a value.
_BEFORE = r"(?<![\w./\\:=~?&-])"
_AFTER = r"(?![\w/\\\[-]|\.\w|=\w[^\s,;)]*(?:[/&]|\.[A-Za-z]))"
_VALUE = (
    r"""=(?:'(?P<one>[^'\n]*)'|"(?P<two>[^"\n]*)"|\((?P<many>[\w., ]+)\)|"""
    r"""(?P<word>-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|\w+(?:\.\d+)?))(?![\w/&]|\.\w)"""
)
_NO_VALUE = r"=(?=[\s,;:).]|$)"
_VALUE_OR_NONE = re.sub(r"\?P<\w+>", "?:", rf"{_VALUE}|{_NO_VALUE}")
_COMMANDS = "|".join(entry.name for entry in ENTRIES)


def option_forms(signature: inspect.Signature) -> dict[str, str]:
    """Name → what the shell calls it, of each parameter of a command that is an option."""
    return {
        name: _form(parameter)
        for name, parameter in signature.parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def shell_words(message: str, forms: Mapping[str, str], given: Iterable[Any]) -> str:
    """``message`` with options and commands as the shell has them.

    A name with an underscore is an option wherever it stands alone, another before ``=`` and where
    the message begins ``name is``; so is "another out". A value goes with its name: ``--engine
    torch`` stands for ``engine='torch'``. What is quoted stays, so do calls of Python and what was
    ``given``, the values of the options.
    """
    kept = [
        rf"(?<!\w){re.escape(text)}(?!\w)"
        for text in sorted(_texts(given), key=len, reverse=True)
        if any(name in text for name in forms)
    ]
    names = sorted(forms, key=len, reverse=True)
    first = rf"\A(?:{'|'.join(names) or '(?!)'})(?= is )|(?<=another )out(?![\w/.])"
    long = "|".join(name for name in names if "_" in name) or "(?!)"
    others = rf"{_BEFORE}(?:(?:{long}){_AFTER}|(?:{'|'.join(names) or '(?!)'})(?={_VALUE_OR_NONE}))"
    option = rf"(?P<name>{first}|{others})(?:{_VALUE}|{_NO_VALUE})?"
    command = rf"(?<![\w./])helip\.(?P<command>{_COMMANDS})(?![\w.(])"
    pattern = "|".join([_QUOTED, *kept, option, _CALL, command])

    def written(found: re.Match[str]) -> str:
        if found["command"] is not None:
            return f"helip {found['command']}"
        return (
            found[0]
            if found["name"] is None
            else _option(forms.get(found["name"], found["name"]), found)
        )

    return re.sub(pattern, written, message)


def _option(form: str, found: re.Match[str]) -> str:
    """An option with the value that a keyword of Python has."""
    if found["word"] == "True":
        return form
    if found["word"] == "False":
        return f"--no-{form.lstrip('-')}"
    if found["word"] == "None":
        return f"no {form}"
    if found["many"] is not None:  # a part is a tuple, and i/n in the shell
        return f"{form} {found['many'].replace(', ', '/' if form == '--part' else ' ')}"
    value = next((found[name] for name in ("one", "two", "word") if found[name] is not None), None)
    return form if value is None else f"{form} {shlex.quote(value)}"


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


def line_of(name: str, **options: Any) -> str:
    """The line of the command ``name`` with these arguments and options, as a shell takes it.

    Left out are options that are None or have the default, and those that the command does not
    know, such as ``root`` for helip mine.
    """
    entry = next(entry for entry in ENTRIES if entry.name == name)
    signature = entry.load().signature()
    forms = option_forms(signature)
    words: list[str] = []
    for option, parameter in signature.parameters.items():
        value = plain(options.get(option))
        if option in NOT_IN_FILES or value is None:
            continue
        if option not in forms:
            words += value if isinstance(value, list) else [str(value)]
        elif value != plain(parameter.default):
            words += _option_words(forms[option], value, typing.get_args(parameter.annotation)[0])
    return shell_line(name, *words)


def _option_words(form: str, value: Any, kind: Any) -> Iterator[str]:
    """The words that give an option of this type the value."""
    kinds = (kind, *typing.get_args(kind))
    if isinstance(value, bool):
        yield form if value else f"--no-{form.removeprefix('--')}"
    elif not isinstance(value, list):
        text = str(value)
        yield from [f"{form}={text}"] if text.startswith("-") else [form, text]
    elif any(typing.get_origin(each) is tuple for each in kinds):
        yield from (form, *map(str, value))
    else:
        for each in value:
            yield from (form, str(each))
