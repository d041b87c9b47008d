"""Groups of options: what is checked when one is made."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import pytest

import helip
from helip.common.errors import InvalidArgumentError
from helip.common.options import Options, Positive, check, hints_of

PACKAGE = Path(helip.__file__).parent


def groups() -> Iterator[type[Options]]:
    for path in PACKAGE.rglob("*.py"):
        if "Options)" in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
            importlib.import_module(name)
    waiting = Options.__subclasses__()
    while waiting:
        group = waiting.pop()
        waiting += group.__subclasses__()
        if group.__module__.startswith("helip."):
            yield group


def test_every_default_is_within_its_bounds_so_that_a_call_need_not_check_it() -> None:
    checked = 0
    for group in groups():
        kinds = hints_of(group)
        for field in fields(group):
            if field.default is not MISSING:
                check(field.name, field.default, kinds[field.name])
                checked += 1
    assert checked > 300


def test_what_a_call_gives_is_checked_also_where_it_equals_the_default() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Own(Options):
        k: Positive = 1

    Own.__module__ = __name__
    assert Own(k=1).k == 1
    for wrong in (True, 1.0, 0, 2**63):
        with pytest.raises(InvalidArgumentError, match="k is"):
            Own(k=wrong)
