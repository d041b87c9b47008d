"""A job of units: what its folder says it is, and the i-th of n parts of it.

Whoever begins a job writes ``job.json`` to its folder; all others compare. The parts of a job for
``out`` are ``out.parts/part-00003-of-00008``. What a unit holds, and when it is done, its job
knows.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.files import publish_once

JOB = "job.json"


def begin_job(folder: Path, asked: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What ``job.json`` of a folder says: all of this, or what another process began with.

    Of a job that is there ``asked`` must agree, and what was ``chosen`` stays. MismatchError with
    what differs.
    """
    there: dict[str, Any] = publish_once(folder / JOB, {**asked, **chosen})
    if differ := differences({name: there.get(name) for name in asked}, asked):
        raise MismatchError(
            f"{folder} holds a job that differs: {differ}; go on with what it was begun with, or "
            "remove that folder"
        )
    return there


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Names and both values of what differs; empty where nothing does."""
    return "; ".join(
        f"{name} {json.dumps(there.get(name))}, here {json.dumps(here.get(name))}"
        for name in {**there, **here}
        if there.get(name) != here.get(name)
    )


def parse_part(text: str, name: str = "part") -> tuple[int, int]:
    """``"3/8"`` as (3, 8)."""
    match = re.fullmatch(r"\s*([0-9]+)\s*/\s*([0-9]+)\s*", text)
    if not match:
        raise InvalidArgumentError(
            f"{name} is {text!r}; write i/n, such as 3/8, with i from 1 to n"
        )
    return checked_part((int(match[1]), int(match[2])), name)


def checked_part(part: Any, name: str = "part") -> tuple[int, int]:
    """``part`` as it is; InvalidArgumentError where it is not (i, n) with 1 ≤ i ≤ n."""
    whole = isinstance(part, tuple) and len(part) == 2 and all(type(x) is int for x in part)
    if not whole or not 1 <= part[0] <= part[1]:
        raise InvalidArgumentError(
            f"{name} is {part!r}; it must be two whole numbers (i, n), with i from 1 to n"
        )
    return part[0], part[1]


def parts_folder(out: str | os.PathLike[str]) -> Path:
    """Where a job in parts keeps them until its result is there."""
    return _beside(out, ".parts")


def shares_folder(out: str | os.PathLike[str]) -> Path:
    """The same of a job in shares."""
    return _beside(out, ".shares")


def _beside(out: str | os.PathLike[str], suffix: str) -> Path:
    path = os.fspath(out).rstrip("/")
    # Beside a folder that is given as "." or "..", not in it.
    beside = os.path.abspath(path) if path.rsplit("/", 1)[-1] in ("", ".", "..") else path
    return Path(beside + suffix)


def part_path(out: str | os.PathLike[str], index: int, count: int) -> Path:
    """The place of one of them."""
    return parts_folder(out) / f"part-{index:05}-of-{count:05}"
