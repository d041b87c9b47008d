"""What the command line writes of a plan in stages."""

from __future__ import annotations

from typing import Any

from helip.cli.showing import show_table
from helip.common.quantities import aligned, bytes_words

_HEAD = ("stage", "units", "memory", "scratch", "read")


def show_stages(plan: dict[str, Any], options: dict[str, Any]) -> None:
    """A plan with a row for each stage, to stdout."""
    needed = [stage for stage in plan["stages"] if not stage["if_short"]]
    more = [stage for stage in plan["stages"] if stage["if_short"]]

    download = plan["download_bytes"]
    show_table(
        [
            ("method", f"{plan['method']} ({plan['reason']})"),
            ("memory", f"{bytes_words(plan['memory_bytes'])} at most of a unit"),
            ("disk", bytes_words(plan["disk_bytes"])),
            ("scratch", f"{bytes_words(plan['scratch_bytes'])} in OUT.stages while it runs"),
            *([("download", f"{bytes_words(download)} of the store")] if download else []),
            ("pairs", f"{plan['pairs']:,}"),
        ]
    )
    lines = aligned([_HEAD, *map(_line, needed), *map(_line, more)], "<>").splitlines()
    print("", *lines[: 1 + len(needed)], sep="\n")
    print(
        f"\nwhere the measured recall is below {options['recall']:g}, also a pass of refine, then "
        "one cluster more for each row:"
    )
    print(*lines[1 + len(needed) :], sep="\n")


def _line(stage: dict[str, Any]) -> tuple[str, ...]:
    sizes = (stage[f"{name}_bytes"] for name in ("memory", "scratch", "read"))
    return (stage["name"], f"{stage['units']:,}", *map(bytes_words, sizes))
