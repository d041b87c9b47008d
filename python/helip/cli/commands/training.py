"""The commands of fine-tuning: a run, and the recipes that one may name."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Gt, Lt
from cyclopts import Parameter

from helip.cli.command import Done, command, text
from helip.cli.commands.data import named_paths, open_data
from helip.cli.messages import say
from helip.cli.resuming import stopping_between_steps
from helip.cli.showing import account_text, cache_rows, figure, show_training_plan
from helip.cli.wording import line_of
from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.options import ThreadOptions
from helip.common.quantities import aligned, duration_words
from helip.data.options import OpenOptions
from helip.loading.options import BatchOptions, ReadOptions
from helip.models.options import ModelOptions
from helip.training.options import OwnPoolOptions, RunOptions
from helip.training.recipe import Recipe

_USUAL = (
    "checkpoint", "from_scratch", "pools", "epochs", "steps", "batch_size",
    "hard_per_target", "strategy", "loss", "gamma", "lr", "precision", "lora", "device", "seed",
)  # fmt: skip


@command(
    ModelOptions, BatchOptions, ReadOptions, Recipe, OwnPoolOptions, RunOptions, OpenOptions,
    ThreadOptions,
    usual=_USUAL,
)  # fmt: skip
def train(
    data: Annotated[str, text("What was embedded.")],
    /,
    *,
    model: Annotated[str, text("Name, configuration or folder.")],
    out: Annotated[Path, text("Checkpoints and metrics.")],
    pairs: Annotated[Path | None, text("Table of hard pairs.")] = None,
    store: Annotated[Path | None, text("Embeddings of DATA, for --similar-captions.")] = None,
    verdicts: Annotated[Path | None, text("What people said of pairs: none they took out.")] = None,
    soft_labels: Annotated[Path | None, text("What helip label wrote of DATA.")] = None,
    stream: Annotated[int | None, text("No table: mine while training, from so many rows.")] = None,
    control: Annotated[bool, text("As many steps, no hard pairs, no margin loss.")] = False,
    wise_ft: Annotated[float | None, Gt(0), Lt(1), text("Also write that mixture.")] = None,
    teacher: Annotated[Path | None, text("For --distill: DATA embedded by the teacher.")] = None,
    eval_data: Annotated[Path | None, text("Measured after --eval-every steps.")] = None,
    guard: Annotated[list[str] | None, text("[NAME=]PATH: is it forgotten? Repeatable.")] = None,
    recipe: Annotated[str | None, text("Named settings, see helip recipes.")] = None,
    plan: Annotated[
        bool, Parameter(negative=(), help="Say what it would take; train not.")
    ] = False,
    json: bool = False,
    **options: Any,
) -> Done:
    """Train with hard pairs and the margin loss; the same call resumes."""
    if stream is not None and pairs is not None:
        raise InvalidArgumentError(
            f"--stream {stream} mines while training, and --pairs {pairs} is mined already; give "
            "no --pairs, or no --stream"
        )

    from helip.common.processes import launched_rank
    from helip.evaluation.evaluating import Validation
    from helip.evaluation.sets.opening import open_evaluation_set
    from helip.evaluation.statistics.forgetting import Guard
    from helip.losses.loss import BatchLoss
    from helip.losses.options import LossOptions
    from helip.mining.streaming import StreamingMiner
    from helip.models.bundle import create_model
    from helip.models.run_folder import CHECKPOINTS, list_checkpoints
    from helip.training.fine_tuning import train
    from helip.training.plan import plan_training

    # Before the data are opened, so that a wrong name is told at once.
    BatchLoss(options["loss"], LossOptions())
    weights = {field.name: options.pop(field.name) for field in dataclasses.fields(ModelOptions)}
    # A random start is of the run's seed, as in Python.
    seed = {"seed": options["seed"]} if weights["from_scratch"] else {}
    bundle = create_model(model, **weights, **seed)
    sets = {
        name: open_evaluation_set(path, progress=options["progress"])
        for name, path in named_paths("--guard", guard or ()).items()
    }
    dataset, options = open_data(data, options)
    call: dict[str, Any] = {
        "model": bundle, "data": dataset, "store": store, "out": out, "control": control,
        "wise_ft": wise_ft, "recipe": recipe, "teacher": teacher,
        "soft_labels": soft_labels,
        "verdicts": verdicts and _taken_out(verdicts, dataset),
        "pairs": pairs if stream is None else StreamingMiner(memory=stream),
        "validate": eval_data and Validation(eval_data, device=options["device"]),
        "guard": Guard(sets, device=options["device"]) if sets else None,
        **options,
    }  # fmt: skip
    if plan:
        show_training_plan(plan_training(**call), json)
        return Done()
    if pairs is None and stream is None and not options["pools"] and launched_rank() <= 0:
        say("no --pairs and no --stream: batches without hard pairs, and no margin loss")
    checkpoints = list_checkpoints(out / CHECKPOINTS)
    if checkpoints and options["resume"] and launched_rank() <= 0:
        say(f"goes on from {checkpoints[0][1]}")
    with stopping_between_steps() as asked:
        result = train(should_stop=asked, **call)
    if launched_rank() > 0:  # of the processes, one speaks
        return Done()
    _draw_curves(out)
    for name, measured in (("validation", result.validation), ("the guard", result.guard)):
        for failure in measured.get("failures", ()):
            say(f"{name} failed at step {failure['step']}: {failure['message']}")
    names = (
        "validation", "guard", "warm_statistics", "steps", "seconds", "precision", "strategy",
        "metrics", "cache", "pools",
    )  # fmt: skip
    facts = {name: getattr(result, name) for name in names}
    facts |= {"checkpoint": str(result.checkpoint), "loader": result.loader_stats}
    took = f"{duration_words(result.seconds)}, {result.precision}"
    took += f", {result.strategy}" if result.strategy else ""
    took += _pools_time(result.pools)
    return Done(
        out, line_of("eval", data=[eval_data or "DATA"], model=[result.checkpoint]),
        facts=facts, text=_run_text(result),
        said=[f"{result.steps:,} steps in {took}; {result.checkpoint}"],
    )  # fmt: skip


def _pools_time(pools: Any) -> str:
    """What own pools have cost beside the training."""
    if not pools:
        return ""
    encode, mine = (
        duration_words(sum(each[name] for each in pools))
        for name in ("encode_seconds", "mine_seconds")
    )
    return f", and beside it {encode} of encoding and {mine} of mining"


def _draw_curves(run: Path) -> None:
    """``curves.png`` beside the metrics of a run, where matplotlib is installed."""
    from helip.reporting import plot_curves, save_figure
    from helip.training.metrics import read_metrics

    with contextlib.suppress(UnsupportedError):
        save_figure(
            plot_curves({run.name: read_metrics(run / "metrics.jsonl")}), run / "curves.png"
        )


def _taken_out(verdicts: Path, dataset: Any) -> Any:
    """What people took out of the data; said before a run, which takes long."""
    from helip.common.processes import launched_rank
    from helip.verdicts.verdicts import exclusions_of

    found = exclusions_of(verdicts, len(dataset), dataset.fingerprint)
    if launched_rank() <= 0:
        say(f"left out by verdicts: pairs {len(found.pairs):,}, rows {len(found.rows):,}")
    return found


def _run_text(result: Any) -> str:
    """What a run has come to."""
    words = [
        aligned([(name, figure(value)) for name, value in result.metrics.items()]),
        account_text(result.loader_stats),
        aligned(cache_rows(result.cache)),
        result.guard.get("words", ""),
    ]
    return "\n".join(filter(None, words))


@command()
def recipes(
    name: Annotated[str | None, text("One of them; all without.")] = None,
    /,
) -> Done:
    """List the named recipes of helip train: each value, its reason and where that comes from."""
    from helip.training.named_recipes import recipe_named, recipes

    wanted = recipes() if name is None else (recipe_named(name),)
    lines = []
    for recipe in wanted:
        lines.append(f"{recipe.label}: {recipe.purpose}")
        for settings, command_name in ((recipe.settings, ""), (recipe.mining, "helip mine: ")):
            cells = [
                (f"  {command_name}{each.option} = {each.value}", f"{each.why} [{each.origin}]")
                for each in settings
            ]
            lines += filter(None, [aligned(cells)])
        lines += [f"  {recipe.advice}\n" if recipe.advice else ""]
    return Done(facts=[dataclasses.asdict(recipe) for recipe in wanted], text="\n".join(lines))
