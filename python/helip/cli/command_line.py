"""The line of a command that has given arguments and options, as a shell takes it."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

from helip.cli.configuration import NOT_IN_FILES, plain
from helip.cli.messages import shell_line
from helip.cli.registry import ENTRIES
from helip.cli.wording import option_forms


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
            words += _option(forms[option], value, typing.get_args(parameter.annotation)[0])
    return shell_line(name, *words)


def _option(form: str, value: Any, kind: Any) -> Iterator[str]:
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
