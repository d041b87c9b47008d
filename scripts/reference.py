"""Writes docs/reference.md and docs/recipes.md from the code; --check compares instead."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import os
import re
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import annotated_types

import helip
import helip_view
from helip.cli.command import FLAGS, Command
from helip.cli.registry import load_all
from helip.common.options import Options, choices_of, hints_of, sentences
from helip.training import Setting

DOCS = Path(__file__).resolve().parent.parent / "docs"

INTRODUCTION = """# Reference of options

Made from the code by `make reference`; do not edit it.

An option is written once, as a field of a group such as [MineOptions](#mineoptions), and bears one
name everywhere: `helip.mine(store, image_max=0.9)` in Python, `--image-max 0.9` in the shell,
`image_max: 0.9` in the file that `--config` names. `--print-config` prints such a file with all
options of a command. Values outside their bounds are refused with the bound.
"""

RECIPES = """# Recipes

<!-- not run: it needs data and models of the reader's own -->

Made from the code by `make reference`; do not edit it.

Named settings of `helip.train`, each with the reason for its value:

```python
helip.train(model=…, data=…, pairs=…, out="run", recipe="small-data", lr=1e-4)
```

```bash
helip train DATA --model start.model --pairs PAIRS --out RUN --recipe small-data --lr 1e-4
```

A recipe takes the place of defaults. Options that you give beside it win. In order: the keywords of
the call in Python, or the options in the shell; then the file of `--config`; then the recipe.
`--print-config` shows what comes out.

A run records name and version (`small-data 1`) with its options, in each checkpoint's `state.json`
and in wandb, and is resumed only under them. A version stands for its values: where a value
changes, the version does. A run from scratch that names no recipe takes
[from-scratch](#from-scratch). Any other run has the defaults, which [communities](#communities)
spells out. `helip recipes` and `helip.recipes()` list what is below.

*Not measured here* means that the value comes from a paper, or from the reason given and nothing
else. No result of [results.md](results.md), [results-emoji.md](results-emoji.md) or
[benchmarks.md](benchmarks.md) supports it. What is measured there is measured on small models and
small data.
"""

_SIGNS = {
    annotated_types.Ge: ("ge", "≥ {}"),
    annotated_types.Gt: ("gt", "> {}"),
    annotated_types.Le: ("le", "≤ {}"),
    annotated_types.Lt: ("lt", "< {}"),
    annotated_types.MultipleOf: ("multiple_of", "a multiple of {}"),
}
# What the machine's integers hold.
_UNSAID = (annotated_types.Lt(2**31), annotated_types.Lt(2**63), annotated_types.Lt(2**64))


def calls() -> Iterator[tuple[str, Callable[..., Any], type[Options]]]:
    """(name, function or class, its group) of each public call that takes a group of options."""
    named = [(f"{package.__name__}.{name}", getattr(package, name))
             for package in (helip, helip_view) for name in package.__all__]  # fmt: skip
    for name, public in named:
        doors = [(name, public, public), (name, public, getattr(public, "__init__", None))]
        if isinstance(public, type):
            methods = {n: m for n, m in vars(public).items() if not n.startswith("_")}
            doors += [(f"{name}.{n}", method, method) for n, method in methods.items()]
        for title, documented, door in doors:
            work = getattr(door, "__wrapped__", None)
            hints = typing.get_type_hints(work) if inspect.isfunction(work) else {}
            group = next(iter(hints.values()), None)
            if isinstance(group, type) and issubclass(group, Options):
                yield title, documented, group


def bases(group: type[Options]) -> list[type[Options]]:
    """The groups that a call is made of, each with those that it is made of itself."""
    return [base for base in group.__mro__[1:] if issubclass(base, Options) and base is not Options]


def own(group: type[Options]) -> list[str]:
    """The fields that a group adds to its bases."""
    return [name for name in hints_of(group) if name in inspect.get_annotations(group)]


def values(hint: Any) -> str:
    """What a field takes, in a few words."""
    if choices := choices_of(hint):
        words = ", ".join(str(choice) for choice in choices)
        return words if type(None) not in typing.get_args(hint) else f"{words}, None"
    if typing.get_origin(hint) is typing.Annotated:
        kind, *bounds = typing.get_args(hint)
        signs = [
            _SIGNS[type(bound)][1].format(getattr(bound, _SIGNS[type(bound)][0]))
            for bound in bounds
            if type(bound) in _SIGNS and bound not in _UNSAID
        ]
        return " ".join([values(kind), *signs])
    if parts := [part for part in typing.get_args(hint) if part is not ...]:
        words = list(dict.fromkeys(values(part) for part in parts))
        origin = typing.get_origin(hint)
        if isinstance(origin, type) and origin.__name__ in ("tuple", "Sequence", "list"):
            return f"several {' / '.join(words)}"
        if origin is collections.abc.Callable:
            return "a function"
        if isinstance(origin, type) and issubclass(origin, os.PathLike):
            return "path"
        if isinstance(origin, type) and origin.__name__ in ("Mapping", "dict"):
            return f"{words[0]} → {words[-1]}"
        return " or ".join(words)
    if isinstance(hint, list) or hint in (Any, object):  # the arguments of a callable
        return "any"
    return "None" if hint is type(None) else getattr(hint, "__name__", str(hint))


def table(group: type[Options], names: list[str]) -> list[str]:
    """A row for each field: its name, what it takes, its default, its sentence."""
    if not names:
        return []
    hints, words = hints_of(group), sentences(group)
    defaults = {field.name: field.default for field in dataclasses.fields(group)}
    lines = ["| option | takes | default | |", "|---|---|---|---|"]
    for name in names:
        default = defaults[name]
        shown = "" if default is dataclasses.MISSING else f"`{_default(default)}`"
        cells = (f"`{name}`", values(hints[name]), shown, words[name])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [*lines, ""]


def _default(value: Any) -> str:
    if isinstance(value, Options):
        return type(value).__name__ + "()"
    return str(value) if isinstance(value, str) and value else repr(value)


def linked(groups: list[type[Options]]) -> str:
    return ", ".join(f"[{group.__name__}](#{group.__name__.lower()})" for group in groups)


def function_section(name: str, public: Any, group: type[Options]) -> list[str]:
    first = (inspect.getdoc(public) or "").partition("\n\n")[0]
    lines = [f"### {name}", "", " ".join(first.split()), ""]
    lines += table(group, own(group))
    shared = [base for base in bases(group) if own(base)]
    return [*lines, *([f"And the options of {linked(shared)}.", ""] if shared else [])]


def command_section(command: Command) -> list[str]:
    lines = [f"### helip {command.name}", "", inspect.getdoc(command.work) or "", ""]
    rows = []
    for name, parameter in inspect.signature(command.work, eval_str=True).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD or name in FLAGS:  # docs/shell.md has them
            continue
        kind, *marks = typing.get_args(parameter.annotation) or (parameter.annotation,)
        words = next((mark.help for mark in marks if getattr(mark, "help", None)), "")
        place = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL)
        flag = name.upper() if place else f"--{name.replace('_', '-')}"
        empty = parameter.default in (parameter.empty, None, False)
        default = "" if empty else f"`{parameter.default}`"
        shown = values(kind) if kind is not bool else "flag"
        rows.append(f"| `{flag}` | {shown} | {default} | {words} |")
    if rows:
        lines += ["| argument | takes | default | |", "|---|---|---|---|", *rows, ""]
    groups = []
    for group in command.groups:
        groups += [each for each in (group, *bases(group)) if own(each) and each not in groups]
    if groups:
        unused = sorted(set(command.without) & {name for g in groups for name in hints_of(g)})
        but = f", without {', '.join(unused)}" if unused else ""
        lines += [f"And the options of {linked(groups)}{but}.", ""]
    return lines


def generate() -> str:
    found = list(calls())
    used = [base for _, _, call in found for base in bases(call)]
    used += [g for command in load_all() for each in command.groups for g in (each, *bases(each))]
    groups = [group for group in dict.fromkeys(used) if own(group)]
    lines = [INTRODUCTION, "## Calls", ""]
    for name, public, group in found:
        lines += function_section(name, public, group)
    lines += ["## Commands", ""]
    for command in load_all():
        lines += command_section(command)
    lines += ["## Groups", ""]
    for group in groups:
        words = (inspect.getdoc(group) or "").partition("\n\n")[0]
        lines += [f"### {group.__name__}", "", " ".join(words.split()), ""]
        lines += table(group, own(group))
    return "\n".join(lines).rstrip() + "\n"


def with_links(text: str) -> str:
    """Pages of docs/ and papers as links, in a text that names them bare."""
    text = re.sub(r"docs/([\w-]+\.md)(#[\w-]+)?", r"[\1](\1\2)", text)
    return re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def settings_table(title: str, settings: tuple[Setting, ...]) -> list[str]:
    if not settings:
        return []
    lines = [f"| {title} | value | why | from |", "|---|---|---|---|"]
    lines += [
        f"| `{each.option}` | `{each.value}` | {each.why} | {with_links(each.origin)} |"
        for each in settings
    ]
    return [*lines, ""]


def recipes_page() -> str:
    lines = [RECIPES]
    for recipe in helip.recipes():
        lines += [f"## {recipe.name}", "", f"Version {recipe.version}. {recipe.purpose}", ""]
        lines += settings_table("option", recipe.settings)
        lines += settings_table("of `helip mine`", recipe.mining)
        lines += [with_links(recipe.advice), ""] if recipe.advice else []
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    pages = {DOCS / "reference.md": generate(), DOCS / "recipes.md": recipes_page()}
    if "--check" not in sys.argv[1:]:
        for page, text in pages.items():
            page.write_text(text, encoding="utf-8")
        return 0
    stale = [p for p, text in pages.items() if not p.exists() or p.read_text("utf-8") != text]
    for page in stale:
        print(f"{page} is not what the code gives; run `make reference`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
