"""What the command line writes of a plan in stages."""

from __future__ import annotations

from typing import Any

from helip.cli.showing import show_table
from helip.common.quantities import aligned, bytes_words, duration_words

_HEAD = ("stage", "units", "CPU hours", "memory", "scratch", "network", "hours")


def show_stages(plan: dict[str, Any], options: dict[str, Any]) -> None:
    """A plan with a row for each stage, to stdout."""
    needed = [stage for stage in plan["stages"] if not stage["if_short"]]
    more = [stage for stage in plan["stages"] if stage["if_short"]]

    def total(name: str) -> float:
        return sum(stage[name] for stage in needed)

    download = plan["download_bytes"]
    show_table(
        [
            *size_rows(plan, options),
            *update_rows(plan["update"]),
            ("method", f"{plan['method']} ({plan['reason']})"),
            ("machines", f"{plan['machines']:,} of {plan['threads']:,} threads each, engine "
                         f"{options['engine']}"),
            ("time", f"{duration_words(plan['seconds'])} of {_hours(total('cpu_hours'))} CPU "
                     "hours; disks and the network may take longer"),
            ("memory", f"{bytes_words(plan['memory_bytes'])} at most of a unit"),
            ("disk", bytes_words(plan["disk_bytes"])),
            ("scratch", f"{bytes_words(plan['scratch_bytes'])} in OUT.stages while it runs"),
            ("network", f"{bytes_words(total('network_bytes'))} read of files that machines share"),
            *([("download", f"{bytes_words(download)} of the store")] if download else []),
            ("pairs", f"{plan['pairs']:,}"),
            ("measured", f"CPU hours: {plan['measured_on']}"),
        ]
    )  # fmt: skip
    lines = aligned([_HEAD, *map(_line, needed), *map(_line, more)], "<>").splitlines()
    print("", *lines[: 1 + len(needed)], sep="\n")
    asked = (
        "that of the table"
        if plan["update"] and options["rows"] is None
        else f"{options['recall']:g}"
    )
    print(
        f"\nwhere the measured recall is below {asked}, also a pass of refine, then one cluster "
        "more for each row:"
    )
    print(*lines[1 + len(needed) :], sep="\n")


def update_rows(update: dict[str, Any]) -> list[tuple[str, str]]:
    """What a plan of an update takes for changed."""
    if not update:
        return []
    known = update["certified_before"]
    return [
        (
            "update",
            f"{update['added']:,} rows are new, {update['deleted']:,} deleted, "
            f"{update['replaced']:,} embedded again; {update['lost']:.1%} of the old ones lose a "
            "pair of a full pool" + (f"; exact pools of {known:,} targets are kept" * bool(known)),
        )
    ]


def size_rows(plan: dict[str, Any], options: dict[str, Any]) -> list[tuple[str, str]]:
    """The size of rows that are not there yet."""
    if plan["rows_from"] == "data":
        return []
    image, text = options["dims"]
    return [("rows", f"{options['rows']:,} of {image:,} and {text:,} dimensions in float16")]


def _line(stage: dict[str, Any]) -> tuple[str, ...]:
    return (
        stage["name"], f"{stage['units']:,}", _hours(stage["cpu_hours"]),
        bytes_words(stage["memory_bytes"]), bytes_words(stage["scratch_bytes"]),
        bytes_words(stage["network_bytes"]), _hours(stage["hours"]),
    )  # fmt: skip


def _hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
