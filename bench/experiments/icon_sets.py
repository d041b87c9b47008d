"""Which icons the data set of icons is made of: sets, their licences, designers and categories.

The sets are those of npm ``@iconify/json``: a JSON file of SVG bodies a set, and for all of them
``collections.json`` with authors, licences and categories.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

PACKAGE = "@iconify/json"
VERSION = "2.2.535"

LICENCES = re.compile(r"MIT|ISC|Apache-2\.0|BSD-[23]-Clause|CC0-1\.0|CC-BY(-SA)?-[\d.]+")

# Marks of products and projects, which `collections.json` does not put into "Logos".
_LOGOS = frozenset({"devicon", "devicon-plain", "file-icons", "skill-icons", "unjs"})
_LOGO_CATEGORY = re.compile(r"\b(brands?|logos?)\b|^social ?(media|bookmark|network)s?$", re.I)
_LOGO_NAME = re.compile(r"^(brand|logo|sc|social(?!-(distancing|rewards)))-.|.-logo(-|$)")

_LOGO_STYLE = re.compile(
    r"(-(icon|logo|wordmark|light|dark|square|background|plain|original|line))+$"
)

# Their pictures show what they look like in the middle of a movement, if anything.
_ANIMATED = frozenset({"line-md", "svg-spinners"})

# Sets of one hand under several authors' names, and sets that grew out of another one.
_DESIGNERS = {
    "Google Inc": "Google",
    "Material Design Authors": "Google",
    "Pictogrammers": "Google",
    "Lucide Contributors": "Cole Bemis",
    "Praveen Juge": "Cole Bemis",
    "zkreations": "Cole Bemis",
    "Family": "Ben Sperry",
    "Andri Soone": "Refactoring UI Inc",
    "Quincy Morgan": "Mapbox",
    "Bryan Housel": "Mapbox",
}


@dataclass(frozen=True)
class IconSet:
    """A set of icons as the package has it, without what is hidden in it."""

    prefix: str
    title: str
    designer: str
    licence: str  # as SPDX writes it
    licence_url: str
    author: str
    author_url: str
    category: str
    colour: bool
    icons: Mapping[str, Mapping[str, Any]]  # name -> body, left, top, width, height
    styles: tuple[tuple[str, ...], tuple[str, ...]]  # declared as ends, as beginnings
    categories: Mapping[str, tuple[str, ...]]  # of a name
    aliases: Mapping[str, tuple[str, ...]]  # other names of a name
    codes: Mapping[str, str]  # code points of a name, "1f44b-1f3fb", where it is an emoji
    logos: frozenset[str] = field(default_factory=frozenset)  # names


@dataclass(frozen=True)
class Package:
    """What the package has: ``logos`` is how many sets of logos have each name."""

    sets: list[IconSet]
    logos: Counter[str]
    left_out: Mapping[str, tuple[str, int, bool]]  # reason, icons, in colour; of each other set


def read(archive: Path) -> Package:
    """The sets whose licence allows what is done with them, without those of logos."""
    with tarfile.open(archive) as tar:
        collections = next(json.load(content) for _, content in _files(tar, "collections"))
    used: list[IconSet] = []
    logos: Counter[str] = Counter()
    reasons = {}
    with tarfile.open(archive) as tar:
        for prefix, file in _files(tar, "json/"):
            about = collections.get(prefix)
            if about is None:  # a set that was withdrawn, kept for old users
                continue
            reason = left_out(prefix, about)
            if reason is None:
                used.append(icon_set(prefix, about, json.load(file)))
                continue
            reasons[prefix] = reason, about["total"], bool(about.get("palette"))
            if is_logos(prefix, about):
                names = json.load(file)["icons"]
                logos.update({_LOGO_STYLE.sub("", name) for name in names})
    return Package(sorted(used, key=lambda icons: icons.prefix), logos, reasons)


def _files(tar: tarfile.TarFile, start: str) -> Iterator[tuple[str, IO[bytes]]]:
    """JSON files of the package, by names without folder and ending."""
    for member in tar:
        if member.name.startswith(f"package/{start}") and member.name.endswith(".json"):
            content = tar.extractfile(member)
            assert content is not None
            yield Path(member.name).stem, content


def is_logos(prefix: str, about: Mapping[str, Any]) -> bool:
    named = prefix in _LOGOS or prefix.endswith("-brands")
    return about.get("category") == "Logos" or named


def left_out(prefix: str, about: Mapping[str, Any]) -> str | None:
    """Why a set is not used; None if it is."""
    if not LICENCES.fullmatch(about["license"].get("spdx", "")):
        return "set: licence"
    if is_logos(prefix, about):
        return "set: logos"
    if prefix in _ANIMATED:
        return "set: animated"
    return None


def icon_set(prefix: str, about: Mapping[str, Any], content: Mapping[str, Any]) -> IconSet:
    default = {
        "left": content.get("left", 0),
        "top": content.get("top", 0),
        "width": content.get("width", 16),
        "height": content.get("height", 16),
    }
    icons = {
        name: {**default, **icon}
        for name, icon in content["icons"].items()
        if not icon.get("hidden")
    }
    categories: dict[str, list[str]] = {}
    for category, names in content.get("categories", {}).items():
        for name in names:
            categories.setdefault(name, []).append(category)
    aliases: dict[str, list[str]] = {}
    for alias, icon in content.get("aliases", {}).items():
        if set(icon) <= {"parent", "hidden"}:  # the same picture, not turned
            aliases.setdefault(icon["parent"], []).append(alias)
    author = about["author"]
    return IconSet(
        prefix=prefix,
        title=about["name"],
        designer=_DESIGNERS.get(author["name"], author["name"]),
        licence=about["license"]["spdx"],
        licence_url=about["license"].get("url", ""),
        author=author["name"],
        author_url=author.get("url", ""),
        category=about.get("category", ""),
        colour=bool(about.get("palette")),
        icons=icons,
        styles=(
            tuple(part for part in content.get("suffixes", {}) if part),
            tuple(part for part in content.get("prefixes", {}) if part),
        ),
        categories={name: tuple(listed) for name, listed in categories.items()},
        aliases={name: tuple(listed) for name, listed in aliases.items()},
        codes=(
            {name: codes for codes, name in content.get("chars", {}).items()}
            if about.get("category") == "Emoji"
            else {}
        ),
        logos=frozenset(
            name
            for name in icons
            if _LOGO_NAME.search(name)
            or any(_LOGO_CATEGORY.search(category) for category in categories.get(name, ()))
        ),
    )


def attribution(used: list[IconSet]) -> str:
    """What the licences ask to be said wherever the pictures go."""
    lines = [
        "# Attribution",
        "",
        f"Icons of these sets, as npm {PACKAGE} {VERSION} has them, drawn over white at a small",
        "size and named after their names there. Each stays under its licence.",
        "",
    ]
    for icons in used:
        author = f"{icons.author} ({icons.author_url})" if icons.author_url else icons.author
        licence = f"{icons.licence} ({icons.licence_url})" if icons.licence_url else icons.licence
        lines.append(f"- {icons.prefix}: {icons.title}, by {author}, {licence}")
    return "\n".join(lines) + "\n"
