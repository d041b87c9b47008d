"""What ``helip eval`` does: one model on one data set, or many on many in one table."""

from __future__ import annotations

import dataclasses
import json as json_format
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from helip.cli.command import Done, command, text
from helip.cli.commands.data import named_paths, say_left_out
from helip.cli.messages import say
from helip.cli.showing import figures, json_text
from helip.cli.wording import line_of
from helip.common.errors import InvalidArgumentError
from helip.common.files import replace_file, require_regular
from helip.common.options import ThreadOptions
from helip.evaluation.options import EvaluateOptions, SetOptions
from helip.models.options import ModelOptions

_NO_PICTURES = {"pictures": None}


_USUAL = (
    "precision", "device", "tasks", "duplicates", "batch_size", "workers", "threads", "bootstrap",
    "templates",
    "train", "split", "limit", "subset", "pictures", "checkpoint",
)  # fmt: skip


@command(
    EvaluateOptions, SetOptions, ModelOptions, ThreadOptions, name="eval", usual=_USUAL,
    without=("ssl_head", "from_scratch"),
)  # fmt: skip
def evaluate(
    *data: Annotated[str, text("Held-out data, [NAME=]PATH each.")],
    model: Annotated[list[str], text("[NAME=]open_clip name, config or saved model; repeatable.")],
    classes: Annotated[Path | None, text("Text file, a class name a line.")] = None,
    baseline: Annotated[str | None, text("Model to compare with.")] = None,
    guard: Annotated[bool, text("Have models start, control and a third: forgotten?")] = False,
    out: Annotated[Path | None, text("FILE.json for one result, else a folder of them.")] = None,
    skip_existing: Annotated[bool, text("Leave out what is in --out.")] = False,
    markdown: Annotated[bool, text("Print Markdown.")] = False,
    **options: Any,
) -> Done:
    """Measure models on data sets, with 95 % intervals and paired differences."""
    from helip.evaluation.evaluating import evaluate as measure
    from helip.evaluation.model_source import ModelSource, warn_of_training_data
    from helip.evaluation.sets.opening import open_evaluation_set, opener_of_questions
    from helip.evaluation.statistics.forgetting import roles
    from helip.evaluation.suite import evaluate_all

    checkpoint, tasks = options.pop("checkpoint"), options.pop("tasks") or None
    opening = {
        field.name: options.pop(field.name, None) for field in dataclasses.fields(SetOptions)
    }
    opening |= {
        "classes": _names(classes), "templates": _templates(opening["templates"]),
        "progress": options["progress"],
    }  # fmt: skip
    named = named_paths("--model", model)
    if checkpoint is not None and len(named) > 1:
        raise InvalidArgumentError(
            f"--checkpoint names the weights of one model, and {len(named)} are given; give the "
            "folders of saved models or checkpoints as --model"
        )
    sources = {name: ModelSource(path, checkpoint) for name, path in named.items()}
    places = named_paths("DATA", data)
    if len(sources) == len(places) == 1 and (out is None or out.suffix == ".json"):
        if guard or skip_existing or baseline is not None:
            raise InvalidArgumentError(
                "--guard and --baseline compare several models, and --skip-existing needs --out "
                "FOLDER; leave them out"
            )
        (source,), (place,) = sources.values(), places.values()
        bundle = source.load()
        dataset = open_evaluation_set(place, **opening)
        say_left_out(place, dataset.data)
        warn_of_training_data(source, dataset.data)
        result = measure(bundle, dataset, tasks=tasks, **options)
        if out is not None:
            replace_file(out, json_text(result))
        table = {place: {bundle.name: result}}
        shows = _tables(table, None, False, True) if markdown else {"rows": [*figures(result)]}
        return _done(out, f"{next(iter(sources))}={out}", **shows | {"facts": result})
    if out is not None and out.suffix == ".json":
        raise InvalidArgumentError(
            f"--out {out} is one file, for {len(sources)} models and {len(places)} data sets; "
            "give a folder"
        )
    if skip_existing and out is None:
        raise InvalidArgumentError("--skip-existing needs --out FOLDER, where the results are kept")
    if guard:
        roles(sources)
    questions = {path for path in places.values() if opener_of_questions(Path(path))}
    # Of several sets those of another kind have no use for it.
    sets = {
        name: open_evaluation_set(
            path, **opening | ({} if path in questions or not questions else _NO_PICTURES)
        )
        for name, path in places.items()
    }
    for name, each in sets.items():
        say_left_out(name, each.data)
    results = evaluate_all(
        sources, sets, out=out, tasks=tasks, skip_existing=skip_existing, say=say, **options
    )
    shows = _tables(results, baseline, guard, markdown, out)
    return _done(out, str(out), **shows)


def _done(out: Path | None, metrics: str, **shows: Any) -> Done:
    told = {"metrics": [metrics], "out": "page.html"}
    proceed = line_of("report", pairs="PAIRS", data="DATA", **told)
    return Done(out, None if out is None else proceed, **shows)


def metrics_of(
    arguments: Sequence[str], guarded: Sequence[str]
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """What a report shows: results (NAME=FILE.json, or a folder), and those for the guard."""
    from helip.evaluation.statistics.forgetting import roles
    from helip.evaluation.suite import read_results

    metrics: dict[str, Any] = {}
    sets: dict[str, Any] = {}
    for argument in arguments:
        name, equals, file = argument.partition("=")
        if equals:
            metrics[name] = _result(file)
        elif Path(argument).is_dir():
            sets |= read_results(argument)
        else:
            raise InvalidArgumentError(
                f"--metrics {argument!r} must be NAME=FILE.json, or a folder that helip eval --out "
                "wrote"
            )
    absent = [title for title in guarded if title not in sets]
    if absent:
        raise InvalidArgumentError(
            f"--guard {absent[0]!r} is no data set of the folders given as --metrics, which hold "
            f"{', '.join(sets) or 'none'}"
        )
    if metrics and sets:
        raise InvalidArgumentError("--metrics takes files or folders of results, not both")
    general = {title: sets.pop(title) for title in guarded}
    for models in general.values():
        roles(models)
    return (metrics or sets) or None, general or None


def guards(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the guard against forgetting says of each data set."""
    from helip.evaluation.statistics.forgetting import forgetting, roles

    said = {}
    for title, models in results.items():
        start, control, tuned = roles(models)
        said[title] = forgetting(models[start], models[control], models[tuned], name=tuned)
    return said


def _tables(
    results: Mapping[str, Mapping[str, Any]],
    baseline: str | None,
    guard: bool,
    markdown: bool,
    out: Path | None = None,
) -> dict[str, Any]:
    """Models on data sets, as `Done` shows them; also written to a folder ``out``."""
    from helip.evaluation.table import tables, tables_as_data, tables_as_markdown, tables_as_text

    made = tables(results, baseline=baseline)
    facts: dict[str, Any] = {"tables": tables_as_data(made)}
    if guard:
        facts["guard"] = guards(results)
    verdicts = [f"{title}: {g['words']}" for title, g in facts.get("guard", {}).items()]
    page = "\n\n".join([tables_as_markdown(made), *verdicts])
    if out is not None:
        replace_file(out / "table.json", json_text(facts))
        replace_file(out / "table.md", page + "\n")
    text = page if markdown else "\n\n".join([tables_as_text(made), *verdicts])
    return {"facts": facts, "text": text}


def _result(file: str) -> Any:
    try:
        require_regular(file)
        value = json_format.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(f"cannot read metrics from {file}: {error}") from error
    return value.get("result", value) if isinstance(value, dict) else value


def _names(file: Path | None) -> list[str] | None:
    if file is None:
        return None
    try:
        require_regular(file)
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"cannot read the class names: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def _templates(given: Sequence[str] | None) -> str | Sequence[str] | None:
    """A single one may be the name of a set."""
    if not given:
        return None
    return given[0] if len(given) == 1 else list(given)
