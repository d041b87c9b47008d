"""Commands on a table of hard pairs: what is false or odd in it, and whether it will help."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

from helip.cli.command import Done, command, text
from helip.cli.commands.data import open_data, opening_of
from helip.cli.commands.mining import use_of
from helip.cli.showing import filtered_rows, label_rows, planned_rows
from helip.cli.wording import line_of
from helip.common.errors import InvalidArgumentError
from helip.common.options import ThreadOptions, hints_of
from helip.common.remote.urls import shown
from helip.curation.options import CurateOptions
from helip.data.options import OpenOptions
from helip.diagnosis.options import DiagnoseOptions
from helip.encoders.options import EmbedOptions
from helip.loading.options import PlanOptions
from helip.pairs.options import FilterOptions, SoftLabelOptions


@command(FilterOptions, OpenOptions, name="filter", usual=tuple(hints_of(FilterOptions)))
def filter_pairs(
    pairs: Annotated[Path, text("A table of hard pairs.")],
    /,
    *,
    out: Annotated[Path, text("The table to write.")],
    by: Annotated[Path | None, text("A store of the same rows by one model, such as CLIP.")] = None,
    verdicts: Annotated[Path | None, text("A file of what people said of the pairs.")] = None,
    learnt_veto: Annotated[Path | None, text("What helip verdicts learn wrote.")] = None,
    store: Annotated[Path | None, text("learnt_veto: the store that was mined.")] = None,
    data: Annotated[str | None, text("learnt_veto: the data, where it knows captions.")] = None,
    **options: Any,
) -> Done:
    """Drop, downweight or count false negatives, by rules and by another model; mines nothing."""
    from helip.pairs.hard_pairs import HardPairs

    dataset, options = open_data(data, options)
    table = HardPairs.open(pairs, store=store)
    table = table if dataset is None else table.with_data(dataset)
    veto = None
    if learnt_veto is not None:
        from helip_view import LearntVeto

        veto = LearntVeto.open(learnt_veto)
    table = table.filter(by=by, verdicts=verdicts, learnt_veto=veto, out=out, **options)
    step, asked = table.report["filter"][-1], table.options["filter"][-1]
    return Done(
        out, use_of(out, pairs, table), facts={"path": shown(out), "options": asked, **step},
        rows=filtered_rows(step, asked["action"]),
    )  # fmt: skip


def _refuse_weights_alone(model: str | None, checkpoint: str | None) -> None:
    if checkpoint is not None and model is None:
        raise InvalidArgumentError(
            f"--checkpoint {checkpoint} is the weights of a model, and there is none; give --model"
        )


_BATCHES_USUAL = (
    "batch_size", "epochs", "seed", "world_size", "strategy", "hard_per_target", "rank_min",
    "rank_max", "fraction", "short", "unique", "community_rows", "limit", "subset", "split",
)  # fmt: skip


@command(PlanOptions, OpenOptions, usual=_BATCHES_USUAL)
def batches(
    pairs: Annotated[Path, text("Table of hard pairs.")],
    /,
    *,
    out: Annotated[Path, text("The folder to write: a plan for any trainer.")],
    data: Annotated[str | None, text("The data set that was mined; for --unique.")] = None,
    soft_labels: Annotated[Path | None, text("What helip label wrote.")] = None,
    parquet: Annotated[bool, text("Write each epoch as Parquet as well.")] = False,
    **options: Any,
) -> Done:
    """Plan the batches of whole epochs as files, for trainers that are not helip's."""
    from helip.loading.batch_plan import arrow, plan_batches

    if parquet:
        arrow()  # before the plan, which is then there
    dataset, options = open_data(data, options)
    plan = plan_batches(pairs, out=out, data=dataset, soft_labels=soft_labels, **options)
    if parquet:
        for epoch in range(plan.epochs):
            plan.to_parquet(out / f"epoch-{epoch:05}.parquet", epoch)
    return Done(out, line_of("inspect", path=out), facts=plan.to_dict(), rows=planned_rows(plan))


@command(SoftLabelOptions)
def label(
    pairs: Annotated[Path, text("Table of hard pairs.")],
    /,
    *,
    out: Annotated[Path, text("The folder to write: soft labels.")],
    teacher: Annotated[
        Path | None, text("A store of the same rows by both towers of one model.")
    ] = None,
    weights: Annotated[
        Path | None, text(".npy [rows, k], or .parquet of target, hard, weight.")
    ] = None,
    verdicts: Annotated[Path | None, text("A file of what people said of the pairs.")] = None,
    **options: Any,
) -> Done:
    """Weigh how right each hard pair is for its target: soft labels for the loss."""
    from helip.pairs.soft_labels import label_pairs

    found = label_pairs(
        pairs, out=out, teacher=teacher, weights=weights, verdicts=verdicts, **options
    )
    following = line_of(
        "train", data="DATA", model="MODEL", pairs=pairs, soft_labels=out, out="RUN"
    )
    return Done(out, following, facts=found.to_dict(), rows=label_rows(found))


_DIAGNOSE_USUAL = (
    "batch_size", "window", "probe", "targets", "encoded_rows", "seed", "device", "precision",
    "workers",
    "threads", "image_column", "caption_column", "key_column", "limit", "subset", "split",
)  # fmt: skip


@command(DiagnoseOptions, OpenOptions, ThreadOptions, usual=_DIAGNOSE_USUAL)
def diagnose(
    pairs: Annotated[Path, text("Table of hard pairs.")],
    /,
    *,
    data: Annotated[str, text("The data set that was mined.")],
    model: Annotated[str | None, text("What shall be trained: name, config or folder.")] = None,
    checkpoint: Annotated[str | None, text("Its weights, where --model is a name.")] = None,
    store: Annotated[
        Path | None, text("The store that was mined: near duplicates, --probe.")
    ] = None,
    **options: Any,
) -> Done:
    """Tell before training whether hard pairs will help a model on its data."""
    _refuse_weights_alone(model, checkpoint)
    from helip.diagnosis.diagnosing import diagnose
    from helip.evaluation.model_source import ModelSource
    from helip.pairs.hard_pairs import HardPairs

    table = HardPairs.open(pairs)
    bundle = None if model is None else ModelSource(model, checkpoint).load()
    opening = opening_of(options)
    dataset, options = open_data(data, options)
    found = diagnose(table, dataset, bundle, store=store, **options)
    trained: dict[str, Any] = {
        "model": model or "MODEL", "checkpoint": checkpoint, "out": "RUN",
    }  # fmt: skip
    trained |= {each.option: each.value for each in found.suggestions}
    if "similar_captions" in trained:
        trained["store"] = store
    if found.gain is None and store is not None:
        asked = {"pairs": pairs, "data": data, "store": store, "probe": True, **opening}
        proceed = line_of("diagnose", batch_size=found.batch_size, **asked)
    else:
        proceed = line_of("train", data=data, pairs=pairs, **trained, **opening)
    return Done(next=proceed, facts=found.to_dict(), text=str(found))


_CURATE_USUAL = (*hints_of(CurateOptions), "limit", "subset", "split")


@command(CurateOptions, OpenOptions, usual=_CURATE_USUAL)
def curate(
    pairs: Annotated[Path, text("Table of hard pairs.")],
    /,
    *,
    data: Annotated[str, text("The data set that was mined.")],
    out: Annotated[Path, text("The folder to write: a keep list and a page.")],
    store: Annotated[Path | None, text("The store that was mined; must be given.")] = None,
    model: Annotated[str | None, text("A CLIP model, or a store of the data by one.")] = None,
    checkpoint: Annotated[str | None, text("Its weights, where --model is a name.")] = None,
    **options: Any,
) -> Done:
    """List equal pictures, near duplicates, wrong captions and others; say which rows to keep."""
    _refuse_weights_alone(model, checkpoint)
    from helip.curation.curating import curate
    from helip.evaluation.model_features import is_store
    from helip.evaluation.model_source import ModelSource
    from helip.store.embedding_store import EmbeddingStore

    given: Any = model
    if model is not None and not is_store(model):
        given = ModelSource(model, checkpoint).load()
    # The list names the rows that were opened, and is no list of the whole data set then.
    in_part = any(options[name] is not None for name in ("subset", "limit", "split"))
    opening = opening_of(options)
    dataset, options = open_data(data, options)
    found = curate(pairs, dataset, store=store, model=given, out=out, **options)
    facts = found.to_dict()
    shows: dict[str, Any] = {"facts": {"path": str(out), **facts}, "rows": _curated_rows(facts)}
    if store is None or in_part:
        return Done(out, **shows)
    counts = found.counts()
    removed = math.ceil(100 * counts["dropped"] / max(counts["rows"], 1)) / 100
    more = {"max_removed": max(removed, EmbedOptions().max_removed)}
    opening |= {"subset": out / "keep.csv", "dtype": EmbeddingStore.open(store).dtype}
    proceed = line_of("embed", data=data, update=True, out=store, **opening, **more)
    return Done(out, proceed, **shows)


def _curated_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What was found, in two columns."""
    share = 100 / max(found["rows"], 1)
    rows = [
        ("rows", f"{found['rows']:,}"),
        ("kept", f"{found['kept']:,} ({share * found['kept']:.1f} %)"),
        ("dropped", f"{found['dropped']:,}, each under its first reason"),
        *((f"  {_spaced(name)}", f"{n:,}") for name, n in found["dropped_by"].items()),
        ("flagged", "also for other reasons"),
        *(
            (f"  {_spaced(name)}", f"{n:,}{'' if name in found['drop'] else ', listed alone'}")
            for name, n in found["flagged"].items()
        ),
        ("groups of near duplicates", f"{found['duplicate_groups']:,}"),
    ]
    rate = found["noise_rate"]
    rows.append(
        ("wrong captions", "not estimated: it takes 100 rows" if rate is None
         else f"about {100 * rate:.0f} % of the data, estimated")
    )  # fmt: skip
    if (tried := found["mismatched_expected"]) is not None:
        right = "none" if tried["precision"] is None else f"{100 * tried['precision']:.0f} %"
        rows.append(
            ("  tried out", f"of {tried['exchanged']:,} captions that were exchanged "
             f"{100 * tried['recall']:.0f} % were flagged; {right} of what was flagged were such")
        )  # fmt: skip
    if found["unread_pictures"]:
        rows.append(("unread pictures", f"{found['unread_pictures']:,}, not compared by pixels"))
    if found["full_groups"]:
        rows.append(
            (
                "rows of full groups",
                f"{found['full_groups']:,}, some of whose near duplicates may be missed",
            )
        )
    return rows


def _spaced(name: str) -> str:
    return name.replace("_", " ")
