"""Spec strings, which name an encoder: ``FAMILY:NAME[@PATH][?key=value[&key=value…]]``.

:func:`parse_spec` splits one; :func:`read_options` reads its options for a family.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from helip.common.errors import InvalidArgumentError

# family → module of helip.encoders.families
FAMILIES = {
    "timm": "timm",
    "torchvision": "torchvision",
    "hf": "hugging_face",
    "st": "sentence_transformers",
    "open_clip": "open_clip",
    "packaged": "packaged",
}
# Only these name weights beside a model name; a hub name or a directory carries its own.
_FAMILIES_WITH_PATH = ("timm", "torchvision", "open_clip")


@dataclass(frozen=True)
class EncoderSpec:
    """One parsed spec string; ``text`` is the string as it was given."""

    text: str
    family: str
    name: str
    path: str | None = None
    options: dict[str, str] = field(default_factory=dict)


def parse_spec(text: str) -> EncoderSpec:
    """Split ``FAMILY:NAME[@PATH][?key=value&…]``.

    Raises InvalidArgumentError for an unknown family, an absent name or a malformed option.
    """
    family, colon, rest = text.partition(":")
    if not colon or family not in FAMILIES:
        raise InvalidArgumentError(
            f"encoder {text!r} names no known family: write FAMILY:NAME with FAMILY one of "
            f"{', '.join(FAMILIES)}{close_names(family, FAMILIES)}; a local model is "
            "FAMILY:/its/path"
        )
    head, options = _split_options(text, rest)
    name, path = head, None
    whole_is_a_path = os.path.exists(os.path.expanduser(head))
    if family in _FAMILIES_WITH_PATH and "@" in head and not whole_is_a_path:
        name, _, path = head.partition("@")
        if not path:
            raise InvalidArgumentError(
                f"encoder {text!r} has nothing after '@': write {family}:{name}@/path/to/weights, "
                "or leave '@' out"
            )
    if not name:
        raise InvalidArgumentError(f"encoder {text!r} has no name after '{family}:'")
    return EncoderSpec(text=text, family=family, name=name, path=path, options=options)


def _split_options(text: str, rest: str) -> tuple[str, dict[str, str]]:
    head, mark, query = rest.rpartition("?")
    if not mark:
        return rest, {}
    options: dict[str, str] = {}
    for option in query.split("&"):
        key, _, value = option.partition("=")
        if not (key and value):
            raise InvalidArgumentError(
                f"encoder {text!r} has the option {option!r}: write ?key=value&key=value"
            )
        if key in options:
            raise InvalidArgumentError(f"encoder {text!r} gives the option {key!r} twice")
        options[key] = value
    return head, options


def read_options(spec: EncoderSpec, **parsers: Callable[[str], Any]) -> dict[str, Any]:
    """The options of ``spec``, each read by its parser; a parser raises ValueError to refuse.

    Options that are not given are absent. Raises InvalidArgumentError naming the option, its value
    and what it may be.
    """
    values: dict[str, Any] = {}
    for key, value in spec.options.items():
        if key not in parsers:
            allowed = ", ".join(sorted(parsers)) or "none"
            raise InvalidArgumentError(
                f"it has the unknown option {key!r}: {spec.family} takes {allowed}"
                f"{close_names(key, parsers)}"
            )
        try:
            values[key] = parsers[key](value)
        except ValueError as error:
            raise InvalidArgumentError(f"it has {key}={value}: {error}") from None
    return values


def integer(low: int, high: int) -> Callable[[str], int]:
    """An option parser for a whole number in [low, high]."""

    def parse(value: str) -> int:
        if not value.isdecimal() or not low <= int(value) <= high:
            raise ValueError(f"it must be a whole number from {low} to {high}")
        return int(value)

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    """An option parser for one word of a few."""

    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"it must be one of {', '.join(choices)}")
        return value

    return parse


def flag(value: str) -> bool:
    """An option parser for a switch."""
    if value not in ("0", "1", "false", "true"):
        raise ValueError("it must be 0 or 1")
    return value in ("1", "true")


def close_names(name: str, known: Iterable[str]) -> str:
    """``' (did you mean …?)'`` or nothing."""
    near = difflib.get_close_matches(name, list(known), n=3)
    return f" (did you mean {', '.join(near)}?)" if near else ""
