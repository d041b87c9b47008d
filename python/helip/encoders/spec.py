"""Spec strings, which name an encoder: ``FAMILY:NAME[@PATH][?key=value[&key=value…]]``.

:func:`parse_spec` splits one; :func:`read_options` reads its options for a family.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Le

from helip.common.errors import InvalidArgumentError
from helip.common.options import check, plain_kind

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

# Tokens that a caption is cut to.
MaxLength = Annotated[int, Ge(2), Le(65536)]


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


def read_options(spec: EncoderSpec, **hints: Any) -> dict[str, Any]:
    """The options of ``spec``, each of the type and within the bounds that its hint names.

    Options that are not given are absent. Raises InvalidArgumentError naming the option, its value
    and what it may be.
    """
    values: dict[str, Any] = {}
    for key, text in spec.options.items():
        if key not in hints:
            allowed = ", ".join(sorted(hints)) or "none"
            raise InvalidArgumentError(
                f"it has the unknown option {key!r}: {spec.family} takes {allowed}"
                f"{close_names(key, hints)}"
            )
        try:
            values[key] = plain_kind(hints[key])(text)
        except ValueError:
            raise InvalidArgumentError(f"{key} is {text!r}, must be a number") from None
        check(key, values[key], hints[key])
    return values


def close_names(name: str, known: Iterable[str]) -> str:
    """``' (did you mean …?)'`` or nothing."""
    near = difflib.get_close_matches(name, list(known), n=3)
    return f" (did you mean {', '.join(near)}?)" if near else ""
