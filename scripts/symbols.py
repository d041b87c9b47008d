"""Writes cpp/symbols.txt, what the libraries export for programs; --check compares instead.

Other libraries than those of the installed package: ``python scripts/symbols.py --check FOLDER``.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

CPP = Path(__file__).resolve().parent.parent / "cpp"
LIST = CPP / "symbols.txt"
LIBRARIES = ("libhelip.so", "libhelip_data.so")
HEAD = "# The symbols of {} that programs use. `make symbols` writes this file."
# Functions of C; functions of C++ that are defined once, tables of virtual functions, and types.
# Templates and inline functions are left out: which of them are there depends on the compiler.
_WANTED = re.compile(r"helip_\w+$|_ZNK?5helip|_ZT[VI]N5helip")
_OBJECTS = re.compile(r"_ZT[VI]N5helip\d+\w+E$")  # no class within a class: those are private
# What headers of cpp/src mark so is taken by libhelip_data alone: a class, or a function.
_FOR_DATA = re.compile(r"\bclass HELIP_FOR_DATA (\w+)|\bHELIP_FOR_DATA [^;(]*?(\w+)\(")
# libstdc++ and libc++ have their names in a namespace of their own, and tags of their own.
_INLINE_NAMESPACES = re.compile(r"(?<=std::)(__cxx11|__1|__fs)::|(?<=filesystem::)__cxx11::")
_TAGS = re.compile(r"\[abi:\w+\]")


def names_of(library: Path) -> list[str]:
    """Sorted, as C++ writes them, the same of every compiler and standard library."""
    listing = _output("nm", "-D", "--defined-only", str(library))
    found = set()
    for line in listing.splitlines():
        *_, kind, name = line.split()
        name = name.partition("@")[0]
        is_object = name.startswith("_ZT")
        if _WANTED.match(name) and (_OBJECTS.match(name) if is_object else kind == "T"):
            found.add(name)
    demangled = _output("c++filt", given="\n".join(sorted(found))).splitlines()
    inner = re.compile(rf"(.* for )?helip::({'|'.join(for_data())})(::|\(|\[|$)")
    return sorted({plain(name) for name in demangled if not inner.match(name)})


def for_data() -> list[str]:
    """Classes and functions that are exported for libhelip_data, and for no program."""
    texts = (path.read_text(encoding="utf-8") for path in sorted((CPP / "src").rglob("*.h")))
    return sorted({a or b for text in texts for a, b in _FOR_DATA.findall(text)})


def listing_of(folder: Path) -> list[str]:
    """The lines of the list for the libraries of a folder."""
    lines = []
    for library in LIBRARIES:
        found = names_of(folder / library)
        if not found:
            sys.exit(f"{folder / library} exports nothing of helip")
        lines += [HEAD.format(library), *found]
    return lines


def plain(name: str) -> str:
    """A demangled name without what depends on the standard library."""
    before = None
    while before != name:
        before = name
        name = _INLINE_NAMESPACES.sub("", name)
    name = _TAGS.sub("", name).replace("> >", ">>").replace("> >", ">>")
    for default in ("allocator", "char_traits", "less"):
        name = _without_argument(name, f", std::{default}<")
    name = name.replace("std::basic_string<char>", "std::string")
    return name.replace("std::basic_string_view<char>", "std::string_view")


def _without_argument(name: str, begin: str) -> str:
    while (at := name.find(begin)) >= 0:
        depth, end = 1, at + len(begin)
        while depth:
            depth += {"<": 1, ">": -1}.get(name[end], 0)
            end += 1
        name = name[:at] + name[end:].removeprefix(" ")
    return name


def differences(listed: list[str], found: list[str]) -> list[str]:
    """A line for each symbol that one side lacks."""
    gone = [f"  - {name}" for name in listed if name not in set(found)]
    return gone + [f"  + {name}" for name in found if name not in set(listed)]


def _output(*command: str, given: str | None = None) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, input=given)
    except FileNotFoundError:
        sys.exit(f"{command[0]} is not installed; it is part of binutils")
    return done.stdout


def _installed() -> Path:
    spec = importlib.util.find_spec("helip")
    if spec is None or spec.origin is None:
        sys.exit("helip is not installed; name a folder of libraries")
    return Path(spec.origin).parent / "lib"


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    paths = [Path(a) for a in arguments if a != "--check"]
    found = listing_of(paths[0] if paths else _installed())
    if not check:
        LIST.write_text("".join(f"{name}\n" for name in found), encoding="utf-8")
        return 0
    changed = differences(LIST.read_text(encoding="utf-8").splitlines(), found)
    if not changed:
        return 0
    print(
        f"{LIST.name} is not what the libraries export:",
        *changed,
        "A symbol that is gone (-) breaks programs that were linked against it: it takes a new",
        "minor version before 1.0, a new major version from then on, and a line in CHANGELOG.",
        "Run `make symbols` and commit the list to accept the change.",
        sep="\n",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
