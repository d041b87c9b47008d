"""The report of a study: a page with tables and a plot, or a folder with JSON and pictures too."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helip.common.files import make_directory, replace_file
from helip.common.options import keywords, require
from helip.reporting import plot_study, render, save_figure
from helip_view.options import StudyResultOptions
from helip_view.study import Study

#: Kinds of pools as the report of a table calls them.
NAMES = {"product": "HPM", "image": "image only", "text": "text only", "random": "random"}
_TYPES = {"harder": "Which pool is harder", "caption": "Whether a caption is also right"}
_METHODS = {"cohen": "Cohen’s κ", "fleiss": "Fleiss’ κ"}


@dataclass(frozen=True, kw_only=True)
class ReportStudyCall(StudyResultOptions):
    """What `report_study` is asked."""

    study: Study | str | os.PathLike[str] = field(kw_only=False)
    """A study, or its path."""
    out: str | os.PathLike[str] | None = field(default=None, kw_only=False)
    """The page to write, which ends in .html, or a folder; must be given."""


@keywords(ReportStudyCall)
def report_study(call: ReportStudyCall) -> list[Path]:
    """Write what a study found: one page, or a folder of ``report.html``, ``results.json``,
    ``study.png`` and ``study.svg``. What is there is replaced. Returns the paths.

    The page holds its plot, has no scripts and loads nothing.

    Raises InvalidArgumentError where nothing is answered, UnsupportedError without matplotlib, or
    without scikit-learn where two or more people answered, StorageError where ``out`` cannot be
    written, and as `Study.open`.
    """
    require(call.out is not None, "out", call.out, "the page or the folder to write")
    out = Path(os.fspath(call.out))  # type: ignore[arg-type]
    options = StudyResultOptions.of(call).as_dict()
    if isinstance(call.study, Study):
        study = call.study
        results = study.results(**options)
    else:
        with Study.open(call.study) as study:
            results = study.results(**options)
    figure = plot_study(results)
    if out.suffix.lower() in (".html", ".htm"):
        replace_file(out, _page(study.path.name, results, figure))
        return [out]
    make_directory(out)
    replace_file(out / "report.html", _page(study.path.name, results, figure))
    replace_file(out / "results.json", json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    pictures = [save_figure(figure, out / f"study.{kind}") for kind in ("png", "svg")]
    return [out / "report.html", out / "results.json", *pictures]


def figures_of(results: Mapping[str, Any]) -> dict[str, list[tuple[str, str, str]]]:
    """Tables by title, each row a name, a rate with its interval, and counts in words."""
    captions = [
        (NAMES[kind], rate_words(found), _captions(found))
        for kind, found in results["caption"].items()
    ]
    wins = [
        (NAMES[kind], rate_words(found), _duels(found)) for kind, found in results["harder"].items()
    ]
    pairs = [
        (" against ".join(NAMES[k] for k in found["kinds"]), rate_words(found), _duels(found))
        for found in results["pairs"]
    ]
    tables = {
        "Captions that are also right": captions,
        "Harder than the others": wins,
        "Harder, kind against kind": pairs,
    }
    agreement = [
        row for name, found in results["agreement"].items() for row in _agreement(name, found)
    ]
    return tables | ({"Agreement": agreement} if agreement else {})


def rate_words(found: Mapping[str, Any]) -> str:
    """Such as ``61.2 % [50.3, 71.1]``."""
    if found["value"] is None:
        return "–"
    if found["low"] is None:
        return f"{100 * found['value']:.1f} %"
    return "{:.1f} % [{:.1f}, {:.1f}]".format(*(100 * found[k] for k in ("value", "low", "high")))


def _captions(found: Mapping[str, Any]) -> str:
    return f"{found['yes']:,} yes, {found['no']:,} no, {found['unsure']:,} unsure"


def _duels(found: Mapping[str, Any]) -> str:
    return f"{found['won']:,} won, {found['lost']:,} lost, {found['same']:,} as hard"


def _agreement(name: str, found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    if found["method"] is None:
        return []
    told = (
        f"{_METHODS[found['method']]} of {len(found['people'])}, {found['questions']:,} questions"
    )
    share = "" if found["share"] is None else f", {100 * found['share']:.0f} % the same"
    rows = [(_TYPES[name], _kappa(found), told + share)]
    for each in found.get("pairs", []):
        words = f"Cohen’s κ, {each['questions']:,} questions"
        rows.append((" and ".join(each["people"]), _kappa(each), words))
    return rows


def _kappa(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return "–"
    if found.get("low") is None:
        return f"{found['value']:.2f}"
    return "{:.2f} [{:.2f}, {:.2f}]".format(*(found[k] for k in ("value", "low", "high")))


def _page(title: str, results: Mapping[str, Any], figure: Any) -> str:
    with tempfile.TemporaryDirectory() as folder:
        picture = save_figure(figure, Path(folder) / "study.svg").read_bytes()
    about = results["study"]
    left = ", ".join(f"{n:,} for {why}" for why, n in about["drawn"]["left_out"].items())
    people = [(name, f"{number:,}", "") for name, number in results["people"].items()]
    made = [(name, _plain(value), "") for name, value in about["options"].items()]
    made += [
        ("targets that could be drawn", f"{about['drawn']['targets']:,}", ""),
        ("passed over", left or "none", ""),
        ("fingerprint", about["fingerprint"], ""),
        ("table", about["table"], ""),
        ("data", about["data_fingerprint"] or "unknown", ""),
    ]
    told = "person or rule" if len(people) == 1 else "people or rules"
    return render(
        "study_report.html", package="helip_view", title=title, places=[],
        tables=figures_of(results),
        facts=[f"{about['cards']:,} questions", f"{len(people):,} {told}"],
        people=people, made=made, resamples=bool(results["bootstrap"]),
        picture="data:image/svg+xml;base64," + base64.b64encode(picture).decode(),
    )  # fmt: skip


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
