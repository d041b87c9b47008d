"""The ``helip`` command: one subcommand a step of the way from data to a better model.

Exit codes: 0 done, 1 failed, 2 wrong use. Data goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from helip.cli import mining as cli_mine
from helip.cli import models as cli_models
from helip.cli import training as cli_train
from helip.cli.options import AsJson, Device, Quiet, Seed, Threads
from helip.cli.showing import figure, print_json, say, show_index, show_pairs, show_table
from helip.common.errors import Error, InvalidArgumentError

app = typer.Typer(
    name="helip",
    help="Make a trained CLIP or SLIP model better on the data it already has.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_INTERRUPTED = 130  # typer's exit code after a KeyboardInterrupt


@app.command()
def index(
    shards: Annotated[list[str], typer.Argument(help="Tar shards: paths or patterns.")],
    out: Annotated[Path, typer.Option(help="The index to write, or to bring up to date.")],
    image_column: Annotated[str | None, typer.Option(help="Extension of pictures.")] = None,
    contents: Annotated[
        bool, typer.Option("--contents", help="Read every byte, so that verify can compare.")
    ] = False,
    threads: Threads = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Index tar shards, so that they open at once; only new and changed ones are read again."""
    import helip

    built = helip.SampleIndex.build(
        shards if len(shards) > 1 else shards[0], out=out, image_extension=image_column,
        contents=contents, threads=threads, progress=not quiet,
    )  # fmt: skip
    show_index(built, as_json, scanned=built.scanned)


@app.command()
def embed(
    data: Annotated[str, typer.Argument(help="Tar shards, their index, CSV, Parquet, folder.")],
    out: Annotated[Path, typer.Option(help="The store to write.")],
    preset: Annotated[str | None, typer.Option(help="paper, paper-v1 or packaged.")] = None,
    image_encoder: Annotated[str | None, typer.Option(help="Such as timm:NAME.")] = None,
    text_encoder: Annotated[str | None, typer.Option(help="Such as st:NAME.")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 256,
    workers: Annotated[int, typer.Option(min=0)] = 0,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    dtype: Annotated[str, typer.Option(help="float32, float16, bfloat16 or int8.")] = "float16",
    shard_rows: Annotated[int, typer.Option(help="Rows between two commits.")] = 262_144,
    max_quarantined: Annotated[float, typer.Option(help="Largest share of unreadable.")] = 0.1,
    quiet: Quiet = False,
) -> None:
    """Embed every image and caption; the same call goes on after an interruption."""
    import helip

    store = helip.embed(
        data, out=out, preset=preset, image_encoder=image_encoder, text_encoder=text_encoder,
        batch_size=batch_size, workers=workers, device=device, precision=precision, dtype=dtype,
        shard_rows=shard_rows, max_quarantined=max_quarantined, progress=not quiet,
    )  # fmt: skip
    say(f"{store.path}: {len(store):,} rows, fingerprint {store.fingerprint}")
    quarantined = store.metadata.get("quarantined") or {}
    if quarantined:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in quarantined.items())
        say(f"quarantined: {reasons}; see {store.path}/quarantine.jsonl")


app.command()(cli_mine.plan)
app.command()(cli_mine.mine)
app.command()(cli_mine.merge)
app.command()(cli_mine.update)


@app.command()
def reshard(
    data: Annotated[str, typer.Argument(help="The tar shards that were mined.")],
    pairs: Annotated[Path, typer.Option(help="Their table of hard pairs.")],
    out: Annotated[Path, typer.Option(help="The directory to write.")],
    store: Annotated[Path | None, typer.Option(help="Their store, to renumber it too.")] = None,
    shard_size: Annotated[str | None, typer.Option(help='Most bytes a shard; else "1GB".')] = None,
    samples_per_shard: Annotated[int | None, typer.Option(help="Or most samples.")] = None,
    rank_max: Annotated[int | None, typer.Option(help="Only the best so many pairs count.")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write the shards anew with hard pairs beside their targets, and the table renumbered."""
    import helip
    from helip.cli.showing import show_resharded

    try:
        result = helip.reshard(
            data, pairs, out=out, store=store, shard_size=shard_size, rank_max=rank_max,
            samples_per_shard=samples_per_shard, seed=seed, progress=not quiet,
        )  # fmt: skip
    except KeyboardInterrupt:
        say("helip: stopped; nothing was written, and the same command begins again")
        raise typer.Exit(1) from None
    show_resharded(result, as_json)


app.command()(cli_train.train)


@app.command(name="eval")
def evaluate(
    data: Annotated[list[str], typer.Argument(help="Held-out data, [NAME=]PATH each.")],
    model: Annotated[list[str], typer.Option(help="[NAME=]open_clip name, config or saved model.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Weights to load, of one model.")] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="retrieval, zero_shot, linear_probe, composition.")
    ] = None,
    classes: Annotated[Path | None, typer.Option(help="Text file, a class name a line.")] = None,
    template: Annotated[
        list[str] | None, typer.Option(help='"a photo of a {}.", or openai_imagenet_template.')
    ] = None,
    split: Annotated[str, typer.Option(help="Of data in CLIP_benchmark's layout.")] = "test",
    pictures: Annotated[Path | None, typer.Option(help="Folder of a compositional set.")] = None,
    train: Annotated[str | None, typer.Option(help="What a linear probe is fitted to.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Model to compare with.")] = None,
    guard: Annotated[
        bool, typer.Option("--guard", help="Have models start, control and a third: forgotten?")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1)] = 256,
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    device: Device = "auto",
    workers: Annotated[int, typer.Option(min=0)] = 0,
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples of an interval.")] = 1000,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="FILE.json for one result, else a folder of them.")
    ] = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out what is in --out.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure models on data sets, with 95 % intervals and paired differences."""
    from helip.cli import evaluation as cli_eval

    cli_eval.evaluate(
        data, model, checkpoint=checkpoint, tasks=task or None, classes=classes,
        templates=template or None, split=split, pictures=pictures, train=train, out=out,
        skip_existing=skip_existing, baseline=baseline, guard=guard,
        form="json" if as_json else "markdown" if markdown else "text",
        options={
            "batch_size": batch_size, "precision": precision, "device": device,
            "workers": workers, "bootstrap": bootstrap, "seed": seed, "progress": not quiet,
        },
    )  # fmt: skip


app.command()(cli_models.interpolate)
app.command()(cli_models.export)


@app.command()
def report(
    pairs: Annotated[Path, typer.Argument(help="Table of hard pairs.")],
    data: Annotated[str, typer.Option(help="The data set that was mined.")],
    out: Annotated[Path, typer.Option(help="The page to write.")],
    store: Annotated[Path | None, typer.Option(help="Its store: similarities, baselines.")] = None,
    metrics: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE.json or a folder, from helip eval --out.")
    ] = None,
    guard: Annotated[
        list[str] | None, typer.Option(help="General data set of that folder: forgotten?")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Targets to show.")] = 12,
    hard: Annotated[int, typer.Option(min=1, help="Hard pairs a target.")] = 6,
    seed: Seed = 0,
    title: str = "Hard pairs",
) -> None:
    """Write one HTML page: targets and their hard pairs, statistics, before and after."""
    import helip
    from helip.cli.evaluation import metrics_of

    shown, guarded = metrics_of(metrics or [], guard or [])
    page = helip.report(
        helip.HardPairs.open(pairs), helip.open_dataset(data), out,
        store=None if store is None else helip.EmbeddingStore.open(store),
        metrics=shown, guard=guarded, rows=rows, hard=hard, seed=seed, title=title,
    )  # fmt: skip
    say(f"wrote {page}")


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A store, an index, a table or a part of one.")],
    as_json: AsJson = False,
) -> None:
    """Show what a store, an index of shards or a table of hard pairs holds."""
    import helip

    if _format_of(path) == "helip.sample_index":
        show_index(helip.SampleIndex.open(path, check=False), as_json)
        return
    if (table := _table_at(path)) is not None:
        show_pairs(table, str(path), as_json)
        return
    store = helip.EmbeddingStore.open(path)
    facts: dict[str, Any] = {
        "path": store.path,
        "rows": len(store),
        "image_dim": store._core.image.shape[1],
        "text_dim": store._core.text.shape[1],
        "dtype": store.dtype,
        "deleted": len(store.deleted),
        "generation": store.generation,
        "fingerprint": store.fingerprint,
        "keys_fingerprint": store.keys_fingerprint,
        "metadata": store.metadata,
    }
    if as_json:
        print_json(facts)
        return
    metadata = facts.pop("metadata")
    facts.update({f"metadata.{name}": value for name, value in metadata.items()})
    show_table([(name, figure(value)) for name, value in facts.items()])


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="A store, an index, a table or a part.")],
    contents: Annotated[
        bool, typer.Option("--contents", help="An index: also every byte of its shards.")
    ] = False,
) -> None:
    """Read every byte and compare checksums; of an index, also the headers of its shards."""
    import helip

    if _format_of(path) == "helip.sample_index":
        helip.SampleIndex.open(path).verify(contents=contents, progress=True)
    elif contents:
        raise InvalidArgumentError(f"--contents is for an index of shards, and {path} is none")
    elif (table := _table_at(path)) is not None:
        table.verify()
    else:
        helip.EmbeddingStore.open(path).verify(progress=True)
    say(f"{path} is whole")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, models and the report.")] = Path(
        "demo-out"
    ),
    seed: Seed = 0,
    threads: Threads = 0,
    quiet: Quiet = False,
) -> None:
    """Run the whole way on 3,953 captioned OpenMoji pictures; about ten minutes on two cores."""
    from helip.demo import demonstration

    summary = demonstration.run(
        out, seed=seed, threads=threads or None, progress=not quiet, say=say
    )
    typer.echo(demonstration.format_summary(summary))


def _format_of(path: Path) -> str:
    """The format that the manifest at ``path`` names; empty when there is none to read."""
    try:
        return json.loads((path / "manifest.json").read_text(encoding="utf-8")).get("format", "")
    except (OSError, ValueError, AttributeError):
        return ""


def _table_at(path: Path) -> Any:
    """The table or the part of one at ``path``; None when there is neither."""
    import helip

    openers: dict[str, Callable[[Path], Any]] = {
        "helip.hard_pairs": helip.HardPairs.open,
        "helip.hard_pairs_part": helip.HardPairsPart.open,
    }
    opener = openers.get(_format_of(path))
    return None if opener is None else opener(path)


def main() -> None:
    """Entry point: turns helip's errors into one line and an exit code."""
    from helip.common.progress import plain_lines

    plain_lines()
    # What Ctrl-C does: a job stops at once and tidily, and says how to go on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(standalone_mode=True)
    except InvalidArgumentError as error:
        say(f"helip: {error}")
        sys.exit(2)
    except Error as error:
        say(f"helip: {error}")
        sys.exit(1)
    except SystemExit as ended:
        if ended.code != _INTERRUPTED:
            raise
        say("helip: interrupted; what was committed stays, the same command goes on from there")
        sys.exit(1)
