"""The command that finds what is doubled, mismatched or odd in a data set."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

from helip.cli.command import AsJson, Done, Quiet, command, text
from helip.cli.command_line import line_of
from helip.cli.commands.data import open_data, opening_of
from helip.cli.showing import print_json, show_table
from helip.common.errors import InvalidArgumentError
from helip.common.options import hints_of
from helip.curation.options import CurateOptions
from helip.data.options import OpenOptions
from helip.encoders.options import EmbedOptions

_USUAL = (*hints_of(CurateOptions), "limit", "subset", "split")


@command(CurateOptions, OpenOptions, usual=_USUAL)
def curate(
    pairs: Annotated[Path, text("Table of hard pairs.")],
    /,
    *,
    data: Annotated[str, text("The data set that was mined.")],
    out: Annotated[Path, text("The folder to write: keep lists and a page.")],
    store: Annotated[Path | None, text("The store that was mined; must be given.")] = None,
    model: Annotated[str | None, text("A CLIP model, or a store of the data by one.")] = None,
    checkpoint: Annotated[str | None, text("Its weights, where --model is a name.")] = None,
    json: AsJson = False,
    quiet: Quiet = False,
    **options: Any,
) -> Done:
    """List near duplicates, wrong captions, outliers and hubs, and which rows to keep."""
    if checkpoint is not None and model is None:
        raise InvalidArgumentError(
            f"--checkpoint {checkpoint} is the weights of a model, and there is none; give --model"
        )
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
    dataset, options = open_data(data, options, quiet)
    found = curate(pairs, dataset, store=store, model=given, out=out, progress=not quiet, **options)
    if json:
        print_json({"path": str(out), **found.to_dict()})
    else:
        show_table(_words(found.to_dict()))
    if store is None or in_part:
        return Done(out)
    counts = found.counts()
    removed = math.ceil(100 * counts["dropped"] / max(counts["rows"], 1)) / 100
    more = {"max_removed": max(removed, EmbedOptions().max_removed)}
    opening |= {"subset": out / "keep.csv", "dtype": EmbeddingStore.open(store).dtype}
    return Done(out, line_of("embed", data=data, update=True, out=store, **opening, **more))


def _words(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What was found, in two columns."""
    share = 100 / max(found["rows"], 1)
    rows = [
        ("rows", f"{found['rows']:,}"),
        ("kept", f"{found['kept']:,} ({share * found['kept']:.1f} %)"),
        ("dropped", f"{found['dropped']:,}, each under its first reason"),
        *((f"  {_plain(name)}", f"{n:,}") for name, n in found["dropped_by"].items()),
        ("flagged", "also for other reasons"),
        *(
            (f"  {_plain(name)}", f"{n:,}{'' if name in found['drop'] else ', listed alone'}")
            for name, n in found["flagged"].items()
        ),
        ("groups of near duplicates", f"{found['duplicate_groups']:,}"),
    ]
    rate = found["noise_rate"]
    rows.append(
        ("wrong captions", "not estimated: it takes 100 rows" if rate is None
         else f"about {100 * rate:.0f} % of the data, estimated")
    )  # fmt: skip
    if found["full_groups"]:
        rows.append(
            (
                "rows of full groups",
                f"{found['full_groups']:,}, some of whose near duplicates may be missed",
            )
        )
    return rows


def _plain(name: str) -> str:
    return name.replace("_", " ")
