"""The command of what people said of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from helip.cli.command import Done, command, refuse_of_others, text
from helip.cli.commands.data import open_data, opening_of
from helip.cli.wording import line_of
from helip.common.errors import InvalidArgumentError
from helip.common.options import ThreadOptions
from helip.data.options import OpenOptions

Action = Literal["show", "merge", "move", "export", "learn", "propose"]
_TABLE = ("pairs", "store", "by", "data")
#: Options that an action takes, and those that it cannot do without.
_TAKES: dict[str, tuple[str, ...]] = {
    "show": (),
    "merge": ("out",),
    "move": ("pairs", "store", "out"),
    "export": ("out", "what"),
    "learn": (*_TABLE, "out", "threshold"),
    "propose": (*_TABLE, "veto", "number"),
}
_NEEDS: dict[str, tuple[str, ...]] = {
    "show": (),
    "merge": ("out",),
    "move": ("pairs", "store", "out"),
    "export": ("out",),
    "learn": ("pairs", "store", "out"),
    "propose": ("pairs", "store", "veto"),
}


@command(OpenOptions, ThreadOptions, usual=())
def verdicts(
    action: Annotated[Action, text("What to do; merge takes several files, the others one.")],
    /,
    *files: Annotated[Path, text("Files of verdicts.")],
    out: Annotated[Path | None, text("The file to write; export: .csv, .jsonl.")] = None,
    what: Annotated[
        Literal["verdicts", "decisions", "history"] | None,
        text("export: the newest verdicts (the default), decisions or all history."),
    ] = None,
    pairs: Annotated[
        Path | None, text("learn, propose: the table that was judged; move: of new data.")
    ] = None,
    store: Annotated[Path | None, text("learn, propose, move: the store that was mined.")] = None,
    by: Annotated[Path | None, text("learn, propose: a store by one model, such as CLIP.")] = None,
    data: Annotated[str | None, text("learn, propose: the data, for its captions.")] = None,
    veto: Annotated[Path | None, text("propose: what learn wrote.")] = None,
    threshold: Annotated[float | None, text("learn: take pairs out from it on (0.5).")] = None,
    number: Annotated[int | None, text("propose: how many pairs (20).")] = None,
    **options: Any,
) -> Done:
    """Show, merge, move and export what people said of pairs; learn from it what to judge next."""
    given = {
        "out": out, "what": what, "pairs": pairs, "store": store, "by": by, "data": data,
        "veto": veto, "threshold": threshold, "number": number,
    }  # fmt: skip
    if not files or (len(files) > 1 and action != "merge"):
        wanted = "at least one" if action == "merge" else "one"
        raise InvalidArgumentError(
            f"{action} has {len(files)} files of verdicts, must have {wanted}"
        )
    given = {name: value for name, value in given.items() if value is not None}
    refuse_of_others(action, _TAKES, _NEEDS, given)
    opening = {} if data is None else opening_of(options)
    dataset, _ = open_data(data, options)
    from helip.pairs.hard_pairs import HardPairs
    from helip.verdicts import Verdicts, export_verdicts, merge, move

    made = str(out)
    table: Any = None if pairs is None else HardPairs.open(pairs, store=store)
    table = table if dataset is None else table.with_data(dataset)
    proceed = line_of("verdicts", action="show", files=[made])
    if action == "merge":
        with merge(files, out=made) as merged:
            return Done(next=proceed, **_counted(merged))
    if action == "move":
        done = move(files[0], pairs=table, out=made)
        words = (
            f"{done.kept:,} verdicts moved to {out}; {done.lost:,} are on keys that are gone, "
            f"{done.unkeyed:,} knew no keys"
        )
        return Done(next=proceed, facts={"path": made, **vars(done)}, said=[words])
    with Verdicts.open(files[0]) as opened:
        if action == "show":
            return Done(**_counted(opened))
        if action == "export":
            rows = export_verdicts(opened, made, what=what or "verdicts")
            return Done(facts={"path": made, "rows": rows}, said=[f"{out} has {rows:,} rows"])
        from helip_view import LearntVeto, propose

        if action == "learn":
            learnt = LearntVeto.fit(
                opened, table, by=by, threshold=0.5 if threshold is None else threshold
            )
            learnt.save(made)
            use = {"pairs": pairs, "store": store, "by": by, "data": data, **opening}
            proceed = line_of("filter", learnt_veto=out, out="FILTERED", **use)
            facts = learnt.to_dict()
            return Done(
                next=proceed, facts={"path": made, **facts}, rows=_learnt_rows(facts["measured"])
            )
        known = LearntVeto.open(str(veto))
        found = propose(opened, known, table, n=20 if number is None else number, by=by)
        return Done(
            facts=[vars(each) for each in found],
            rows=[(f"{p.target} {p.hard}", f"{p.probability:.3f}") for p in found],
        )


def _counted(opened: Any) -> dict[str, Any]:
    """What a file of verdicts holds, as `Done` shows it."""
    counts = opened.counts()
    agreement = counts["agreement"]
    share = "" if agreement["share"] is None else f", {agreement['share']:.1%} of pairs of people"
    rows = [
        ("verdicts of", f"{opened.rows:,} rows"),
        ("judged", f"{counts['judged']:,}"),
        *((f"  {verdict}", f"{n:,} pairs") for verdict, n in counts["pairs"].items()),
        *((f"  {verdict}", f"{n:,} rows") for verdict, n in counts["rows"].items()),
        *(
            (f"by {person}", ", ".join(f"{n:,} {verdict}" for verdict, n in each.items()))
            for person, each in counts["people"].items()
        ),
        ("by several", f"{agreement['judged']:,}, {agreement['all_agreed']:,} agreed{share}"),
        ("undone", f"{counts['log']['undone']:,}"),
    ]
    return {"facts": {"path": str(opened.path), "data_rows": opened.rows, **counts}, "rows": rows}


def _learnt_rows(measured: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("judged pairs", f"{measured['labels']:,}, {measured['positives']:,} taken out by people"),
        ("flagged", f"{measured['flagged']:,}, {measured['right']:,} of them rightly"),
    ]
    for name in ("precision", "recall"):
        limits = measured[name]
        words = "none was flagged" if limits is None else "{:.3f} [{:.3f}, {:.3f}]".format(*limits)
        rows.append((name, words))
    return rows
