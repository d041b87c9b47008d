"""Commands of what people see and say of pairs in the browser: the viewer, and blinded studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from helip.cli.command import Done, command, refuse_of_others, text
from helip.cli.commands.data import open_data, opening_of
from helip.cli.messages import say
from helip.cli.wording import line_of
from helip.common.options import ThreadOptions, hints_of
from helip.common.quantities import aligned
from helip.data.options import OpenOptions
from helip_view.options import StudyOptions, StudyResultOptions, ViewOptions


@command(ViewOptions, OpenOptions, ThreadOptions)
def view(
    pairs: Annotated[Path, text("Table of hard pairs.")],
    /,
    *,
    data: Annotated[str, text("The data set that was mined.")],
    model: Annotated[
        list[str], text("A model, or a store by one CLIP; twice: before and after tuning.")
    ] = [],  # noqa: B006
    store: Annotated[Path | None, text("Its store: similarities, near duplicates.")] = None,
    verdicts: Annotated[Path | None, text("File of verdicts; without: PAIRS.verdicts.")] = None,
    study: Annotated[Path | None, text("A study of the table: ask its questions.")] = None,
    **options: Any,
) -> None:
    """Look at hard pairs in a browser, and judge them by keys; served on this machine alone."""
    from helip_view.serving import require_extra, serve
    from helip_view.viewing import ViewCall

    require_extra()  # before data are opened, which may take long
    dataset, options = open_data(data, options)
    serve(
        ViewCall(
            pairs, dataset, model=tuple(model), store=store, verdicts=verdicts, study=study,
            **options,
        ),
        say,
    )  # fmt: skip


_TAKES = {
    "make": {*hints_of(StudyOptions), *hints_of(OpenOptions), "out", "data", "store"},
    "report": {*hints_of(StudyResultOptions), "out"},
}
_USUAL = ("cards", "kinds", "choices", "shown", "seed", "people", "bootstrap")


@command(StudyOptions, StudyResultOptions, OpenOptions, ThreadOptions, usual=_USUAL)
def study(
    action: Annotated[
        Literal["make", "report"], text("make a study, or report what was answered.")
    ],
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
    **options: Any,
) -> Done:
    """Ask people, blinded, which pools are harder and which captions also fit; report answers."""
    given = {"data": data, "store": store, "out": out}
    given = {name: value for name, value in given.items() if value is not None}
    given |= {n: options[n] for n, _, usual, _ in study.fields() if options.get(n, usual) != usual}
    refuse_of_others(action, _TAKES, {"make": ("data", "out"), "report": ()}, given)
    if action == "report":
        return _report(path, out, {name: options[name] for name in hints_of(StudyResultOptions)})
    from helip_view.study_making import make_study

    opening = opening_of(options)
    dataset, options = open_data(data, options)
    making = {name: options[name] for name in (*hints_of(StudyOptions), "progress")}
    with make_study(path, data=dataset, store=store, out=out, **making) as made:
        left = made.drawn["left_out"].items()
        return Done(
            out, line_of("view", pairs=path, data=data, study=out, **opening),
            facts={"path": str(out), "questions": len(made), "fingerprint": made.fingerprint},
            said=[
                f"{out} asks {len(made):,} questions, fingerprint {made.fingerprint[:16]}",
                *(f"passed over {count:,} targets for {reason}" for reason, count in left),
            ],
        )  # fmt: skip


def _report(path: Path, out: Path | None, counting: dict[str, Any]) -> Done:
    from helip_view.study import Study
    from helip_view.study_report import figures_of, report_study

    with Study.open(path) as opened:
        results = opened.results(**counting)
        written = [] if out is None else report_study(opened, out, **counting)
    lines: list[str] = []
    for title, rows in figures_of(results).items():
        table = aligned([(f"  {name}", f"{rate}  ({words})") for name, rate, words in rows])
        lines += [f"{title}:", *([table] if rows else [])]
    proceed = f"open {written[0]} in a browser" if written else None
    said = [f"wrote {each}" for each in written]
    return Done(out, proceed, facts=results, text="\n".join(lines), said=said)
