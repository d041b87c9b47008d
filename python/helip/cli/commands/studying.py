"""The command of a study: make it, and report what was answered."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from helip.cli.command import AsJson, Done, Quiet, command, text
from helip.cli.commands.data import open_data
from helip.cli.messages import say, shell_line
from helip.cli.showing import print_json, show_table
from helip.common.errors import InvalidArgumentError
from helip.data.options import OpenOptions
from helip.reporting.study.options import StudyOptions, StudyResultOptions

Action = Literal["make", "report"]
_USUAL = ("cards", "kinds", "choices", "shown", "seed", "people", "bootstrap")
_NEEDS: dict[str, tuple[str, ...]] = {"make": ("data", "out"), "report": ()}


@command(StudyOptions, StudyResultOptions, OpenOptions, usual=_USUAL)
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
    given = {"data": data, "store": store, "out": out}
    _refuse(action, {name: value for name, value in given.items() if value is not None}, options)
    if action == "report":
        return _report(path, out, options, json)
    from helip.reporting.study.making import make_study

    dataset, options = open_data(data, options, quiet)
    made = make_study(
        path, data=dataset, store=store, out=out, progress=not quiet,
        **{name: options[name] for name in _names(StudyOptions)},
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
    return Done(out, shell_line("view", path, "--data", data, "--study", out))


def _refuse(action: str, given: dict[str, Any], options: dict[str, Any]) -> None:
    for name in _NEEDS[action]:
        if name not in given:
            raise InvalidArgumentError(f"--{name} is missing, which {action} needs")
    only: tuple[Any, ...]
    if action == "report":
        given = {name: value for name, value in given.items() if name != "out"}
        only, other = (StudyOptions, OpenOptions), "make"
    else:
        given, only, other = {}, (StudyResultOptions,), "report"
    shared = {"seed"}
    for group in only:
        for field in dataclasses.fields(group):
            if field.name not in shared and options.get(field.name) != field.default:
                given[field.name] = options[field.name]
    for name, value in given.items():
        flag = name.replace("_", "-")
        raise InvalidArgumentError(f"--{flag} is {value}, which is for {other}; drop it")


def _names(group: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(group)]


def _report(path: Path, out: Path | None, options: dict[str, Any], json: bool) -> Done:
    from helip.reporting.study.report import figures_of, report_study
    from helip.reporting.study.study import Study

    counting = {name: options[name] for name in _names(StudyResultOptions)}
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
