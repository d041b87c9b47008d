"""The command of a study: make it, and report what was answered."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from helip.cli.command import AsJson, Done, Quiet, command, text
from helip.cli.command_line import line_of
from helip.cli.commands.data import open_data, opening_of
from helip.cli.messages import say
from helip.cli.showing import print_json, show_table
from helip.common.errors import InvalidArgumentError
from helip.common.options import ThreadOptions, hints_of
from helip.data.options import OpenOptions
from helip_view.options import StudyOptions, StudyResultOptions

Action = Literal["make", "report"]
_TAKES: dict[str, tuple[Any, ...]] = {
    "make": (StudyOptions, OpenOptions), "report": (StudyResultOptions,),
}  # fmt: skip
_USUAL = ("cards", "kinds", "choices", "shown", "seed", "people", "bootstrap")


@command(StudyOptions, StudyResultOptions, OpenOptions, ThreadOptions, usual=_USUAL)
def study(
    action: Annotated[Action, text("make a study, or report what was answered.")],
    path: Annotated[Path, text("make: the table of hard pairs; report: the study.")],
    /,
    *,
    out: Annotated[
        Path | None, text("make: the study to write; report: a page .html or a folder.")
    ] = None,
    data: Annotated[str | None, text("make: the data set that was mined.")] = None,
    store: Annotated[
        Path | None, text("make: its store, for pools by image and by text alone.")
    ] = None,
    json: AsJson = False,
    quiet: Quiet = False,
    **options: Any,
) -> Done:
    """Ask people, blinded, which pools are harder and which captions also fit; report answers."""
    _refuse(action, {"data": data, "store": store, "out": out}, options)
    if action == "report":
        return _report(path, out, options, json)
    from helip_view.study_making import make_study

    opening = opening_of(options)
    dataset, options = open_data(data, options, quiet)
    made = make_study(
        path, data=dataset, store=store, out=out, progress=not quiet,
        **{name: options[name] for name in hints_of(StudyOptions)},
    )  # fmt: skip
    assert out is not None
    assert data is not None
    with made:
        if json:
            print_json({"path": str(out), "questions": len(made), "fingerprint": made.fingerprint})
        else:
            say(f"{out} asks {len(made):,} questions, fingerprint {made.fingerprint[:16]}")
            for reason, count in made.drawn["left_out"].items():
                say(f"passed over {count:,} targets for {reason}")
    return Done(out, line_of("view", pairs=path, data=data, study=out, **opening))


def _refuse(action: Action, paths: dict[str, Any], options: dict[str, Any]) -> None:
    """Refuses what is missing, and what the other action takes."""
    other = "report" if action == "make" else "make"
    for name in ("data", "out") if action == "make" else ():
        if paths[name] is None:
            raise InvalidArgumentError(f"--{name} is missing, which {action} needs")
    own = {name for group in _TAKES[action] for name in hints_of(group)}
    foreign = {
        field.name: (options[field.name], field.default)
        for group in _TAKES[other]
        for field in dataclasses.fields(group)
        if field.name not in own
    }
    if action == "report":
        foreign |= {name: (paths[name], None) for name in ("data", "store")}
    for name, (value, default) in foreign.items():
        if value != default:
            flag = name.replace("_", "-")
            raise InvalidArgumentError(f"--{flag} is {value}, which is for {other}; drop it")


def _report(path: Path, out: Path | None, options: dict[str, Any], json: bool) -> Done:
    from helip_view.study import Study
    from helip_view.study_report import figures_of, report_study

    counting = {name: options[name] for name in hints_of(StudyResultOptions)}
    with Study.open(path) as opened:
        results = opened.results(**counting)
        written = [] if out is None else report_study(opened, out, **counting)
    if json:
        print_json(results)
    else:
        for title, rows in figures_of(results).items():
            print(f"{title}:")
            show_table([(f"  {name}", f"{rate}  ({words})") for name, rate, words in rows])
        for each in written:
            say(f"wrote {each}")
    if out is None:
        return Done()
    return Done(out, f"open {written[0]} in a browser")
