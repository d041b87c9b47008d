"""Options of a command from a YAML file (``--config``, ``--print-config``) or a named recipe."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from cyclopts import Argument, ArgumentCollection, Token

from helip.common.errors import InvalidArgumentError
from helip.training.named_recipes import recipe_for, recipe_named

_ABSENT = "..."  # stands for what a command must be given, where its options are only printed
_NOT_IN_FILES = ("config", "print_config", "json", "quiet")


class OptionsFile:
    """Gives a command what ``--config`` names and the command line does not."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __call__(self, app: Any, commands: Any, arguments: ArgumentCollection) -> None:
        by_name = {argument.field_info.name: argument for argument in arguments}
        printing = "print_config" in by_name and by_name["print_config"].tokens
        if "config" in by_name and by_name["config"].tokens:
            path = Path(by_name["config"].tokens[0].value)
            known = [name for name in by_name if name not in _NOT_IN_FILES]
            for name, (value, line) in read_options(path).items():
                if name not in known:
                    self._refuse(name, known, path, line)
                if not by_name[name].tokens:  # the command line goes first
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


def read_options(path: Path) -> dict[str, tuple[Any, int]]:
    """Name → (value, line) of a YAML file with one mapping of options; ``-`` counts as ``_``."""
    import yaml

    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidArgumentError(f"cannot read {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"{path} is not YAML: {error}") from error
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise InvalidArgumentError(f"{path} must hold options as name: value, one a line")
    found: dict[str, tuple[Any, int]] = {}
    for key, _ in node.value:
        name, line = key.value.replace("-", "_"), key.start_mark.line + 1
        if name in found:
            raise InvalidArgumentError(
                f"{path} line {line} names {name} again, after line {found[name][1]}; keep one"
            )
        found[name] = value[key.value], line
    return found


def print_options(options: Mapping[str, Any]) -> None:
    """YAML to stdout that ``--config`` reads."""
    import yaml

    for name, value in options.items():
        if str(value) != _ABSENT:
            # A list on one line, the whole one option a line.
            line = yaml.safe_dump([name, _plain(value)], default_flow_style=True, width=10**6)
            key, _, rest = line.strip()[1:-1].partition(", ")
            sys.stdout.write(f"{key}: {rest}\n")


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


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return fspath(value) if isinstance(value, PathLike) else value
