"""From a pattern to the files that it names."""

from __future__ import annotations

import glob
import itertools
import os
import re
from pathlib import Path

from helip.common.errors import InvalidArgumentError

_NUMBER = re.compile(r"(\d+)")
_MAX_EXPANSIONS = 1_000_000
_RANGE = re.compile(r"(-?\d+|[A-Za-z])\.\.(-?\d+|[A-Za-z])(?:\.\.(-?\d+))?")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|pipe:")


def is_url(text: str) -> bool:
    """Whether ``text`` names something to fetch or to run rather than a file."""
    return _URL.match(text) is not None


def expand_braces(pattern: str) -> list[str]:
    """Expand ``{00..12}``, ``{a,b}``, ``{9..1..2}`` and nestings of them as bash does.

    A range keeps the width of the wider end if one of them starts with a zero. Braces with
    neither a comma nor a range stay as they are.
    """
    for brace in re.finditer("{", pattern):
        pieces, rest = _split_braces(pattern, brace.start())
        if len(pieces) > 1:
            middles = [each for piece in pieces for each in expand_braces(piece)]
        else:
            middles = _expand_range(pieces[0])
        if middles:
            tails = expand_braces(rest)
            _check_expansions(len(middles) * len(tails), pattern)
            head = pattern[: brace.start()]
            return [head + middle + tail for middle in middles for tail in tails]
    return [pattern]


def _split_braces(pattern: str, start: int) -> tuple[list[str], str]:
    """What is between the commas of the brace at ``start``, and what follows; "" if it is open."""
    depth = 0
    cuts = [start]
    for position in range(start, len(pattern)):
        letter = pattern[position]
        depth += (letter == "{") - (letter == "}")
        if depth == 0 or (depth == 1 and letter == ","):
            cuts.append(position)
        if depth == 0:
            pieces = [pattern[a + 1 : b] for a, b in itertools.pairwise(cuts)]
            return pieces, pattern[position + 1 :]
    return [""], ""


def _expand_range(body: str) -> list[str]:
    match = _RANGE.fullmatch(body)
    if match is None:
        return []
    low, high, step_text = match.groups()
    if low.isalpha() != high.isalpha():
        return []
    first, last = (ord(low), ord(high)) if low.isalpha() else (int(low), int(high))
    step = abs(int(step_text or 1)) or 1
    _check_expansions(abs(last - first) // step + 1, "{" + body + "}")
    values = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    if low.isalpha():
        return [chr(value) for value in values]
    padded = any(re.match(r"-?0\d", text) for text in (low, high))
    width = max(len(low), len(high)) if padded else 0
    return [f"{value:0{width}d}" for value in values]


def _check_expansions(count: int, pattern: str) -> None:
    if count > _MAX_EXPANSIONS:
        raise InvalidArgumentError(
            f"{pattern!r} names {count:,} files, more than {_MAX_EXPANSIONS:,}; name fewer"
        )


def natural(path: Path) -> tuple[object, ...]:
    """Orders by the numbers in a path, wherever they stand: ``emb_2`` before ``emb_10``."""
    pieces = _NUMBER.split(str(path))  # text and numbers by turns
    return (*(int(each) if at % 2 else each for at, each in enumerate(pieces)), str(path))


def existing_paths(pattern: str | os.PathLike[str], accepted: str) -> list[Path]:
    """The files and folders of a pattern, in its order, those of ``*`` by their numbers.

    Args:
        pattern: a path, with braces, ``*``, and ``::`` between several.
        accepted: what may be given, for messages.
    """
    pattern = os.fspath(pattern)
    if not isinstance(pattern, str) or not pattern or "\0" in pattern:
        raise InvalidArgumentError(f"{pattern!r} is not a path: {accepted}")
    if os.path.exists(pattern):
        return [Path(pattern)]
    paths: list[Path] = []
    missing: list[str] = []
    expanded = [path for piece in pattern.split("::") for path in expand_braces(piece)]
    for path in expanded:
        if os.path.exists(path):
            paths.append(Path(path))
        elif glob.has_magic(path) and (matches := glob.glob(path, recursive=True)):
            paths.extend(sorted(map(Path, matches), key=natural))
        else:
            missing.append(path)
    if missing:
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        several = f"{len(missing)} of {len(expanded)} paths are missing"
        raise InvalidArgumentError(
            f"{pattern!r}: {several if len(expanded) > 1 else 'nothing is there'} ({shown}); "
            f"check the path. Otherwise, {accepted}"
        )
    return paths
