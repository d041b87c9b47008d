"""Commands on data: an index of tar shards, embeddings, and shards written anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from helip.cli.command import Done, command, several, text
from helip.cli.messages import say
from helip.cli.resuming import saying_what_is_kept
from helip.cli.showing import index_shown, packed_rows, resharded_rows
from helip.cli.wording import line_of
from helip.common.errors import InvalidArgumentError
from helip.common.options import ThreadOptions, Whole
from helip.common.remote.urls import url_of
from helip.data.options import OpenOptions, PackOptions
from helip.encoders.options import EmbedOptions
from helip.pairs.options import ReshardOptions
from helip.store.options import ImportOptions

_EMBED_USUAL = (
    "preset", "image_encoder", "text_encoder", "engine", "precision", "batch_size", "workers",
    "dtype", "device", "threads",
    "max_quarantined", "launcher", "image_column", "caption_column", "key_column", "limit",
    "subset", "split",
)  # fmt: skip
# Of opening, what holds for the samples of new shards as well.
_OF_SAMPLES = ("image_column", "caption_column", "max_pixels", "max_seconds")
_PACK_USUAL = ("size", "shard_size", "threads", "root", "limit", "subset", "split")
_RESHARD_USUAL = (
    "shard_size", "rank_max", "seed", "image_column", "root", "limit",
    "subset", "split",
)  # fmt: skip


@command()
def index(
    *shards: Annotated[str, text("Tar shards: paths or patterns.")],
    out: Annotated[Path, text("The index to write, or to bring up to date.")],
    image_extension: Annotated[str | None, text("Of images, such as seg.png.")] = None,
    contents: Annotated[bool, text("Read every byte, so that verify can compare.")] = False,
    skip_damaged: Annotated[bool, text("Leave out truncated and damaged shards.")] = False,
    threads: Annotated[Whole | None, text("By default for idle cores; 0: all.")] = None,
    quiet: bool = False,
) -> Done:
    """Index tar shards, so that they open at once; only new and changed ones are read again."""
    from helip.data.sample_index import SampleIndex

    built = SampleIndex.build(
        list(shards) if len(shards) > 1 else shards[0], out=out, image_extension=image_extension,
        contents=contents, threads=threads, skip_damaged=skip_damaged, progress=not quiet,
    )  # fmt: skip
    for reason in built.left_out.values():
        say(f"left out: {reason}")
    proceed = line_of("embed", data=out, out="STORE", preset="paper")
    return Done(out, proceed, **index_shown(built, built.scanned))


@command(EmbedOptions, OpenOptions, ThreadOptions, usual=_EMBED_USUAL)
def embed(
    data: Annotated[str, text("Tar shards, their index, CSV, Parquet, folder.")],
    /,
    *,
    out: Annotated[Path, text("The store to write.")],
    part: Annotated[str | None, text("i/n: embed that part alone, beside --out.")] = None,
    **options: Any,
) -> Done:
    """Embed every image and caption; the same call goes on after an interruption."""
    from helip.common.parts import parse_part
    from helip.common.processes import launched_processes, launched_rank
    from helip.encoders.embedding import embed

    dataset, options = open_data(data, options)
    before = _rows_of(out) if options["update"] else None
    if launched_rank() <= 0:
        say_joined_and_ignored(data, dataset)
        _say_what_is_looked_for(options, of_store=before is not None)
    if launched_processes() > 1 and options["launcher"] == "local" and part is None:
        options["launcher"] = "torchrun"
    with saying_what_is_kept(out):
        store = embed(dataset, out=out, part=None if part is None else parse_part(part), **options)
    if launched_rank() > 0 and options["launcher"] == "torchrun":
        return Done()
    place = store.path
    quarantined = store.metadata.get("quarantined") or {}
    engines = {side: store.metadata.get(f"{side}_engine") for side in ("image", "text")}
    grown = "" if before is None else f" ({before:,} before)"
    said = [f"{place}: {len(store):,} rows{grown}, fingerprint {store.fingerprint}"]
    for side, what in (("image", "pictures"), ("text", "captions")):
        if facts := engines[side]:
            said.append(f"{what} by {_engine(facts)}")
    if quarantined:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in quarantined.items())
        said.append(f"quarantined: {reasons}; see {place}/quarantine.jsonl")
    if before is not None:
        told = line_of("update", pairs="PAIRS", store=place)
        said.append(f"bring its tables up to date: {told}")
    written = out if url_of(out) is not None else Path(place)
    proceed: str | None = line_of("mine", store=written, out="PAIRS")
    if part is not None and written != out:
        told = "the same command without --part puts all parts together"
        said.append(f"part {part} of {out}; {told}")
        proceed = None
    facts = {"rows_before": before, "quarantined": quarantined, "engines": engines}
    return Done(written, proceed, facts={**_facts_of(store), **facts}, said=said)


def _facts_of(store: Any) -> dict[str, Any]:
    """What a program wants to know of a store that was written."""
    return {
        "path": str(store.path),
        "rows": len(store),
        "image_dim": store.image_dim,
        "text_dim": store.text_dim,
        "dtype": store.dtype,
        "fingerprint": store.fingerprint,
    }


def _engine(facts: dict[str, Any]) -> str:
    """An engine in words, with what was measured of its precision."""
    said = [f"{facts['engine']} in {facts['precision']}"]
    if "lowest_cosine" in facts:
        said.append(f"lowest cosine to float32 {facts['lowest_cosine']:.5f}")
        said[-1] += f" of {facts['samples']:,} samples"
    if facts.get("recall@50") is not None:
        said.append(f"{facts['recall@50']:.1%} of the 50 hardest pairs among them found again")
    if "why" in facts:
        said.append(facts["why"])
    return "; ".join(said)


def _rows_of(path: Path) -> int | None:
    """The rows of a store; None where there is none."""
    from helip.store.embedding_store import EmbeddingStore

    return len(EmbeddingStore.open(path)) if (path / "manifest.json").exists() else None


@command(ReshardOptions, OpenOptions, usual=_RESHARD_USUAL)
def reshard(
    data: Annotated[str, text("The tar shards that were mined.")],
    /,
    *,
    pairs: Annotated[Path, text("Their table of hard pairs.")],
    out: Annotated[Path, text("The directory to write.")],
    store: Annotated[Path | None, text("Their store, to renumber it too.")] = None,
    **options: Any,
) -> Done:
    """Write the shards anew with hard pairs beside their targets, and the table renumbered."""
    from helip.pairs.resharding import reshard

    opening = {name: options[name] for name in _OF_SAMPLES}
    dataset, options = open_data(data, options)
    result = reshard(dataset, pairs, out=out, store=store, **options)
    new = {"data": result.path, "pairs": result.pairs, "model": "MODEL", "out": "RUN"}
    proceed = line_of("train", **new, **opening)
    return Done(out, proceed, facts=result.to_dict(), rows=resharded_rows(result))


@command(PackOptions, OpenOptions, ThreadOptions, usual=_PACK_USUAL)
def pack(
    data: Annotated[str, text("Tar shards, or their index.")],
    /,
    *,
    out: Annotated[Path, text("The directory to write.")],
    **options: Any,
) -> Done:
    """Write the shards anew with pictures decoded and resized, for runs of many epochs."""
    from helip.data.packing import pack

    opening = {name: options[name] for name in _OF_SAMPLES}
    dataset, options = open_data(data, options)
    result = pack(dataset, out=out, **options)
    proceed = line_of("train", data=result.path, pairs="PAIRS", model="MODEL", out="RUN", **opening)
    return Done(out, proceed, facts=result.to_dict(), rows=packed_rows(result))


def opening_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a command's options that say how data are opened, for the line of another."""
    return {name: options[name] for name in OpenOptions().as_dict()}


def open_data(source: str | None, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The data set, None where no source is given, and those of the options that are not about
    opening it.

    What ``--limit`` and ``--subset`` leave out is said, by one process of several.
    """
    from helip.common.processes import launched_rank
    from helip.data.opening import open_dataset

    opening = opening_of(options)
    rest = {name: value for name, value in options.items() if name not in opening}
    if source is None:
        OpenOptions(**opening).refuse(opening, "a call without --data")
        return None, rest
    leads = launched_rank() <= 0
    dataset = open_dataset(source, progress=options["progress"] and leads, **opening)
    if leads:
        say_left_out(source, dataset)
    return dataset, rest


def say_left_out(name: str, dataset: Any) -> None:
    """A line of how many rows of a data set options left out, where they did."""
    from helip.data.dataset import Dataset

    counts = dataset.counts() if isinstance(dataset, Dataset) else {}
    names = [each for each in ("subset", "limit") if f"left_out_{each}" in counts]
    left_out = {each: counts[f"left_out_{each}"] for each in names}
    if left_out:
        rows = counts["source_rows"]
        why = _reasons_words(counts)
        words = ", ".join(
            f"{count:,} by --{each}{why if each == 'subset' else ''}"
            for each, count in left_out.items()
        )
        say(f"{name}: {rows - sum(left_out.values()):,} of {rows:,} rows; left out {words}")


def _say_what_is_looked_for(options: Mapping[str, Any], *, of_store: bool) -> None:
    """A line before encoders are looked for at the hub, which may take a silent minute.

    ``of_store``: those that are not named are the store's, which have been here.
    """
    from helip.encoders.registry import PRESETS

    given = options["image_encoder"], options["text_encoder"]
    known = of_store and options["preset"] is None
    usual = (None, None) if known else PRESETS[options["preset"] or "paper"]
    names = [name or other for name, other in zip(given, usual, strict=True)]
    if away := [name for name in names if name and not name.startswith("packaged:")]:
        say(f"looking for {' and '.join(away)}, here and at the Hugging Face hub")


def say_joined_and_ignored(name: str, dataset: Any) -> None:
    """Lines of what became no row of its own when a data set was opened, where something did."""
    from helip.data.dataset import Subset

    source = dataset
    while isinstance(source, Subset):
        source = source._parent
    counts: Mapping[str, int] = source.counts()
    lines, rows = counts.get("joined_lines", 0), counts.get("joined_rows", 0)
    joined = [
        f"{lines:,} belong to the line before, by a quoted field that goes over several lines",
        f"{rows:,} name the picture of another row, which has their captions",
    ]
    if told := [words for words, count in zip(joined, (lines, rows), strict=True) if count]:
        what, of = ("lines", lines) if lines else ("rows of the table", 0)
        total = counts["rows"] + rows + of
        say(f"{name}: {total:,} {what} became {counts['rows']:,} rows: {'; '.join(told)}")
    start = "ignored_"
    kinds = {n.removeprefix(start): count for n, count in counts.items() if n.startswith(start)}
    if kinds:
        files = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
        some = f", such as {', '.join(source.ignored_files)}" if source.ignored_files else ""
        say(f"{name}: ignored files: {files}{some}")


def _reasons_words(counts: Mapping[str, int]) -> str:
    """In parentheses why a keep list leaves rows out; nothing where none did."""
    start = "left_out_subset_"
    reasons = [
        f"{count:,} {name.removeprefix(start).replace('_', ' ')}"
        for name, count in counts.items()
        if name.startswith(start)
    ]
    return f" ({', '.join(reasons)})" if reasons else ""


def named_paths(option: str, arguments: Sequence[str]) -> dict[str, str]:
    """NAME=PATH, or a path that is its own name."""
    named: dict[str, str] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or "/" in name:
            name, path = argument.rstrip("/"), argument
        if not name or not path:
            raise InvalidArgumentError(f"{option} {argument!r} must be a path, or NAME=PATH")
        if name in named:
            raise InvalidArgumentError(
                f"{option} {name!r} is given twice; give each its own name, as NAME=PATH"
            )
        named[name] = path
    return named


@command(ImportOptions, name="import")
def import_embeddings(
    source: Annotated[
        str | None,
        text(
            "A folder of clip-retrieval or DataComp; .parquet, .npz, .lance. Patterns are read in "
            "the order of their numbers."
        ),
    ] = None,
    /,
    *,
    out: Annotated[Path, text("The store to write; the same call goes on with it.")],
    image: Annotated[
        list[str] | None, several(".npy files of image embeddings, or a pattern.")
    ] = None,
    text: Annotated[list[str] | None, several("Those of text embeddings.")] = None,
    matrices: Annotated[
        list[str] | None, several("NAME=FILES of another matrix, such as audio=audio.npy.")
    ] = None,
    metadata: Annotated[
        list[str] | None, several("Parquet with keys and captions of .npy files: one, or one each.")
    ] = None,
    **options: Any,
) -> Done:
    """Take embeddings that another tool computed into a store, in their order."""
    from helip.store.embedding_store import EmbeddingStore

    named: dict[str, list[str]] = {}
    for each in matrices or ():
        name, found, files = each.partition("=")
        if not (name and found and files):
            raise InvalidArgumentError(f"--matrices {each} must be NAME=FILES, as audio=audio.npy")
        named.setdefault(name, []).append(files)
    with saying_what_is_kept(out):
        store = EmbeddingStore.import_from(
            source, image=image, text=text, matrices=named or None, metadata=metadata,
            out=out, **options,
        )  # fmt: skip
    sides = f"{store.image_dim} + {store.text_dim} {store.dtype}"
    words = f"{store.path}: {len(store):,} rows of {sides}, fingerprint {store.fingerprint}"
    proceed = line_of("mine", store=out, out="PAIRS")
    return Done(out, proceed, facts=_facts_of(store), said=[words])
