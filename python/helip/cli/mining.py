"""Commands of mining: its plan, a table, parts of one, and a table that follows its store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from helip.cli.commands import AsJson, Quiet, command, text
from helip.cli.resuming import saying_how_to_continue
from helip.cli.showing import (
    bytes_words,
    cost_words,
    duration_words,
    filter_rows,
    print_json,
    say,
    show_pairs,
    show_table,
)
from helip.common.errors import InvalidArgumentError
from helip.mining.options import HostOptions, JobOptions, MachineOptions, MineOptions

Store = Annotated[Path, text("An EmbeddingStore.")]
Table = Annotated[Path, text("The table to write.")]


@command(MineOptions, MachineOptions)
def plan(store: Store, /, *, json: AsJson = False, **options: Any) -> None:
    """Say what mining would cost, without doing it; of training, helip train --plan does."""
    from helip.mining.planning import plan

    def planned(**others: Any) -> dict[str, Any]:
        return plan(store, **{**options, **others}).to_dict()

    result = planned()
    others = [m for m in ("exact", "partition", "hnsw", "sample") if m != result["method"]]
    alternatives = [
        planned(method=other, candidates=None, device="cpu")
        for other in (others if options["method"] == "auto" else [])
    ]
    if json:
        print_json({**result, "alternatives": alternatives})
        return
    show_table(
        [
            ("method", f"{result['method']} ({result['reason']})"),
            ("device", result["device"]),
            ("time", duration_words(result["seconds"])),
            ("memory", bytes_words(result["memory_bytes"])),
            ("disk", bytes_words(result["disk_bytes"])),
            ("scratch", f"{bytes_words(result['scratch_bytes'])} on disk while it runs"),
            ("pairs", f"{result['pairs']:,}"),
            *filter_rows(result["filters"] if result["method"] != "hnsw" else {}),
            *((f"or {other['method']}", cost_words(other)) for other in alternatives),
        ]
    )


@command(MineOptions, JobOptions)
def mine(
    store: Store,
    /,
    *,
    out: Table,
    part: Annotated[str | None, text("i/n: mine that part alone, to --out.")] = None,
    csv: Annotated[Path | None, text("Also write target,h1,...,hk.")] = None,
    json: AsJson = False,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Mine the hard pairs of every target; the same call goes on after an interruption."""
    from helip.common.parts import parse_part
    from helip.mining.miner import mine

    if part is not None and csv is not None:
        raise InvalidArgumentError(
            f"--csv {csv} is of a whole table, and --part {part} mines a part of it; drop --csv, "
            "and merge the parts first"
        )
    with saying_how_to_continue(out, part, options["method"], say):
        pairs = mine(
            store, out=out, part=None if part is None else parse_part(part), progress=not quiet,
            **options,
        )  # fmt: skip
    if csv is not None:
        pairs.to_csv(csv)
    show_pairs(pairs, str(out), json)


@command()
def merge(
    *parts: Annotated[Path, text("All parts of a job, in any order.")],
    out: Table,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make the table of all parts that helip mine --part wrote."""
    from helip.mining.engines.parts import merge

    show_pairs(merge(parts, out=out, progress=not quiet), str(out), json)


@command(HostOptions)
def update(
    pairs: Annotated[Path, text("A table that was mined exactly.")],
    /,
    *,
    store: Annotated[Path, text("The store that was mined, as it is now.")],
    out: Annotated[Path | None, text("The table to write; else PAIRS.")] = None,
    json: AsJson = False,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Bring a table up to date with rows that were appended to its store, or deleted."""
    from helip.mining.updating import update

    out = pairs if out is None else out
    show_pairs(update(pairs, store, out=out, progress=not quiet, **options), str(out), json)
