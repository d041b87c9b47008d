"""Commands of mining: its plan, a table, parts of one, and a table that follows its store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from helip.cli.options import AsJson, Memory, MiningDevice, Quiet, Seed, Threads
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


def plan(
    store: Annotated[Path, typer.Argument(help="An EmbeddingStore.")],
    k: Annotated[int, typer.Option("-k", "--k", help="Pool size.")] = 100,
    method: Annotated[str, typer.Option(help="auto, exact, sample, hnsw or partition.")] = "auto",
    modality: Annotated[str, typer.Option(help="both, image or text.")] = "both",
    candidates: Annotated[int | None, typer.Option(help="sample: size of a draw.")] = None,
    device: MiningDevice = "auto",
    threads: Threads = 0,
    memory: Memory = None,
    as_json: AsJson = False,
) -> None:
    """Say what mining would cost, without doing it."""
    import helip

    def planned(method: str, candidates: int | None, device: str) -> dict[str, Any]:
        return helip.plan(
            store, k=k, method=method, modality=modality, candidates=candidates, device=device,
            threads=threads, memory=memory,
        ).to_dict()  # fmt: skip

    result = planned(method, candidates, device)
    others = [m for m in ("exact", "partition", "hnsw", "sample") if m != result["method"]]
    alternatives = [planned(m, None, "cpu") for m in (others if method == "auto" else [])]
    if as_json:
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


def mine(
    store: Annotated[Path, typer.Argument(help="An EmbeddingStore.")],
    out: Annotated[Path, typer.Option(help="The table to write.")],
    k: Annotated[int, typer.Option("-k", "--k", help="Pool size.")] = 100,
    method: Annotated[str, typer.Option(help="auto, exact, sample, hnsw or partition.")] = "auto",
    modality: Annotated[str, typer.Option(help="both, image or text.")] = "both",
    image_max: Annotated[float, typer.Option(help="Near-duplicate cosine, image.")] = 0.98,
    text_max: Annotated[float, typer.Option(help="Near-duplicate cosine, text.")] = 0.98,
    min_score: Annotated[float, typer.Option(help="A score must exceed it.")] = 0.0,
    signed: Annotated[bool, typer.Option("--signed", help="Do not clamp at zero.")] = False,
    margin: Annotated[float | None, typer.Option(help="Drop false negatives, by this.")] = None,
    skip: Annotated[int, typer.Option(help="Best pairs to pass over.")] = 0,
    collapse: Annotated[str, typer.Option(help="Copies once: none, image, text or both.")] = "none",
    candidates: Annotated[int | None, typer.Option(help="sample: size of a draw.")] = None,
    refresh: Annotated[int, typer.Option(help="sample: targets a draw serves.")] = 300_000,
    seed: Seed = 0,
    recall: Annotated[float, typer.Option(help="hnsw, partition: recall@k to reach.")] = 0.95,
    device: MiningDevice = "auto",
    threads: Threads = 0,
    memory: Memory = None,
    checkpoint: Annotated[
        float, typer.Option(min=0, help="hnsw, partition: seconds between saves.")
    ] = 60.0,
    parts: Annotated[int | None, typer.Option(help="Commit the job in so many parts.")] = None,
    part: Annotated[str | None, typer.Option(help="i/n: mine that part alone, to --out.")] = None,
    engine: Annotated[str, typer.Option(help="threads or ray.")] = "threads",
    csv: Annotated[Path | None, typer.Option(help="Also write target,h1,...,hk.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Mine the hard pairs of every target; the same call goes on after an interruption."""
    import helip
    from helip.cli.resuming import saying_how_to_continue
    from helip.mining.engines.parts import parse_part

    if part is not None and csv is not None:
        raise InvalidArgumentError("--csv is of a whole table; merge the parts first")
    with saying_how_to_continue(out, part, method, say):
        pairs = helip.mine(
            store, k=k, method=method, modality=modality, image_max=image_max, text_max=text_max,
            min_score=min_score, signed=signed, margin=margin, skip=skip, collapse=collapse,
            candidates=candidates, refresh=refresh, seed=seed, recall=recall, device=device,
            threads=threads, memory=memory, out=out, checkpoint=checkpoint, parts=parts,
            part=None if part is None else parse_part(part), engine=engine, progress=not quiet,
        )  # fmt: skip
    if csv is not None:
        pairs.to_csv(csv)
    show_pairs(pairs, str(out), as_json)


def merge(
    parts: Annotated[list[Path], typer.Argument(help="All parts of a job, in any order.")],
    out: Annotated[Path, typer.Option(help="The table to write.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make the table of all parts that helip mine --part wrote."""
    import helip

    pairs = helip.merge(parts, out=out, progress=not quiet)
    show_pairs(pairs, str(out), as_json)


def update(
    pairs: Annotated[Path, typer.Argument(help="A table that was mined exactly.")],
    store: Annotated[Path, typer.Option(help="The store that was mined, as it is now.")],
    out: Annotated[Path | None, typer.Option(help="The table to write; else PAIRS.")] = None,
    threads: Threads = 0,
    memory: Memory = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Bring a table up to date with rows that were appended to its store, or deleted."""
    import helip

    out = pairs if out is None else out
    result = helip.update(pairs, store, out=out, threads=threads, memory=memory, progress=not quiet)
    show_pairs(result, str(out), as_json)
