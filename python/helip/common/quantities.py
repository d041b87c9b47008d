"""Times, sizes and tables as people read and write them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from helip.common.errors import InvalidArgumentError


def duration_words(seconds: float) -> str:
    """Seconds in the unit that fits."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def bytes_words(size: float) -> str:
    """Bytes in the unit that fits."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def aligned(rows: Sequence[Sequence[str]], sides: str = "<") -> str:
    """Rows of cells as lines, their columns as wide as their widest cells; "" of no rows.

    sides: where the cells of each column stand, ``<`` left or ``>`` right; the last one is of all
        columns after it as well.
    """
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = sides.ljust(len(widths), sides[-1])
    formats = [f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True)]
    return "\n".join("  ".join(formats).format(*row).rstrip() for row in rows)


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
    if not 1 <= size < 2**63:
        raise InvalidArgumentError(f"{name} is {size}; it must be at least 1 byte, below 2**63")
    return size
