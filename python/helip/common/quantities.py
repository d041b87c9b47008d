"""Times, sizes and tables as people read them."""

from __future__ import annotations

from collections.abc import Sequence


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
