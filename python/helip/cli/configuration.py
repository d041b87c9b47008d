"""Options of a command from a YAML file (``--config``, ``--print-config``) or a named recipe.

The file has options alone, or is what a command has saved beside its output.
"""

from __future__ import annotations

import difflib
import sys
import typing
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from cyclopts import Argument, ArgumentCollection, Token

from helip.common.errors import InvalidArgumentError
from helip.common.remote.urls import REDACTED, shown
from helip.common.yaml_files import load_yaml, require_text_keys
from helip.training.named_recipes import recipe_for, recipe_named

_ABSENT = "..."  # stands for what a command must be given, where its options are only printed
#: What is of one call alone.
NOT_IN_FILES = ("config", "print_config", "json", "quiet", "verbose")


class OptionsFile:
    """Gives a command what ``--config`` names and the command line does not."""

    def __init__(self, command: str) -> None:
        self._command = command
        self.given: set[str] = set()
        """Names that the command line or the file gave, once they are read."""
        self.version: str | None = None
        """The helip that saved the file; None of a file that no command saved."""

    def __call__(self, app: Any, commands: Any, arguments: ArgumentCollection) -> None:
        by_name = {argument.field_info.name: argument for argument in arguments}
        self.given = {name for name, argument in by_name.items() if argument.tokens}
        printing = "print_config" in by_name and by_name["print_config"].tokens
        if "config" in by_name and by_name["config"].tokens:
            path = Path(by_name["config"].tokens[0].value)
            known = [name for name in by_name if name not in NOT_IN_FILES]
            options, asked, self.version = _options_in(path, self._command)
            self.given |= asked
            for name, (value, line) in options.items():
                if name not in known:
                    self._refuse(name, known, path, line)
                if by_name[name].tokens:  # the command line goes first
                    continue
                if any(REDACTED in text for text in _texts(value)):
                    raise InvalidArgumentError(
                        f"{path} line {line}: {name} was saved without its credentials, as "
                        f"{value!r}; give it anew beside --config, or to the command itself"
                    )
                _give(by_name[name], name, value, f"{path} line {line}")
        for argument in by_name.values() if printing else ():
            if argument.required and not argument.tokens:
                argument.append(Token(value=_ABSENT, source="--print-config"))

    def _refuse(self, name: str, known: list[str], path: Path, line: int) -> None:
        close = difflib.get_close_matches(name, known, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise InvalidArgumentError(
            f"{path} line {line}: helip {self._command} has no option {name!r}{meant} It knows "
            f"{', '.join(sorted(known))}"
        )

    @staticmethod
    def place(path: Path | None, name: str) -> str:
        """Where the file names the option, in brackets; empty where it does not."""
        if path is None or not (found := read_options(path).get(name)):
            return ""
        return f" ({path} line {found[1]})"


def fill_from_recipe(app: Any, commands: Any, arguments: ArgumentCollection) -> None:
    """Give a command what its ``--recipe`` sets, and neither the command line nor a file gave.

    ``--from-scratch`` without a recipe names one as well, see `recipe_for`.
    """
    by_name = {argument.field_info.name: argument for argument in arguments}
    if "recipe" not in by_name:
        return
    asked = ("recipe", "from_scratch", "out", "resume", "epochs")
    given = {
        name: by_name[name].convert() for name in asked if name in by_name and by_name[name].tokens
    }
    if (named := recipe_for(given)) is None:
        return
    recipe = recipe_named(named)
    for name, value in {"recipe": named, **recipe.values(given)}.items():
        if not by_name[name].tokens:
            _give(by_name[name], name, value, f"recipe {recipe.name}")


def refuse_fractions(app: Any, commands: Any, arguments: ArgumentCollection) -> None:
    """InvalidArgumentError for a fraction in place of a whole number, which would be rounded."""
    for argument in arguments:
        if _leaves(argument.hint) - {type(None)} != {int}:
            continue
        for token in argument.tokens:
            if isinstance(token.value, str) and _is_fraction(token.value):
                place = "" if token.source == "cli" else f" ({token.source})"
                raise InvalidArgumentError(
                    f"{argument.name} is {token.value}, must be a whole number{place}"
                )


def _leaves(hint: Any) -> set[Any]:
    """The types that a type is made of."""
    if typing.get_origin(hint) is typing.Annotated:
        return _leaves(typing.get_args(hint)[0])
    parts = [part for part in typing.get_args(hint) if part is not ...]
    return set().union(*map(_leaves, parts)) if parts else {hint}


def _is_fraction(text: str) -> bool:
    try:
        return "." in text and not float(text).is_integer()
    except ValueError:  # it is refused as no number
        return False


def read_options(path: Path) -> dict[str, tuple[Any, int]]:
    """Name → (value, line) of a YAML file with one mapping of options; ``-`` counts as ``_``.

    Of a file that a command has saved, what it names as options.
    """
    return _options_in(path)[0]


def _options_in(
    path: Path, command: str | None = None
) -> tuple[dict[str, tuple[Any, int]], set[str], str | None]:
    """The options of a file, the names of those that a user gave, and the helip that saved it."""
    value, node = load_yaml(path)
    if not {"helip", "command", "options"} <= value.keys():
        options = _with_lines(path, value, node)
        return options, {*options}, None
    if command not in (None, value["command"]):
        raise InvalidArgumentError(
            f"{path} has the options of helip {value['command']}, and this is helip {command}; "
            "give it to the command that it is of"
        )
    if not all(isinstance(value.get(name), Mapping) for name in ("given", "options")):
        raise InvalidArgumentError(
            f"{path} was not written by a helip command: given and options must have name: value "
            "below them"
        )
    nodes = {key.value: each for key, each in node.value}
    options = _with_lines(path, value["options"], nodes["options"])
    return options, {*value["given"]}, str(value["helip"])


def _with_lines(path: Path, value: Any, node: Any) -> dict[str, tuple[Any, int]]:
    require_text_keys(path, node)
    found: dict[str, tuple[Any, int]] = {}
    for key, _ in node.value if node is not None else ():
        name, line = key.value.replace("-", "_"), key.start_mark.line + 1
        if name in found:
            raise InvalidArgumentError(
                f"{path} line {line} names {name} again, after line {found[name][1]}; keep one"
            )
        found[name] = value[key.value], line
    return found


def print_options(options: Mapping[str, Any]) -> None:
    """YAML to stdout that ``--config`` reads."""
    for line in yaml_lines({n: v for n, v in options.items() if str(v) != _ABSENT}):
        sys.stdout.write(f"{line}\n")


def yaml_lines(options: Mapping[str, Any]) -> Iterator[str]:
    """``name: value``, a line for each option."""
    import yaml

    for name, value in options.items():
        # A list on one line, the whole one option a line.
        line = yaml.safe_dump([name, plain(value)], default_flow_style=True, width=10**6)
        key, _, rest = line.strip()[1:-1].partition(", ")
        yield f"{key}: {rest}"


def _give(argument: Argument, name: str, value: Any, source: str) -> None:
    for index, text in enumerate(_texts(value)):
        kept = {"value": text} if value is not None else {"implicit_value": None}
        argument.append(Token(keyword=name, source=source, index=index, **kept))


def _texts(value: Any) -> list[str]:
    """A value as the shell has it: a word for each element of a list."""
    if isinstance(value, Mapping):
        return [",".join(f"{name}={part}" for name, part in value.items())]
    if isinstance(value, (list, tuple)):
        return [text for each in value for text in _texts(each)]
    return [str(value)]


def plain(value: Any) -> Any:
    """The value as YAML has it: lists and text in place of tuples and paths."""
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return shown(value) if isinstance(value, PathLike) else value
