"""English names of emoji and flags, from the packages ``emoji`` and ``pycountry``."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from icon_sets import IconSet

from helip_demo import data as demo_data

FLAG_SETS = frozenset({"cif", "circle-flags", "flag", "flagpack"})
_FLAG_NAME = re.compile(r"^flag-(for-)?(flag-)?")
_CLOCK = re.compile(r"^clock(\d{1,2})(thirty|oclock)$")
_HOURS = "twelve one two three four five six seven eight nine ten eleven".split()  # noqa: SIM905
_TONES = ("medium-light", "medium-dark", "light", "medium", "dark")  # longest first


def name_of(icons: IconSet, name: str) -> str | None:
    """The name of an emoji or a flag; "" for a flag nobody names; None for everything else."""
    if icons.prefix in FLAG_SETS:
        return flag_of(re.sub(r"-(1x1|4x3)$", "", name))
    if (
        icons.category != "Emoji"
        and icons.designer != "Microsoft Corporation"
        and not (name.startswith("flag-") and icons.category == "Archive / Unmaintained")
    ):
        return None
    if icons.prefix in ("fluent", "fluent-color", "fluent-mdl2", "codicon"):
        return None
    if codes := icons.codes.get(name):
        numbers = demo_data.without_selectors(int(code, 16) for code in codes.split("-"))
        if known := _english().get(numbers):
            return emoji_name(numbers, known)
    if icons.prefix.startswith("streamline"):
        name = re.sub(r"-\d$", "", name)
    name = _CLOCK.sub(lambda found: f"{_HOURS[int(found[1]) % 12]}{found[2]}", name)
    if known := _by_name().get(plain(name)):
        return known
    if icons.prefix.startswith("fluent"):
        for tone in _TONES:
            if name.endswith(f"-{tone}"):
                base = name[: -len(tone) - 1]
                return f"{_by_name().get(plain(base), base.replace('-', ' '))} {tone} skin tone"
    return _by_name().get(plain(_FLAG_NAME.sub("", name))) if _FLAG_NAME.match(name) else None


def flag_of(code: str) -> str:
    """ "flag of germany" of "de", "flag of california" of "us-ca"; "" where no package names it."""
    place = _country(code) or _subdivision(code)
    if place is None and len(code) > 3:
        place = code.replace("-", " ")
        if re.search(r"\b(lang|variant)\b|^.. ", place):
            return ""
    return f"flag of {place.lower()}" if place else ""


def emoji_name(codes: tuple[int, ...], name: str) -> str:
    caption = demo_data.clean_name(name).lower()
    if demo_data.group_of(codes) == "flag" and not caption.endswith("flag"):
        return f"flag of {caption}"
    return re.sub(r"[:,“”()]", "", caption).replace("’", "'")


def plain(name: str) -> str:
    """A name without what packages write differently."""
    text = unicodedata.normalize("NFKD", name.lower().replace("&", "and"))
    text = "".join(char for char in text if not unicodedata.combining(char))
    return re.sub(r"[^a-z0-9#*+]", "", text)


_english = cache(demo_data.english_names)


@cache
def _by_name() -> dict[str, str]:
    """English names of emoji by all of their `plain` names, Unicode's own among them."""
    import emoji

    names: dict[str, str] = {}
    known = _english()
    rows = [(demo_data.without_selectors(map(ord, text)), text, facts) for text, facts in
            emoji.EMOJI_DATA.items() if "en" in facts]  # fmt: skip
    for codes, _, _ in rows:
        names.setdefault(plain(known[codes]), emoji_name(codes, known[codes]))
    for codes, text, facts in rows:
        others = [alias for alias in facts.get("alias", ()) if len(alias) > 5]
        if len(codes) == 1:
            others.append(unicodedata.name(text[0], ""))
        for other in others:
            names.setdefault(plain(other), emoji_name(codes, known[codes]))
    names.pop("", None)
    return names


def _country(code: str) -> str | None:
    parts = code.split("-")
    if len(parts) == 1 and len(code) == 2 and code.isalpha():
        codes = tuple(0x1F1E6 + ord(letter) - ord("a") for letter in code)
    elif parts[0] == "gb" and len(parts) == 2:
        codes = (0x1F3F4, *(0xE0000 + ord(letter) for letter in "gb" + parts[1]), 0xE007F)
    else:
        return None
    name = _english().get(codes)
    return demo_data.clean_name(name) if name else None


def _subdivision(code: str) -> str | None:
    try:
        import pycountry
    except ImportError:
        raise SystemExit(
            "names of flags come from the package pycountry; pip install pycountry"
        ) from None
    found = pycountry.subdivisions.get(code=code.upper())
    return None if found is None else re.sub(r"[\[(].*", "", found.name).strip()
