"""The words of a command line that stands for the options of a command."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from cyclopts import Parameter

from helip.cli.configuration import NOT_IN_FILES, plain
from helip.cli.messages import shell_line
from helip.cli.registry import ENTRIES
from helip.cli.wording import option_forms
from helip.training.named_recipes import recipe_named


class _NoWordsError(Exception):
    """A value that only a file can give."""


def command_line(
    name: str,
    signature: inspect.Signature,
    values: Mapping[str, Any],
    given: Collection[str],
    file: Path | None,
) -> list[str]:
    """The shortest line of the command ``name`` that gives it these values, as far as defaults go.

    Options that a user has ``given`` are in it, and those that are not the default. Where no word
    of the shell stands for a value the line names the ``file`` that the options are from.
    """
    try:
        return [name, *_words(signature, values, given)]
    except _NoWordsError:
        return [name, "--config", str(file)]


def line_of(name: str, **options: Any) -> str:
    """The line of the command ``name`` with these arguments and options, as a shell takes it.

    Left out are options that are None or have the default, and those that the command does not
    know, such as ``root`` for helip mine.
    """
    entry = next(entry for entry in ENTRIES if entry.name == name)
    signature = entry.load().signature()
    given = {key: value for key, value in options.items() if value is not None}
    values = {
        key: given.get(key, () if parameter.kind is parameter.VAR_POSITIONAL else parameter.default)
        for key, parameter in signature.parameters.items()
    }
    return shell_line(name, *_words(signature, values, ()))


def _words(
    signature: inspect.Signature, values: Mapping[str, Any], given: Collection[str]
) -> Iterator[str]:
    forms = option_forms(signature)
    needed = {*given, *_set_by_recipe(values)}
    for name, parameter in signature.parameters.items():
        if name in NOT_IN_FILES:
            continue
        value = plain(values[name])
        if name not in forms:
            yield from value if isinstance(value, list) else [] if value is None else [str(value)]
        elif name in needed or value != plain(parameter.default):
            yield from _option(forms[name], value, parameter)


def _set_by_recipe(values: Mapping[str, Any]) -> Collection[str]:
    """What a recipe would give in place of the default."""
    if values.get("recipe") is not None:
        return recipe_named(values["recipe"]).values(values)
    if values.get("from_scratch"):  # which names a recipe where none is named, not even None
        raise _NoWordsError
    return ()


def _has_no_negative(parameter: inspect.Parameter) -> bool:
    """Whether a flag is one that can only be given."""
    told = typing.get_args(parameter.annotation)[1:]
    return any(isinstance(each, Parameter) and each.negative == () for each in told)


def _option(form: str, value: Any, parameter: inspect.Parameter) -> Iterator[str]:
    kind = typing.get_args(parameter.annotation)[0]
    kinds = {kind, *typing.get_args(kind)} if kind is not None else set()
    if isinstance(value, bool):
        if value:
            yield form
        elif not _has_no_negative(parameter):
            yield f"--no-{form.removeprefix('--')}"
    elif value is None:
        if value == parameter.default:
            return
        if kinds & {str, Path, list} or any(typing.get_origin(each) is list for each in kinds):
            raise _NoWordsError  # "none" would be a text
        yield from (form, "none")
    elif not isinstance(value, list):
        text = str(value)
        yield from [f"{form}={text}"] if text.startswith("-") else [form, text]
    elif any(typing.get_origin(each) is tuple for each in kinds):
        yield from (form, *map(str, value))
    elif value:
        for each in value:
            yield from (form, str(each))
    else:
        raise _NoWordsError
