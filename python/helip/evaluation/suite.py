"""Many models on many data sets: one file of JSON a task, and nothing measured twice.

    <out>/<data>/<model>.<task>.json

A file says what it was made of (digests of the model's weights and preprocessing, the data set, the
options). What is there and made of the same is left out on request; what has changed since is
measured again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from helip.common.errors import CorruptError, InvalidArgumentError
from helip.common.files import read_json, replace_file
from helip.data.opening import open_dataset
from helip.evaluation.evaluating import evaluate
from helip.evaluation.figures import TASKS
from helip.evaluation.model_source import GivenModel, rows_trained_on, warn_of_training_data
from helip.evaluation.sets.evaluation_set import EvaluationSet
from helip.evaluation.sets.opening import open_evaluation_set
from helip.evaluation.table import Results, tables, tables_as_markdown

_log = logging.getLogger(__name__)

_FORMAT = "helip.evaluation"
_VERSION = 1
_FIELDS: dict[str, Any] = {
    "data": str,
    "model": str,
    "task": str,
    "made_of": (dict, type(None)),
    "result": dict,
}
# Of a result, beside its tasks.
_SHARED = ("model", "weights", "data", "reader", "skipped", "trained_on")
_NOT_OF_THE_RESULT = ("batch_size", "device", "progress", "workers", "chunk")
_CLASSIFICATION = ("zero_shot", "linear_probe")
# What figures of these tasks alone depend on.
_OF_SOME_TASKS = {
    "classes": _CLASSIFICATION,
    "label_of": _CLASSIFICATION,
    "templates": ("zero_shot",),
    "train": ("linear_probe",),
    "train_label_of": ("linear_probe",),
    "regularisation": ("linear_probe",),
    "duplicates": ("retrieval",),
    "ties": ("retrieval", "zero_shot", "choice"),
}
_NO_CONTROL = (
    "None of the models is called control, so what hard pairs gain over plain batches was not "
    "measured."
)


def evaluate_all(
    models: Mapping[str, Any],
    sets: Mapping[str, Any],
    *,
    out: str | os.PathLike[str] | None = None,
    tasks: str | Sequence[str] | None = None,
    skip_existing: bool = False,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Measure each model on each set; with ``out`` write ``<out>/<data>/<model>.<task>.json``.

    ``models``: name -> path, ``ModelSource`` or ``ModelBundle``; one is loaded at a time. ``sets``:
    name -> ``EvaluationSet`` or what ``open_evaluation_set`` takes. ``tasks``: None measures what
    each set is made for. ``options`` are those of :func:`evaluate`; ranks are always kept, so that
    any two models can be compared afterwards. ``skip_existing`` leaves out tasks whose file was
    made of the same weights, preprocessing, data and options, whatever the model is called and
    wherever it lies; what differs is measured again, and ``say`` (or the log) is told so. A model
    is loaded for that only where its files changed, or where it is no local files.

    Returns data set -> model -> result. A task's file is written, in one step, as soon as the task
    is measured, so a call that is stopped goes on with ``skip_existing=True``.
    """
    folder = None if out is None else Path(out)
    if skip_existing and folder is None:
        raise InvalidArgumentError("skip_existing needs out, the folder that holds the results")
    _check_names("model", models)
    _check_names("data set", sets)
    opened = {name: _set_and_tasks(given, tasks) for name, given in sets.items()}
    results: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in opened}
    say = say or _log.info
    for model, source in models.items():
        measured = GivenModel(source)
        for title, (given, wanted) in opened.items():
            made_of = {task: _made_of(given, options, task) for task in wanted}
            places = {task: _place(folder, title, model, task) for task in wanted}
            there = {} if not skip_existing else {
                task: found
                for task, place in places.items()
                if (found := _existing(place, measured, made_of[task], say)) is not None
            }  # fmt: skip
            missing = [task for task in wanted if task not in there]
            if missing:
                say(f"{title}, {model}: {', '.join(missing)}")
                warn_of_training_data(measured.source, given.data)
                names = {"data": title, "model": model}
                write = partial(_write, places, there, names, measured, made_of)
                evaluate(
                    measured.bundle,
                    given,
                    tasks=missing,
                    keep_ranks=True,
                    on_task=write,
                    **options,
                )
            results[title][model] = _joined([there[task] for task in wanted])
    return results


def _write(
    places: Mapping[str, Path | None],
    there: dict[str, Any],
    names: Mapping[str, str],
    measured: GivenModel,
    made_of: Mapping[str, Mapping[str, Any]],
    result: Mapping[str, Any],
    task: str,
) -> None:
    """Keep what one task has made, and write it where it belongs."""
    trained = rows_trained_on(measured.source)
    there[task] = _single({**result, **({"trained_on": trained} if trained else {})}, task)
    if (place := places[task]) is not None:
        whole = {"format": _FORMAT, "version": _VERSION, **names, "task": task}
        model = {"model": measured.identity(result["weights"])}
        whole |= {"made_of": model | dict(made_of[task]), "result": there[task]}
        replace_file(place, json.dumps(whole, ensure_ascii=False, allow_nan=False) + "\n")


def read_results(folder: str | os.PathLike[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """What ``evaluate_all`` wrote into ``folder``: data set -> model -> result."""
    path = Path(folder)
    found: dict[str, dict[str, list[Any]]] = {}
    for value in filter(None, map(_read_result, sorted(path.glob("*/*.json")))):
        models = found.setdefault(value["data"], {})
        models.setdefault(value["model"], []).append(value["result"])
    if not found:
        raise InvalidArgumentError(
            f"{path} holds no results; give a folder that helip eval --out wrote"
        )
    return {
        title: {model: _joined(parts) for model, parts in models.items()}
        for title, models in found.items()
    }


def _set_and_tasks(
    given: Any, tasks: str | Sequence[str] | None
) -> tuple[EvaluationSet, tuple[str, ...]]:
    """A set and what is to be measured on it."""
    if not isinstance(given, EvaluationSet):
        given = open_evaluation_set(given)
    given = replace(given, groups=given.picture_groups)  # once for all models
    wanted = given.tasks if tasks is None else (tasks,) if isinstance(tasks, str) else tuple(tasks)
    if "linear_probe" in wanted and given.train is not None and not hasattr(given.train, "label"):
        # Once for all models, and so that its fingerprint is known.
        given = replace(given, train=open_dataset(given.train))
    return given, wanted


def _existing(
    file: Path | None,
    measured: GivenModel,
    made_of: Mapping[str, Any],
    say: Callable[[str], object],
) -> Any:
    """The result that is there and made of the same; else None."""
    found = None if file is None else _read_result(file)
    if found is None:
        return None
    before = found["made_of"] or {}
    changed = [name for name, value in made_of.items() if before.get(name) != value]
    # A model that lies elsewhere than it did is looked at only where all else is the same.
    changed = changed or measured.differences(before.get("model") or {})
    if changed:
        say(f"{file}: other {' and '.join(changed)}; measured again")
    return None if changed else found["result"]


def _made_of(given: EvaluationSet, options: Mapping[str, Any], task: str) -> dict[str, Any]:
    """All that the figures of a task depend on but the model; as JSON gives it back."""
    asked = {
        name: value
        for name, value in options.items()
        if name not in _NOT_OF_THE_RESULT and task in _OF_SOME_TASKS.get(name, TASKS)
    }
    groups, train = given.groups, given.train
    described = {
        "classes": given.classes,
        "templates": given.templates,
        "groups": None if groups is None else [str(group) for group in groups],
        "train": None if train is None else str(getattr(train, "fingerprint", train)),
    }
    described = {
        name: value for name, value in described.items() if task in _OF_SOME_TASKS.get(name, TASKS)
    }
    text = json.dumps([described, asked], sort_keys=True, default=str)
    return {
        "data": str(getattr(given.data, "fingerprint", "")),
        "options": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32],
    }


def _single(result: Mapping[str, Any], task: str) -> dict[str, Any]:
    """The part of a result that one task has made."""
    shared = {name: result[name] for name in _SHARED if name in result}
    return {**shared, "options": {**result["options"], "tasks": [task]}, task: result[task]}


def _joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for part in parts:
        joined |= part
    options = joined.get("options", {})
    return joined | {"options": {**options, "tasks": [task for task in TASKS if task in joined]}}


def _place(folder: Path | None, data: str, model: str, task: str) -> Path | None:
    return None if folder is None else folder / _slug(data) / f"{_slug(model)}.{task}.json"


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "-"


def _check_names(kind: str, named: Mapping[str, Any]) -> None:
    if not named:
        raise InvalidArgumentError(f"no {kind} is given; give at least one")
    slugs: dict[str, str] = {}
    for name in named:
        other = slugs.setdefault(_slug(name), name)
        if other != name:
            raise InvalidArgumentError(
                f"the {kind}s {other!r} and {name!r} would be written to the same file; give one "
                "of them another name, as NAME=PATH"
            )


def _read_result(file: Path) -> dict[str, Any] | None:
    """A file of results; None where there is none, or something else."""
    if not file.is_file():
        return None
    value = read_json(file)
    if value.get("format") != _FORMAT:
        return None
    whole = all(isinstance(value.get(name), kind) for name, kind in _FIELDS.items())
    if value.get("version") != _VERSION or not whole:
        raise CorruptError(
            f"{file} is no whole result of version {_VERSION} (it says {value.get('version')!r}); "
            "remove it and evaluate again"
        )
    return value


def results_as_markdown(
    results: Results | str | os.PathLike[str], *, baseline: str | None = None
) -> str:
    """Headline figures of models on data sets, a table a set, with paired differences.

    Args:
        results: what :func:`evaluate_all` returns, data set to model to result, or the folder that
            it wrote.
        baseline: what models are compared with; None: the one called "control", where there is
            one. Where there is none, the text says so.

    Raises:
        InvalidArgumentError: no results; ``baseline`` is none of the models.
    """
    if isinstance(results, (str, os.PathLike)):
        results = read_results(results)
    text = tables_as_markdown(tables(results, baseline=baseline)).strip()
    names = {model.lower() for models in results.values() for model in models}
    controlled = baseline is not None or "control" in names
    return text if controlled else f"{text}\n\n{_NO_CONTROL}"
