"""The guard against forgetting: general sets before and after, and against the equal-step control.

Fine-tuning on a small set can cost what the model knew. Whether it did is a question of paired
differences on data that has nothing to do with that set: tuned − start says what was lost, control
− start what any training of that length costs, tuned − control what the hard pairs add to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Lt

from helip.common.errors import Error, InvalidArgumentError
from helip.common.options import Positive, check, method_keywords
from helip.evaluation.evaluating import ValidationCall, evaluate
from helip.evaluation.figures import Line, figure_at, figures_of, in_percent
from helip.evaluation.statistics.comparison import compare_jointly
from helip.models.bundle import ModelBundle

#: A share of the queries.
Tolerance = Annotated[float, Ge(0.0), Lt(1.0)]
TOLERANCE = 0.01
ROLES = ("start", "control", "tuned")
CHANGES = ("change", "control_change", "against_control")


def forgetting(
    start: Mapping[str, Any],
    control: Mapping[str, Any],
    tuned: Mapping[str, Any],
    *,
    name: str = "HELIP",
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """Compare three results of ``evaluate`` with ``keep_ranks=True`` on the same general set.

    Of each headline figure (recall@1 of both directions, top-1 and mean per class, text, image and
    group score): the paired differences ``change`` (tuned − start), ``control_change`` (control −
    start) and ``against_control`` (tuned − control), and a ``verdict``:

    - ``"lost"``: the interval of the change lies below zero;
    - ``"kept"``: it does not, and rules out a loss of more than ``tolerance`` (0.01: one point);
    - ``"undecided"``: a larger loss is possible, the set is too small to tell; or the start's
      figure is no larger than ``tolerance``, so that there is nothing to lose.

    The intervals of one kind of change hold for all figures together at 95 %, so that "lost" is
    said of a model that lost nothing in less than 5 % of samples, however many figures there are.
    The ``verdict`` of all is "lost" where one is, else "undecided" where one is. ``words`` says it
    in sentences in which the tuned model goes by ``name``. Raises MismatchError where the results
    answer different queries.
    """
    check("tolerance", tolerance, Tolerance)
    lines, draws = headlines(tuned), draws_of(tuned)
    pairs = ((tuned, start), (control, start), (tuned, control))
    paths = [line.path for line in lines]
    changes = {
        change: compare_jointly([(a, b, paths)], **draws)[0]
        for change, (a, b) in zip(CHANGES, pairs, strict=True)
    }
    models = dict(zip(ROLES, (start, control, tuned), strict=True))
    figures = _judged(lines, models, changes, tolerance)
    overall = worst(figure["verdict"] for figure in figures)
    return {
        "verdict": overall,
        "tolerance": tolerance,
        "words": " ".join(
            [head_of(name, overall, tolerance), *(_sentence(name, each) for each in figures)]
        ),
        "figures": figures,
    }


def roles(models: Mapping[str, Any]) -> tuple[str, str, str]:
    """Of three named models: "start", "control", and the name of the tuned one."""
    start = [name for name in models if name.lower() == "start"]
    control = [name for name in models if name.lower() == "control"]
    tuned = [name for name in models if name not in (*start, *control)]
    if not (len(start) == len(control) == len(tuned) == 1):
        raise InvalidArgumentError(
            f"the guard compares a start, a control and a tuned model, and these are "
            f"{', '.join(models)}; name them start, control and, say, HELIP (NAME=PATH)"
        )
    return start[0], control[0], tuned[0]


def headlines(result: Mapping[str, Any]) -> list[Line]:
    """The figures of a result that a verdict is of."""
    lines = [line for line, _ in figures_of(result) if line.short]
    if not lines:
        raise InvalidArgumentError("the results hold no figures; pass what evaluate returned")
    return lines


def draws_of(result: Mapping[str, Any]) -> dict[str, int]:
    """The resamples that a result was measured with."""
    asked = result.get("options", {})
    draws = {"bootstrap": asked.get("bootstrap", 1000), "seed": asked.get("seed", 0)}
    if not draws["bootstrap"]:
        raise InvalidArgumentError(
            "the results were made with bootstrap=0, and a verdict needs intervals; evaluate with "
            "1,000 resamples"
        )
    return draws


def _judged(
    lines: Sequence[Line],
    models: Mapping[str, Mapping[str, Any]],
    changes: Mapping[str, Sequence[dict[str, Any]]],
    tolerance: float,
) -> list[dict[str, Any]]:
    """Each figure of the models, by role, and of the changes between them, with its verdict."""
    figures: list[dict[str, Any]] = []
    for number, line in enumerate(lines):
        found: dict[str, Any] = {role: figure_at(each, line.path) for role, each in models.items()}
        found |= {name: change[number] for name, change in changes.items()}
        verdict = verdict_of(found["change"], found["start"], tolerance)
        named = {"figure": line.short, "path": list(line.path)}
        figures.append({**named, **found, "verdict": verdict})
    return figures


def verdict_of(change: Mapping[str, Any], start: Mapping[str, Any] | None, tolerance: float) -> str:
    """What the interval of a change says, where the start model's figure is ``start``."""
    if change["high"] < 0:
        return "lost"
    if start is not None and start["value"] <= tolerance:
        return "undecided"
    return "kept" if change["low"] >= -tolerance else "undecided"


def worst(verdicts: Iterable[str]) -> str:
    """The verdict of all."""
    said = set(verdicts)
    return next((word for word in ("lost", "undecided") if word in said), "kept")


def head_of(name: str, overall: str, tolerance: float) -> str:
    """The verdict of all, as a sentence."""
    return {
        "lost": f"{name} has lost some of what the start model could do.",
        "kept": f"{name} has kept what the start model could do: on every figure a loss of more "
        f"than {100 * tolerance:g} points is ruled out.",
        "undecided": f"No loss of {name} is shown, but one of more than {100 * tolerance:g} points "
        "is not ruled out: the set is too small to tell, or the start model cannot do it either.",
    }[overall]


def _sentence(name: str, figure: Mapping[str, Any]) -> str:
    against = figure["against_control"]

    def points(change: str) -> str:
        return in_percent(figure[change], signed=True)

    if against["high"] < 0:
        rank = f"{name} is worse than the control"
    elif against["low"] > 0:
        rank = f"{name} is better than the control"
    else:
        rank = "the two are not told apart"
    return (
        f"{figure['figure']}: {points('change')} against the start, the control "
        f"{points('control_change')}; {rank}."
    )


def retention(
    start: Mapping[str, Mapping[str, Any]],
    tuned: Mapping[str, Mapping[str, Any]],
    *,
    name: str = "the tuned model",
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """Compare ``{set: result of evaluate(keep_ranks=True)}`` of two models, without a control.

    As `forgetting` does, but for the control: each headline figure of each set has ``start``,
    ``tuned``, their paired difference ``change`` and a ``verdict``. The intervals of all figures of
    all sets hold together at 95 % (max-T), so that some loss is stated of a model that lost nothing
    in less than 5 % of samples. Raises InvalidArgumentError where the sets are not the same, and
    MismatchError where the results of one answer different queries.
    """
    check("tolerance", tolerance, Tolerance)
    if not tuned or list(start) != list(tuned):
        raise InvalidArgumentError(
            f"the start was measured on {list(start)} and the tuned model on {list(tuned)}; "
            "measure both on the same sets"
        )
    lines = {title: headlines(result) for title, result in tuned.items()}
    changes = compare_jointly(
        [(tuned[t], start[t], [line.path for line in lines[t]]) for t in tuned],
        **draws_of(next(iter(tuned.values()))),
    )
    sets: dict[str, Any] = {}
    for title, change in zip(tuned, changes, strict=True):
        models = {"start": start[title], "tuned": tuned[title]}
        figures = _judged(lines[title], models, {"change": change}, tolerance)
        sets[title] = {"verdict": worst(f["verdict"] for f in figures), "figures": figures}
    overall = worst(each["verdict"] for each in sets.values())
    sentences = [
        f"{title}, {figure['figure']}: {_level(figure['start'])} % at the start, "
        f"{_level(figure['tuned'])} % now, {in_percent(figure['change'], signed=True)} points, "
        f"{figure['verdict']}."
        for title, each in sets.items()
        for figure in each["figures"]
    ]
    words = " ".join([head_of(name, overall, tolerance), *sentences])
    return {"verdict": overall, "tolerance": tolerance, "words": words, "sets": sets}


def _level(figure: Mapping[str, Any] | None) -> str:
    return "?" if figure is None else f"{100 * figure['value']:.1f}"


@dataclass(frozen=True, kw_only=True)
class GuardCall(ValidationCall):
    """What a Guard is made of."""

    data: Any = field(kw_only=False)
    """What evaluate takes, or a mapping of a name to that for several sets; such as general data
    that have nothing to do with those of the run."""
    tolerance: Tolerance = TOLERANCE
    """The loss that a figure must rule out to be called kept; 0.01 is one point."""
    bootstrap: Positive = 1000
    """Resamples of an interval, which a verdict needs."""
    keep_ranks: bool = True
    """Always: what is compared is each query's outcome."""


class Guard:
    """``helip.train(guard=helip.Guard(data))``: has the tuned model lost what the start could do?

    Takes what `evaluate` takes but a model; other options are those of all sets, so sets of
    different kinds are made by `open_evaluation_set`.
    """

    @method_keywords(GuardCall)
    def __init__(self, call: GuardCall) -> None:
        options = call.as_dict() | {"keep_ranks": True}
        self._tolerance, data = options.pop("tolerance"), options.pop("data")
        self._options = options
        if not isinstance(data, Mapping):
            named = isinstance(data, (str, os.PathLike))
            data = {os.fspath(data) if named else "general": data}
        self.sets: dict[str, Any] = dict(data)

    def measure(self, bundle: ModelBundle) -> dict[str, Any]:
        """What `evaluate` says of the model on each set, with each query's outcome."""
        found = {}
        for name, data in self.sets.items():
            try:
                found[name] = evaluate(**{**self._options, "model": bundle, "data": data})
            except Error as error:
                raise Error(f"set {name!r}: {error}") from error
        return found

    def compare(self, start: Mapping[str, Any], tuned: Mapping[str, Any]) -> dict[str, Any]:
        """One joint statement of all sets from two results of `measure`; see `retention`."""
        return retention(start, tuned, tolerance=self._tolerance)
