"""The experiments: for each, what is varied, named as the tables of docs/results-emoji.md name it.

A variant is a fine-tuning run but for its seed: ``start`` (the kind of model), ``pool`` (how hard
pairs are mined, see pools.py; or ``{"memory": rows}``, mined while training) and ``train`` (options
of `helip.train` that differ from the default recipe). Runs are kept by what they do, not by their
name, so that one run serves all experiments that it stands in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import setting
from experiment import Experiment

UNTUNED: dict[str, Any] = {"steps": 0}  # the start model itself
CONTROL: dict[str, Any] = {"control": True}


@dataclass(frozen=True)
class Variant:
    name: str
    train: dict[str, Any] = field(default_factory=dict)
    pool: dict[str, Any] = field(default_factory=lambda: dict(setting.POOL))
    start: str = "clip"
    against: str | None = None  # name of the variant that it is compared with


@dataclass(frozen=True)
class EmojiExperiment(Experiment):
    unseen: bool = False  # the table has the stamps, too
    mining: bool = False  # and how many of the pairs are those of exact pools


def _pool(**options: Any) -> dict[str, Any]:
    return {**setting.POOL, **options}


_HELIP = Variant("HELIP")
_CONTROL = Variant("control", CONTROL)
_SLIP = {"start": "slip"}
_LORA = {"lora": 8, "lr": 1e-3}
_TEXT_TOWER = {"lock_image": True}
_ROWS = setting.FINETUNE["steps"] * setting.FINETUNE["batch_size"]
_BATCHES: dict[str, dict[str, Any]] = {
    f"{rows} rows": {"batch_size": rows, "steps": _ROWS // rows} for rows in (16, 256)
}

EXPERIMENTS: dict[str, EmojiExperiment] = {
    "clip": EmojiExperiment(
        "CLIP: start, control, HELIP",
        (_CONTROL, Variant("start", UNTUNED), _HELIP),
        seeds=(0, 1, 2, 3, 4),
        unseen=True,
    ),
    "slip": EmojiExperiment(
        "SLIP: start, control, HELIP",
        (
            Variant("control", CONTROL, **_SLIP),
            Variant("start", UNTUNED, **_SLIP),
            Variant("HELIP", **_SLIP),
        ),
        unseen=True,
    ),
    "pools": EmojiExperiment(
        "Which pairs are hard: HPM against other pools",
        (
            _CONTROL,
            Variant("random pairs", pool=_pool(method="random")),
            Variant("hardest in batch", pool=_pool(method="in-batch", k=1)),
            Variant("image only", pool=_pool(modality="image")),
            Variant("text only", pool=_pool(modality="text")),
            Variant("HPM", pool=_pool()),
        ),
        mining=True,
    ),
    "margin": EmojiExperiment(
        "The margin loss, with the hard pairs held constant",
        (
            Variant("γ = 0", {"gamma": 0.0}),
            Variant("γ = 0.1", {"gamma": 0.1}),
            Variant("γ = 1", {"gamma": 1.0}),
            Variant("γ = 10", {"gamma": 10.0}),
            Variant("γ = 1, repel", {"direction": "repel"}),
            Variant("γ = 1, within modalities", {"space": "intra"}),
        ),
    ),
    "encoders": EmojiExperiment(
        "Whose features are mined",
        (
            _CONTROL,
            Variant("unimodal encoders"),
            Variant("the CLIP's own towers", pool=_pool(features="own")),
        ),
        mining=True,
    ),
    "methods": EmojiExperiment(
        "How pools are mined",
        (
            _CONTROL,
            Variant("exact"),
            *(
                Variant(f"sample, {share} %", pool=_pool(method="sample", share=share / 100))
                for share in (10, 30, 50)
            ),
            *(
                Variant(f"streaming, {rows:,} rows", {"short": "random"}, {"memory": rows})
                for rows in (1024, 4096)
            ),
            Variant("hnsw", pool=_pool(method="hnsw")),
            Variant("partition", pool=_pool(method="partition")),
        ),
        mining=True,
    ),
    "sizes": EmojiExperiment(
        "Hard pairs a target (p) and pool size (k)",
        (
            _CONTROL,
            Variant("p = 1, k = 50"),
            Variant("p = 2, k = 50", {"hard_per_target": 2}),
            Variant("p = 3, k = 50", {"hard_per_target": 3}),
            Variant("p = 1, k = 10", {"rank_max": 10}),
            Variant("p = 1, k = 200", pool=_pool(k=200)),
        ),
    ),
    "lora": EmojiExperiment(
        "All weights against LoRA",
        (
            _CONTROL,
            _HELIP,
            Variant("LoRA, control", {**CONTROL, **_LORA}),
            Variant("LoRA, HELIP", _LORA, against="LoRA, control"),
            Variant("text tower, control", {**CONTROL, **_TEXT_TOWER}),
            Variant("text tower, HELIP", _TEXT_TOWER, against="text tower, control"),
        ),
    ),
    "batches": EmojiExperiment(
        "Rows of a batch",
        (
            Variant("64 rows, control", CONTROL),
            Variant("64 rows, HELIP"),
            *(
                variant
                for name, train in _BATCHES.items()
                for variant in (
                    Variant(f"{name}, control", {**CONTROL, **train}),
                    Variant(f"{name}, HELIP", train, against=f"{name}, control"),
                )
            ),
        ),
    ),
}
