"""The commands of fine-tuning: a run, and the recipes that one may name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Gt, Lt
from cyclopts import Parameter

from helip.cli.command import AsJson, Done, Quiet, command, text
from helip.cli.command_line import line_of
from helip.cli.commands.data import named_paths, open_data
from helip.cli.messages import say
from helip.cli.resuming import stopping_between_steps
from helip.cli.showing import (
    figure,
    print_json,
    show_account,
    show_cache,
    show_table,
    show_training_plan,
)
from helip.common.errors import InvalidArgumentError
from helip.common.options import ThreadOptions
from helip.common.quantities import duration_words
from helip.data.options import OpenOptions
from helip.loading.options import BatchOptions, ReadOptions
from helip.models.options import ModelOptions
from helip.training.options import RunOptions
from helip.training.recipe import Recipe

_USUAL = (
    "checkpoint", "from_scratch", "epochs", "steps", "batch_size", "hard_per_target", "strategy",
    "loss", "gamma", "lr", "precision", "lora", "device", "threads", "seed",
)  # fmt: skip


@command(
    ModelOptions, BatchOptions, ReadOptions, Recipe, RunOptions, OpenOptions, ThreadOptions,
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
    stream: Annotated[int | None, text("No table: mine while training, from so many rows.")] = None,
    control: Annotated[bool, text("As many steps, no hard pairs, no margin loss.")] = False,
    wise_ft: Annotated[float | None, Gt(0), Lt(1), text("Also write that mixture.")] = None,
    eval_data: Annotated[Path | None, text("Measured after --eval-every steps.")] = None,
    guard: Annotated[list[str] | None, text("[NAME=]PATH: is it forgotten? Repeatable.")] = None,
    recipe: Annotated[str | None, text("Named settings, see helip recipes.")] = None,
    plan: Annotated[
        bool, Parameter(negative=(), help="Say what it would take; train not.")
    ] = False,
    json: AsJson = False,
    quiet: Quiet = False,
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
        name: open_evaluation_set(path, progress=not quiet)
        for name, path in named_paths("--guard", guard or ()).items()
    }
    dataset, options = open_data(data, options, quiet)
    call: dict[str, Any] = {
        "model": bundle, "data": dataset, "store": store, "out": out, "control": control,
        "wise_ft": wise_ft, "recipe": recipe,
        "verdicts": verdicts and _taken_out(verdicts, dataset),
        "pairs": pairs if stream is None else StreamingMiner(memory=stream),
        "validate": eval_data and Validation(eval_data, device=options["device"]),
        "guard": Guard(sets, device=options["device"]) if sets else None,
        **options,
    }  # fmt: skip
    if plan:
        show_training_plan(plan_training(**call), json)
        return Done()
    if pairs is None and stream is None and launched_rank() <= 0:
        say("no --pairs and no --stream: batches without hard pairs, and no margin loss")
    checkpoints = list_checkpoints(out / CHECKPOINTS)
    if checkpoints and options["resume"] and launched_rank() <= 0:
        say(f"goes on from {checkpoints[0][1]}")
    with stopping_between_steps(say) as asked:
        result = train(progress=not quiet, should_stop=asked, **call)
    if launched_rank() > 0:  # of the processes, one speaks
        return Done()
    for failure in result.validation.get("failures", ()):
        say(f"validation failed at step {failure['step']}: {failure['message']}")
    for failure in result.guard.get("failures", ()):
        say(f"the guard failed at step {failure['step']}: {failure['message']}")
    summary = {
        "validation": result.validation,
        "guard": result.guard,
        "steps": result.steps,
        "seconds": result.seconds,
        "checkpoint": str(result.checkpoint),
        "precision": result.precision,
        "strategy": result.strategy,
        "metrics": result.metrics,
        "loader": result.loader_stats,
        "cache": result.cache,
    }
    if json:
        print_json(summary)
    else:
        _show_run(result)
    return Done(out, line_of("eval", data=[eval_data or "DATA"], model=[result.checkpoint]))


def _taken_out(verdicts: Path, dataset: Any) -> Any:
    """What people took out of the data; said before a run, which takes long."""
    from helip.common.processes import launched_rank
    from helip.verdicts.opening import exclusions_of

    found = exclusions_of(verdicts, len(dataset), dataset.fingerprint)
    if launched_rank() <= 0:
        say(f"left out by verdicts: pairs {len(found.pairs):,}, rows {len(found.rows):,}")
    return found


def _show_run(result: Any) -> None:
    """What a run has come to."""
    took = f"{duration_words(result.seconds)}, {result.precision}"
    took += f", {result.strategy}" if result.strategy else ""
    say(f"{result.steps:,} steps in {took}; {result.checkpoint}")
    show_table([(name, figure(value)) for name, value in result.metrics.items()])
    show_account(result.loader_stats)
    show_cache(result.cache)
    if "words" in result.guard:
        print(result.guard["words"])


@command()
def recipes(
    name: Annotated[str | None, text("One of them; all without.")] = None,
    /,
    *,
    json: AsJson = False,
) -> None:
    """List the named recipes of helip train: each value, its reason and where that comes from."""
    from helip.training.named_recipes import recipe_named, recipes

    wanted = recipes() if name is None else (recipe_named(name),)
    if json:
        print_json([dataclasses.asdict(recipe) for recipe in wanted])
        return
    for recipe in wanted:
        print(f"{recipe.label}: {recipe.purpose}")
        for settings, command_name in ((recipe.settings, ""), (recipe.mining, "helip mine: ")):
            show_table(
                [
                    (f"  {command_name}{each.option} = {each.value}", f"{each.why} [{each.origin}]")
                    for each in settings
                ]
            )
        if recipe.advice:
            print(f"  {recipe.advice}")
        print()
