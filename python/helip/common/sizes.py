"""Numbers of bytes as people write them."""

from __future__ import annotations

import re

from helip.common.errors import InvalidArgumentError


def parse_bytes(size: int | str | None, *, name: str = "memory") -> int:
    """Bytes from a number or a text such as ``"4GB"`` or ``"512 MiB"``; None gives 0."""
    if size is None:
        return 0
    if isinstance(size, str):
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([KMGT]?)(i?)B?\s*", size, re.IGNORECASE)
        if not match:
            raise InvalidArgumentError(f'{name} is {size!r}; write bytes, or "4GB", "512MiB"')
        base = 1024 if match[3] else 1000
        size = int(float(match[1]) * base ** " KMGT".index(match[2].upper() or " "))
    if size < 1:
        raise InvalidArgumentError(f"{name} is {size}; it must be at least 1 byte")
    return size
