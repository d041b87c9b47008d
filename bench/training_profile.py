"""Where the time of a training step on a CPU goes, part by part.

    python bench/training_profile.py --model demo --rows 256 --precision bfloat16 --hard
    python bench/training_profile.py --model ViT-B-32 --rows 16 --operators 15

A run of Trainer on a model from random weights, with clocks around its parts; processor seconds of
the whole process, so that a busy machine counts less. The batches of ``demo`` are augmented as
those of the demo's pre-training are; others are noise in memory. --operators adds the dearest
operators of torch.profiler, from a run of its own. --compare takes the kernels of torch's own
choice (see helip.training.kernels), those of helip, and float32, alternately.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from training_step import Noise, created

from helip.losses import helip_loss
from helip.training import Recipe, Trainer
from helip.training import step as step_module
from helip.training import trainer as trainer_module
from helip_demo.pretraining import MODEL, Batches

_DEMO_ROWS = 512  # pictures that the demo's batches are drawn from


class Parts:
    """Processor seconds of the named parts of each step; a part inside another is its own."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self._open: list[list[Any]] = []  # name, when it began or went on
        self._now: dict[str, float] = defaultdict(float)

    def begin(self, name: str) -> None:
        self._charge()
        self._open.append([name, time.process_time()])

    def end(self) -> None:
        self._charge()
        self._open.pop()
        if self._open:
            self._open[-1][1] = time.process_time()

    def turn(self, name: str) -> None:
        """From here on, what is open goes under another name."""
        self._charge()
        self._open[-1][0] = name

    def step_ends(self) -> None:
        self._charge()
        self.steps.append(dict(self._now))
        self._now.clear()

    def around(self, holder: Any, name: str, part: str) -> Any:
        """A patch that charges calls of ``holder.name`` to ``part``."""
        inner: Callable[..., Any] = getattr(holder, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            self.begin(part)
            try:
                return inner(*arguments, **named)
            finally:
                self.end()

        return patch.object(holder, name, timed)

    def _charge(self) -> None:
        if self._open:
            name, began = self._open[-1]
            now = time.process_time()
            self._now[name] += now - began
            self._open[-1][1] = now


class DemoBatches(Batches):
    """The demo's augmented batches; every other row is a hard pair of the one before, if asked."""

    def __init__(self, options: argparse.Namespace, model: Any) -> None:
        generator = torch.Generator().manual_seed(0)
        side, rows = MODEL["vision_cfg"]["image_size"], max(_DEMO_ROWS, options.rows)
        images = torch.randint(0, 256, (rows, 3, side, side), generator=generator)
        text = torch.randint(1, 60, (rows, model.context_length), generator=generator)
        passes = -(-options.steps // (rows // options.rows))
        super().__init__(
            images.to(torch.uint8), text, batch_size=options.rows, passes=passes, seed=0,
            mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25),
        )  # fmt: skip
        self._hard = options.hard

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            if self._hard:
                batch["target"] = batch["target"] // 2 * 2
            yield batch


def made(options: argparse.Namespace, folder: str) -> Trainer:
    bundle = created(options.model)
    demo = options.model == "demo"
    loader: Any = (
        DemoBatches(options, bundle.model) if demo else Noise(options, bundle.model, options.hard)
    )
    return Trainer(
        bundle, loader, out=Path(folder), device="cpu", progress=False, steps=options.steps,
        recipe=Recipe(precision=options.precision, gamma=1.0 if options.hard else 0.0),
        checkpoint_every=None, keep=1,
    )  # fmt: skip


def measured(options: argparse.Namespace) -> dict[str, Any]:
    parts = Parts()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if options.torch_kernels:
            nothing = {"attention_kernel": lambda *_, **__: contextlib.nullcontext()}
            stack.enter_context(patch.multiple(step_module, **nothing))
            stack.enter_context(patch.object(trainer_module, "takes_channels_last", _never))
        trainer = made(options, folder)
        _with_clocks(trainer, parts)
    # The last step has the checkpoint of the end.
    counted = parts.steps[options.warm : -1]
    names = {name: None for step in counted for name in step}
    of = {name: sum(step.get(name, 0.0) for step in counted) / len(counted) for name in names}
    saving = parts.steps[-1]["checkpoint"]
    total = sum(of.values())
    least = min(sum(step.values()) for step in counted)
    return {
        "step": total,
        "least": least,
        "parts": of,
        "checkpoint": saving,
        "shares": _shares(of, total),
    }


def _never(*_: Any) -> bool:
    return False


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """The least processor seconds of a step of each side, of alternate runs."""
    sides = {
        f"{precision}, kernels of {who}": {"precision": precision, "torch_kernels": who == "torch"}
        for precision in ("float32", "bfloat16")
        for who in ("torch", "helip")
    }
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.compare):
        for name, side in sides.items():
            found[name].append(measured(argparse.Namespace(**{**vars(options), **side}))["least"])
    return {name: min(seconds) for name, seconds in found.items()}


def _shares(of: dict[str, float], total: float) -> dict[str, float]:
    return {name: seconds / total for name, seconds in sorted(of.items(), key=lambda x: -x[1])}


def _with_clocks(trainer: Trainer, parts: Parts) -> None:
    model, network = trainer.bundle.model, trainer.network
    whole_step, encode = trainer._train_on, trainer.encode
    batches = trainer._batches
    backward = torch.Tensor.backward

    def drawn(*arguments: Any) -> Any:
        inner = batches(*arguments)
        while True:
            parts.begin("data")
            batch = next(inner, None)
            parts.end()
            if batch is None:
                return
            yield batch

    def stepped(*arguments: Any) -> None:
        parts.begin("the rest: batch, numbers, log")
        whole_step(*arguments)
        parts.end()
        parts.step_ends()

    def encoded(batch: Any) -> Any:
        out = encode(batch)
        # The tower that was built last goes back first.
        out["text_features"].register_hook(lambda _: parts.turn("text tower, backward"))
        out["image_features"].register_hook(lambda _: parts.turn("image tower, backward"))
        return out

    def timed_backward(loss: Any, *arguments: Any, **named: Any) -> None:
        parts.begin("losses, backward")
        backward(loss, *arguments, **named)
        parts.end()

    saving = parts.around(trainer, "_save", "checkpoint")
    with (
        saving,
        patch.object(trainer, "_batches", drawn),
        patch.object(trainer, "_train_on", stepped),
        patch.object(trainer, "encode", encoded),
        patch.object(torch.Tensor, "backward", timed_backward),
        parts.around(model, "encode_image", "image tower, forward"),
        parts.around(model, "encode_text", "text tower, forward"),
        parts.around(trainer.loss, "forward", "CLIP loss, forward"),
        parts.around(helip_loss, "margin_loss", "margin loss, forward"),
        parts.around(network, "gradient_norm", "gradients' norm"),
        parts.around(network, "clip_gradients", "clipping"),
        parts.around(step_module, "step_unless", "optimizer"),
    ):
        trainer.run()
        parts.step_ends()
    # The checkpoint of the end stands by itself; it belongs to the last step.
    parts.steps[-2:] = [parts.steps[-2] | parts.steps[-1]]


def operators(options: argparse.Namespace) -> str:
    with tempfile.TemporaryDirectory() as folder:
        trainer = made(options, folder)
        whole_step, taken = trainer._train_on, [0]
        profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])

        def stepped(*arguments: Any) -> None:
            if taken[0] == options.warm:
                profiler.start()
            whole_step(*arguments)
            taken[0] += 1
            if taken[0] == options.steps:
                profiler.stop()

        with patch.object(trainer, "_train_on", stepped):
            trainer.run()
    table: str = profiler.key_averages().table(
        sort_by="self_cpu_time_total", row_limit=options.operators, max_name_column_width=48
    )
    return table


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo", help="demo, tiny, or a name of open_clip")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--warm", type=int, default=3, help="steps that do not count")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--hard", action="store_true", help="hard pairs and the margin loss")
    parser.add_argument("--operators", type=int, default=0, help="so many of torch.profiler")
    parser.add_argument("--compare", type=int, default=0, help="so many runs of each side")
    parser.add_argument("--torch-kernels", action="store_true", help="those of torch's own choice")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.device = "cpu"
    return options


def main() -> None:
    options = parsed()
    if options.compare:
        result = compare(options)
        for name, seconds in result.items():
            print(f"{name:>28} {seconds:8.3f} processor seconds a step")
    else:
        result = shown(options)
    if options.out:
        options.out.write_text(json.dumps(result, indent=2))


def shown(options: argparse.Namespace) -> dict[str, Any]:
    """What `measured` found, printed."""
    result = measured(options)
    print(f"{result['step']:.3f} processor seconds a step; a checkpoint {result['checkpoint']:.3f}")
    for name, share in result["shares"].items():
        print(f"{name:>32} {share:7.2%} {result['parts'][name] * 1e3:10.2f} ms")
    if options.operators:
        print(operators(options))
    return result


if __name__ == "__main__":
    main()
