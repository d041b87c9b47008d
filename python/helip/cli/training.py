"""The command of fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from helip.cli.options import AsJson, Device, Quiet, Seed
from helip.cli.showing import (
    draw_training,
    duration_words,
    figure,
    print_json,
    say,
    show_account,
    show_table,
)
from helip.common.errors import InvalidArgumentError


def train(
    data: Annotated[str, typer.Argument(help="What was embedded.")],
    model: Annotated[str, typer.Option(help="Name, configuration or folder.")],
    out: Annotated[Path, typer.Option(help="Checkpoints and metrics.")],
    pairs: Annotated[Path | None, typer.Option(help="Table of hard pairs.")] = None,
    stream: Annotated[int | None, typer.Option(min=1, help="No table: rows kept.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Weights to start from.")] = None,
    epochs: Annotated[int, typer.Option(min=1)] = 2,
    batch_size: Annotated[int, typer.Option(min=1, help="All rows.")] = 256,
    hard_per_target: Annotated[int, typer.Option(min=0)] = 1,
    loss: Annotated[str, typer.Option(help="clip or siglip.")] = "clip",
    strategy: Annotated[str, typer.Option(help="Such as shared or walk.")] = "auto",
    temperature: Annotated[float | None, typer.Option(help="Lower draws harder pairs.")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Such as epochs=2,rank_max=10,shape=cosine.")
    ] = None,
    targets_per_batch: Annotated[int | None, typer.Option(help="shared, walk: targets.")] = None,
    order: Annotated[str, typer.Option(help="rows or blocks.")] = "rows",
    gamma: Annotated[float, typer.Option(help="Weight of the margin loss.")] = 1.0,
    margin: float = 0.0,
    direction: Annotated[str, typer.Option(help="preserve or repel.")] = "preserve",
    space: Annotated[str, typer.Option(help="cross or intra.")] = "cross",
    lr: float = 1e-5,
    lora: Annotated[int | None, typer.Option(min=1, help="Rank: train thin matrices.")] = None,
    lock_image: Annotated[bool, typer.Option("--lock-image", help="Freeze that tower.")] = False,
    lock_text: Annotated[bool, typer.Option("--lock-text", help="Freeze that tower.")] = False,
    layer_decay: Annotated[float | None, typer.Option(help="Rate a layer deeper.")] = None,
    ema: Annotated[float | None, typer.Option(help="Average of weights, such as 0.999.")] = None,
    wise_ft: Annotated[float | None, typer.Option(help="Also write a mixture.")] = None,
    precision: Annotated[str, typer.Option(help="Or bfloat16, float16.")] = "float32",
    accumulate: Annotated[int, typer.Option(min=1, help="Parts a batch.")] = 1,
    parallel: Annotated[str, typer.Option(help="Or fsdp.")] = "ddp",
    grad_checkpointing: Annotated[bool, typer.Option("--grad-checkpointing")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="By torch.compile.")] = False,
    log_to: Annotated[list[str] | None, typer.Option(help="tensorboard, wandb.")] = None,
    device: Device = "auto",
    workers: Annotated[int | None, typer.Option(min=0, help="Threads or processes.")] = None,
    seed: Seed = 0,
    control: Annotated[
        bool, typer.Option("--control", help="As many steps, no hard pairs, no margin loss.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune with hard pairs and the margin loss; the same call resumes."""
    import helip
    from helip.common.processes import launched_rank
    from helip.models.bundle import create_model

    if stream is not None and pairs is not None:
        raise InvalidArgumentError("--stream mines while training; give no --pairs to it")
    bundle = create_model(model, checkpoint=checkpoint, device="cpu")
    result = helip.train(
        model=bundle, data=data, out=out,
        pairs=pairs if stream is None else helip.StreamingMiner(memory=stream), epochs=epochs,
        batch_size=batch_size, hard_per_target=hard_per_target, strategy=strategy,
        temperature=temperature,
        schedule=None if schedule is None else helip.HardnessSchedule.parse(schedule),
        targets_per_batch=targets_per_batch, order=order, loss=loss, gamma=gamma,
        margin=margin, direction=direction, space=space, lr=lr, lora=lora, lock_image=lock_image,
        lock_text=lock_text, layer_decay=layer_decay, ema=ema, wise_ft=wise_ft,
        precision=precision, device=device, accumulate=accumulate, parallel=parallel,
        grad_checkpointing=grad_checkpointing, compiled=compiled, log_to=log_to or (),
        workers=workers, seed=seed, control=control, progress=not quiet,
    )  # fmt: skip
    if launched_rank() > 0:  # of the processes, one speaks
        return
    draw_training(out)
    summary = {
        "steps": result.steps,
        "seconds": result.seconds,
        "checkpoint": str(result.checkpoint),
        "metrics": result.metrics,
        "loader": result.loader_stats,
    }
    if as_json:
        print_json(summary)
        return
    say(f"{result.steps:,} steps in {duration_words(result.seconds)}; {result.checkpoint}")
    show_table([(name, figure(value)) for name, value in result.metrics.items()])
    show_account(result.loader_stats)
