"""The command of what people said of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from helip.cli.command import AsJson, Done, command, text
from helip.cli.command_line import line_of
from helip.cli.commands.data import open_data, opening_of
from helip.cli.messages import say
from helip.cli.showing import print_json, show_table
from helip.common.errors import InvalidArgumentError
from helip.common.options import ThreadOptions
from helip.data.options import OpenOptions

Action = Literal["show", "merge", "move", "export", "learn", "propose"]
_TABLE = ("pairs", "store", "by", "data")
#: Options that an action takes.
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
    json: AsJson = False,
    **options: Any,
) -> Done | None:
    """Show, merge, move and export what people said of pairs; learn from it what to judge next."""
    given = {
        "out": out, "what": what, "pairs": pairs, "store": store, "by": by, "data": data,
        "veto": veto, "threshold": threshold, "number": number,
    }  # fmt: skip
    _refuse(action, files, {name: value for name, value in given.items() if value is not None})
    opening = {} if data is None else opening_of(options)
    dataset, _ = open_data(data, options, json)
    if action == "merge":
        from helip.verdicts import merge

        assert out is not None
        with merge(files, out=out) as merged:
            _show(merged, json)
        return Done(next=line_of("verdicts", action="show", files=[out]))
    if action == "move":
        return _move(files[0], _table(pairs, store, None), out, json)
    from helip.verdicts import Verdicts

    with Verdicts.open(files[0]) as opened:
        if action == "show":
            _show(opened, json)
        elif action == "export":
            _export(opened, out, what or "verdicts", json)
        else:
            table = _table(pairs, store, dataset)
            if action == "learn":
                _learn(opened, table, by, 0.5 if threshold is None else threshold, out, json)
                use = {"pairs": pairs, "store": store, "by": by, "data": data, **opening}
                return Done(next=line_of("filter", learnt_veto=out, out="FILTERED", **use))
            _propose(opened, table, by, veto, 20 if number is None else number, json)
    return None


def _refuse(action: str, files: tuple[Path, ...], given: dict[str, Any]) -> None:
    if not files or (len(files) > 1 and action != "merge"):
        raise InvalidArgumentError(
            f"{action} has {len(files)} files of verdicts, must have "
            f"{'at least one' if action == 'merge' else 'one'}"
        )
    for name in given:
        if name not in _TAKES[action]:
            takers = [each for each, names in _TAKES.items() if name in names]
            raise InvalidArgumentError(
                f"--{name} is {given[name]}, which is for {', '.join(takers)}; drop it"
            )
    for name in _NEEDS[action]:
        if name not in given:
            raise InvalidArgumentError(f"--{name} is missing, which {action} needs")


def _table(pairs: Path | None, store: Path | None, data: Any) -> Any:
    from helip.pairs.hard_pairs import HardPairs

    assert pairs is not None
    table = HardPairs.open(pairs, store=store)
    return table if data is None else table.with_data(data)


def _move(source: Path, table: Any, out: Path | None, json: bool) -> Done:
    from helip.verdicts import move

    assert out is not None
    done = move(source, pairs=table, out=out)
    if json:
        print_json({"path": str(out), **vars(done)})
    else:
        say(
            f"{done.kept:,} verdicts moved to {out}; {done.lost:,} are on keys that are gone, "
            f"{done.unkeyed:,} knew no keys"
        )
    return Done(next=line_of("verdicts", action="show", files=[out]))


def _show(opened: Any, json: bool) -> None:
    counts = opened.counts()
    if json:
        print_json({"path": str(opened.path), "data_rows": opened.rows, **counts})
        return
    agreement = counts["agreement"]
    share = "" if agreement["share"] is None else f", {agreement['share']:.1%} of pairs of people"
    show_table(
        [
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
    )


def _export(opened: Any, out: Path | None, what: Any, json: bool) -> None:
    from helip.verdicts import export_verdicts

    assert out is not None
    rows = export_verdicts(opened, out, what=what)
    if json:
        print_json({"path": str(out), "rows": rows})
    else:
        say(f"{out} has {rows:,} rows")


def _learn(
    opened: Any, table: Any, by: Path | None, threshold: float, out: Path | None, json: bool
) -> None:
    from helip_view import LearntVeto

    assert out is not None
    learnt = LearntVeto.fit(opened, table, by=by, threshold=threshold)
    learnt.save(out)
    measured = learnt.to_dict()["measured"]
    if json:
        print_json({"path": str(out), **learnt.to_dict()})
        return
    rows = [
        ("judged pairs", f"{measured['labels']:,}, {measured['positives']:,} taken out by people"),
        ("flagged", f"{measured['flagged']:,}, {measured['right']:,} of them rightly"),
    ]
    for name in ("precision", "recall"):
        limits = measured[name]
        words = "none was flagged" if limits is None else "{:.3f} [{:.3f}, {:.3f}]".format(*limits)
        rows.append((name, words))
    show_table(rows)


def _propose(
    opened: Any, table: Any, by: Path | None, veto: Path | None, number: int, json: bool
) -> None:
    from helip_view import LearntVeto, propose

    assert veto is not None
    found = propose(opened, LearntVeto.open(veto), table, n=number, by=by)
    if json:
        print_json([vars(each) for each in found])
    else:
        show_table([(f"{p.target} {p.hard}", f"{p.probability:.3f}") for p in found])
