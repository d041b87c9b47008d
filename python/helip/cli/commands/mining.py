"""Commands of mining: its plan, a table, parts of one, and a table that follows its store."""

from __future__ import annotations

import warnings
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from helip.cli.command import Done, command, flag, text
from helip.cli.messages import say
from helip.cli.resuming import saying_how_to_continue
from helip.cli.showing import cost_words, filter_rows, memory_words, pairs_shown
from helip.cli.wording import line_of
from helip.common.errors import Error, InvalidArgumentError
from helip.common.machine import PeakMemory
from helip.common.options import Share
from helip.common.quantities import bytes_words, duration_words
from helip.common.remote.urls import shown, url_of
from helip.mining.options import (
    ClusterOptions,
    CodesOptions,
    EngineOptions,
    HostOptions,
    JobOptions,
    KeepOptions,
    MachineOptions,
    MineOptions,
    PartsOptions,
    StageOptions,
)

Store = Annotated[Path | None, text("An EmbeddingStore, or its URL.")]
Cache = Annotated[Path | None, text("Of a URL: where the store is kept.")]
_NO_UPDATES = "none: helip update needs a table mined with --method exact or partition"
Image = Annotated[Path | None, text("No store: image embeddings, a matrix in .npy; begins again.")]
Text = Annotated[Path | None, text("Those of texts, likewise; row i of both is a pair.")]
Table = Annotated[Path, text("The table to write.")]


_PLAN = (MineOptions, ClusterOptions, EngineOptions, PartsOptions, MachineOptions)

_RARE = (
    "candidates", "refresh", "keep_stages", "signed", "codes", "keep_codes",
    "channels", "score", "weights", "maxima",
)  # fmt: skip


@command(*_PLAN, usual={field.name for group in _PLAN for field in fields(group)} - {*_RARE})
def plan(
    store: Store = None,
    /,
    *,
    image: Image = None,
    text: Text = None,
    cache: Cache = None,
    **options: Any,
) -> Done:
    """Say what mining would cost; of training, helip train --plan does."""
    # Of a store at a URL a plan in stages reads the manifest alone.
    from helip.mining.engines.stages import asks_for_stages
    from helip.mining.planning import plan

    asked = asks_for_stages(options["method"], options["cluster_rows"], options["engine"])
    progress = options.pop("progress")
    source = _source(store, image, text, options["modality"])
    source = _opened(source, cache, progress, download=not asked)

    def planned(**others: Any) -> dict[str, Any]:
        return plan(**source, **{**options, **others}).to_dict()

    result = planned()
    methods = ("exact", "partition", "sample", *(() if options["channels"] else ("hnsw",)))
    others = [m for m in methods if m != result["method"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the first plan has told them
        alternatives = [
            planned(method=other, candidates=None, parts=None, device="cpu")
            for other in (others if options["method"] == "auto" else [])
        ]
    proceed = None if store is None else line_of("mine", store=store, out="PAIRS", **options)
    stages, download = result["stages"], result["download_bytes"]
    rows = [
        ("method", f"{result['method']} ({result['reason']})"),
        ("device", result["device"]),
        *([] if (time := result["seconds"]) is None else [("time", duration_words(time))]),
        ("memory", memory_words(result["memory_bytes"], result["mapped_bytes"], bool(stages))),
        ("disk", bytes_words(result["disk_bytes"])),
        ("scratch", f"{bytes_words(result['scratch_bytes'])} on disk while it runs"),
        *([("download", f"{bytes_words(download)} of the store")] if download else []),
        *([("units", ", ".join(f"{n:,} {name}" for name, n in stages.items()))] * bool(stages)),
        ("pairs", f"{result['pairs']:,}"),
        *(
            [("parts", f"{parts:,}, one after another")]
            if (parts := result["parts"] or 1) > 1
            else []
        ),
        *([] if result["method"] in ("exact", "partition") else [("updates", _NO_UPDATES)]),
        *filter_rows(result["filters"] if result["method"] != "hnsw" else {}),
        *((f"or {other['method']}", cost_words(other)) for other in alternatives),
    ]
    return Done(next=proceed, facts={**result, "alternatives": alternatives}, rows=rows)


def _source(
    store: Path | None, image: Path | None, text: Path | None, modality: str
) -> dict[str, Any]:
    """The keywords that name what is mined: a store, or matrices mapped from files."""
    files = {"image": image, "text": text}
    given = {name: path for name, path in files.items() if path is not None}
    wanted = [name for name in files if modality in ("both", name)]
    if store is not None and given:
        raise InvalidArgumentError(
            f"STORE is {store}, and --{next(iter(given))} is given as well; give a store, or "
            "--image and --text"
        )
    if store is not None:
        return {"store": store}
    if not given:
        raise InvalidArgumentError("there is nothing to mine; give a store, or --image and --text")
    if absent := [name for name in wanted if name not in given]:
        raise InvalidArgumentError(
            f"--{absent[0]} is missing, and --{next(iter(given))} is {next(iter(given.values()))}; "
            "give both, or --modality image or text for one alone"
        )
    from helip.store.npy_files import map_npy

    return {name: map_npy(given[name]) for name in wanted}


def _opened(
    source: dict[str, Any], cache: Path | None, progress: bool, *, download: bool = True
) -> dict[str, Any]:
    """The same keywords, with a store at a URL opened and, as a rule, brought to this machine."""
    if url_of(source.get("store")) is None:
        if cache is not None:
            raise InvalidArgumentError(
                f"--cache is {cache}, which is for a store at a URL; leave it out"
            )
        return source
    from helip.store.embedding_store import EmbeddingStore

    store = EmbeddingStore.open(source["store"], cache=cache)
    if download:
        store.download(progress=progress)
    return {"store": store}


_MINE = (MineOptions, StageOptions, JobOptions)


@command(*_MINE, usual={field.name for group in _MINE for field in fields(group)} - {*_RARE})
def mine(
    store: Store = None,
    /,
    *,
    out: Table,
    image: Image = None,
    text: Text = None,
    part: Annotated[str | None, text("i/n: mine that part alone, to --out.")] = None,
    csv: Annotated[Path | None, text("Also write target,h1,...,hk.")] = None,
    verdicts: Annotated[Path | None, text("What people said of pairs: none they took out.")] = None,
    cache: Cache = None,
    **options: Any,
) -> Done:
    """Mine the hard pairs of every target; of a store the same call goes on where it stopped."""
    from helip.common.parts import parse_part
    from helip.common.remote.outputs import scratch_of
    from helip.mining.miner import mine

    if part is not None and csv is not None:
        raise InvalidArgumentError(
            f"--csv {csv} is of a whole table, and --part {part} mines a part of it; drop --csv, "
            "and merge the parts first"
        )
    source = _source(store, image, text, options["modality"])
    source = _opened(source, cache, options["progress"])
    place = out if (url := url_of(out)) is None else scratch_of(url)
    keeps = "" if store is None else "--parts N or --checkpoint"
    number = None if part is None else parse_part(part)
    if "store" in source:
        import torch  # noqa: F401  # what mining loads itself, which is no memory of the job
    with saying_how_to_continue(place, part, keeps=keeps), PeakMemory() as memory:
        pairs = mine(**source, out=out, part=number, verdicts=verdicts, **options)
    if csv is not None:
        pairs.to_csv(csv)
    known = source.get("store") if part is None else None
    shows = pairs_shown(
        pairs if known is None else pairs.with_store(known), shown(out), _peak(memory, options)
    )
    if part is not None:
        return Done(out, line_of("merge", parts=["PARTS"], out="PAIRS"), **shows)
    failure = _remark_on(pairs, options)
    return Done(out, use_of(out, store, pairs) if failure is None else None, failure, **shows)


def use_of(place: Path, source: Path | None, table: Any = None) -> str:
    """What comes after the table at ``place``; ``source``: the store that it was made of, or
    another table. Of bare arrays no data is known, which its commands could be given."""
    from helip.cli.saved_options import data_of

    if table is not None and not table.fingerprint:
        return line_of("inspect", path=place, row=0)
    return line_of("diagnose", pairs=place, **data_of(source))


def _remark_on(pairs: Any, options: dict[str, Any]) -> Error | None:
    """Say where a table has less than was asked for; one without a hard pair is a failure."""
    rows, wanted = len(pairs), options["k"]
    if rows > 1 and not pairs.stats()["pairs"]:
        rules = ", ".join(
            f"--{name.replace('_', '-')} {options[name]:g}"
            for name in ("image_max", "text_max", "min_score")
        )
        return Error(
            f"the table was written, and no target has a hard pair: no pair is within {rules}; "
            "loosen them"
        )
    if wanted >= rows > 1:
        say(f"k is {wanted}, and a target has {rows - 1} others: columns from there on are empty")
    return None


@command(MineOptions, HostOptions, without=("margin", "candidates", "refresh", "method"))
def negatives(
    queries: Annotated[Path, text("A store, or a matrix in .npy.")],
    /,
    *,
    corpus: Annotated[Path, text("Where their hard negatives are: likewise, in the same space.")],
    out: Table,
    positives: Annotated[
        Path | None,
        text("Keys, query-id, corpus-id[, score] in .tsv, .csv or .parquet; or rows in .npy."),
    ] = None,
    method: Annotated[
        Literal["exact", "partition"], text("All rows, or clusters until --recall is reached.")
    ] = "exact",
    engine: Annotated[
        Literal["threads", "ray"], text("Of this process, or tasks of a Ray cluster: exact.")
    ] = "threads",
    relative_margin: Annotated[
        Share | None, text("None that score above (1 - it) times their least positive.")
    ] = None,
    part: Annotated[str | None, text("i/n: mine that part alone, to --out.")] = None,
    parts: Annotated[int | None, text("Commit the job in so many, in OUT.parts.")] = None,
    **options: Any,
) -> Done:
    """Mine hard negatives of queries in a corpus, without their positives and near duplicates."""
    from helip.common.parts import parse_part
    from helip.common.remote.outputs import scratch_of
    from helip.mining.miner import mine
    from helip.store.npy_files import map_npy

    place = out if (url := url_of(out)) is None else scratch_of(url)
    number = None if part is None else parse_part(part)
    sides = [map_npy(path) if path.suffix == ".npy" else path for path in (queries, corpus)]
    keeps = "--parts N" if all(isinstance(side, Path) for side in sides) else ""
    with saying_how_to_continue(place, part, keeps=keeps), PeakMemory() as memory:
        table = mine(
            queries=sides[0], corpus=sides[1], positives=positives, out=out, part=number,
            parts=parts, relative_margin=relative_margin, method=method, engine=engine, **options,
        )  # fmt: skip
    proceed = "inspect" if part is None else "merge"
    named = {"path": out} if part is None else {"parts": ["PARTS"], "out": "NEGATIVES"}
    shows = pairs_shown(table, shown(out), _peak(memory, {"engine": engine}))
    return Done(out, line_of(proceed, **named), **shows)


def _peak(memory: PeakMemory, options: dict[str, Any]) -> tuple[int, int] | None:
    """Bytes of its own and of mapped files; None where nobody tells, and where others mined."""
    if memory.own is None or memory.mapped is None or options["engine"] != "threads":
        return None
    return memory.own, memory.mapped


@command()
def merge(
    *parts: Annotated[Path, text("All parts of a job, in any order, or their folder; also URLs.")],
    out: Table,
    quiet: bool = False,
) -> Done:
    """Make the table of all parts that helip mine --part or helip negatives --part wrote."""
    from helip.mining.engines.parts import merge
    from helip.pairs.hard_negatives import HardNegatives

    table = merge(parts, out=out, progress=not quiet)
    proceed = None if isinstance(table, HardNegatives) else use_of(out, parts[0])
    return Done(out, proceed, **pairs_shown(table, shown(out)))


Stage = Literal[
    "centres", "certify", "route", "solve", "merge", "measure", "refine", "write"
]  # fmt: skip
_ONE_METHOD = ("method", "collapse", "candidates", "refresh")  # nothing that stages could choose


@command(MineOptions, StageOptions, HostOptions, without=_ONE_METHOD)
def stage(
    out: Table,
    /,
    *,
    store: Annotated[
        Path | None, text("Begin a job of it; with --stage: read it from here.")
    ] = None,
    update: Annotated[
        Path | None, text("With --store: begin to bring this table of partition up to date.")
    ] = None,
    stage: Annotated[Stage | None, text("Run units of this stage.")] = None,
    unit: Annotated[str, text("i/n: of its units the i-th and each n-th after it.")] = "1/1",
    next: Annotated[bool, flag("Print the next stage alone, write or done at the end.")] = False,
    **options: Any,
) -> Done:
    """Mine by clusters in stages, of units for any scheduler; alone it says what is missing.

    Begin with --store and what helip mine takes; the options of mining are those from then on.
    Stages come in the order of --stage; after measure come refine, route again, or write.
    """
    from helip.common.parts import parse_part
    from helip.mining.stages.scheduling import (
        begin_stages,
        begin_update_stages,
        run_slice,
        stage_status,
        write_staged,
    )
    from helip.pairs.hard_pairs import HardPairs
    from helip.store.embedding_store import EmbeddingStore

    given = None if store is None else EmbeddingStore.open(store)
    host = HostOptions(threads=options["threads"], memory=options["memory"])
    named = {name: options[name] for name in MineOptions().as_dict() if name in options}
    mined = MineOptions(method="partition", **named)
    spread = StageOptions(**{name: options[name] for name in StageOptions().as_dict()})
    keep = {"keep_stages": spread.keep_stages}
    begins = given is not None and stage is None and not next
    if update is not None and not begins:
        raise InvalidArgumentError(
            f"update is {update}, and no job begins here; give it with --store and without "
            "--stage, once, to begin one"
        )
    if (not begins or update is not None) and (mined, spread) != (
        MineOptions(method="partition"),
        StageOptions(**keep),
    ):
        raise InvalidArgumentError(
            "there are options of mining, and no job begins here; give them with --store and "
            "without --stage, once, to begin one"
            if update is None
            else "there are options of mining, and a table is updated with those that it was "
            "mined with; drop them"
        )
    if update is not None and given is not None:
        begin_update_stages(HardPairs.open(update), given, out, host.memory)
    elif begins and given is not None:
        begin_stages(given, mined, spread, out, host.memory)
    elif stage == "write":
        table = write_staged(out, keep=spread.keep_stages)
        return Done(next=use_of(out, store), **pairs_shown(table, str(out)))
    elif stage is not None:
        count = run_slice(out, stage, parse_part(unit, "unit"), host, given)
        say(f"stage {stage}: {count:,} of its units ran" if count else f"stage {stage} is done")
    status = stage_status(out)
    done = status["next"] == "done"
    proceed = use_of(out, store) if done else line_of("stage", out=out, stage=status["next"])
    if next:
        print(status["next"])
        return Done(next=proceed)
    rows = _stage_rows(status) if stage is None else []
    return Done(next=proceed, facts={"out": str(out), **status}, rows=rows)


def _stage_rows(status: dict[str, Any]) -> list[tuple[str, str]]:
    if status["next"] == "done":
        return [("next", "done: the table is there")]
    missing = status["missing"]
    first = ", ".join(map(str, missing[:8])) + (", …" if len(missing) > 8 else "")
    return [
        ("store", f"{status['store']}, {status['rows']:,} rows"),
        ("clusters", f"{status['clusters']:,}"),
        *((each["stage"], f"{each['units']:,} units done") for each in status["done"]),
        ("next", f"{status['next']}: {len(missing):,} of {status['units']:,} units ({first})"),
    ]


@command(HostOptions, EngineOptions, KeepOptions, CodesOptions)
def update(
    pairs: Annotated[Path, text("A table that was mined exactly or by partition.")],
    /,
    *,
    store: Annotated[Path, text("The store that was mined, as it is now.")],
    out: Annotated[Path | None, text("The table to write; else PAIRS.")] = None,
    **options: Any,
) -> Done:
    """Bring a table up to date with rows that were appended to its store, or deleted.

    One by partition is updated in stages, by --engine; the same call goes on where it was stopped.
    """
    from helip.mining.updating import update

    out = pairs if out is None else out
    table = update(pairs, store, out=out, **options).with_store(store)
    return Done(out, use_of(out, store), **pairs_shown(table, shown(out)))
