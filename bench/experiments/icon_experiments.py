"""The experiments on icons: for each, what is varied, named as the tables name it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from experiment import Experiment
from icon_trials import Trial


@dataclass(frozen=True)
class IconExperiment(Experiment):
    part: str = "test"
    """Of the held-out pictures: "validation" where something is chosen by it."""


EIGHT = "communities of 8"
# The learning rate is the best of "icons-lr" or near it, for control and communities.
HEADS: dict[str, Any] = {"steps": 1280, "lr": 1e-3}
# As "icons-towers-lr" has it, for both.
TOWERS: dict[str, Any] = {"steps": 2560, "lr": 3e-3, "epochs": 20, "stage": "towers"}
ALL_TOWERS: dict[str, Any] = {
    "steps": 2560, "lr": 1e-3, "epochs": 6, "stage": "towers", "kind": "all",
}  # fmt: skip
LIT: dict[str, Any] = {"steps": 640, "lr": 1e-3, "stage": "lit"}
SHORT: dict[str, Any] = {"steps": 640, "lr": 1e-3}


def ways(names: Iterable[str], **options: Any) -> tuple[Trial, ...]:
    return tuple(Trial(name, name, **options) for name in names)


def _control(way: str, name: str) -> str:
    """What a trial of a group is compared with: its control, which is compared with nothing."""
    return "" if way == "control" else name


_RATES = (3e-4, 1e-3, 3e-3)

EXPERIMENTS: dict[str, IconExperiment] = {
    "icons-lr": IconExperiment(
        "Icons, heads: learning rates",
        tuple(
            Trial(
                f"{way}, {lr:g}", way, steps=2560, lr=lr, against=_control(way, f"control, {lr:g}")
            )
            for lr in _RATES
            for way in ("control", "HELIP, p = 1", EIGHT)
        ),
        part="validation",
        seeds=(0, 1),
    ),
    "icons-steps": IconExperiment(
        "Icons, heads: steps",
        (
            Trial("control, 640 steps", "control", **SHORT),
            Trial("start", "start"),
            *(
                Trial(
                    f"{way}, {steps:,} steps", way, steps=steps, lr=HEADS["lr"],
                    against=_control(way, f"control, {steps:,} steps"),
                )
                for steps in (640, 2560, 10240)
                for way in ("control", "HELIP, p = 1", EIGHT)
                if (way, steps) != ("control", 640)
            ),
        ),
    ),
    "icons-rivals": IconExperiment(
        "Icons, heads: other ways to make batches, and other losses",
        (
            *ways(("control", "HELIP, p = 1", "HELIP, p = 7", "HELIP, p = 31"), **HEADS),
            Trial("HELIP, p = 1, image pools", "HELIP, p = 1", pool="image", **HEADS),
            *ways(
                ("walks of 8", "walks of 32", "B3, parts of 8", "B3, parts of 32",
                 "B3, parts of 256", EIGHT),
                **HEADS,
            ),
            Trial("FALCON", "FALCON", **HEADS),
            Trial("HN-NCE, beta 0.25", loss={"kind": "hn_nce", "beta": 0.25}, **HEADS),
            Trial("HN-NCE, beta 0.5", loss={"kind": "hn_nce", "beta": 0.5}, **HEADS),
            Trial("debiased, 0.001", loss={"kind": "debiased", "prior": 0.001}, **HEADS),
            *(
                Trial(f"hardest in batch, {weight:g}",
                      loss={"kind": "hardest", "weight": weight, "margin": 0.2}, **HEADS)
                for weight in (0.1, 1.0)
            ),
        ),
    ),
    "icons-communities": IconExperiment(
        "Icons, heads: size of communities, ranks, share of the batch",
        ways(
            ("control", *(f"communities of {rows}" for rows in (2, 4, 8, 16, 32, 64)),
             *(f"{EIGHT}, ranks {r}" for r in ("0 to 10", "10 to 30", "30 to 100", "70 to 100")),
             f"{EIGHT}, half of the batch"),
            **HEADS,
        ),
        part="validation",
    ),
    "icons-pools": IconExperiment(
        "Icons, heads: whose similarity",
        (
            Trial("control", **HEADS),
            *(
                Trial(f"{pool} pools", EIGHT, pool=pool, **HEADS)
                for pool in ("product", "image", "text", "sum", "own")
            ),
            Trial("own pools, mined four times", EIGHT, pool="own", refreshed=4, **HEADS),
        ),
    ),
    "icons-margin": IconExperiment(
        "Icons, heads: the margin loss in communities",
        (
            Trial("γ = 0", EIGHT, **HEADS),
            *(
                Trial(f"γ = {gamma:g}", EIGHT, loss={"gamma": gamma}, **HEADS)
                for gamma in (0.1, 1.0, 10.0)
            ),
            Trial("γ = 1, margin 0.2", EIGHT, loss={"gamma": 1.0, "margin": 0.2}, **HEADS),
            Trial("γ = 1, repel", EIGHT, loss={"gamma": 1.0, "direction": "repel"}, **HEADS),
            Trial(
                "γ = 1, within modalities", EIGHT, loss={"gamma": 1.0, "space": "intra"}, **HEADS
            ),
            Trial("equal captions as negatives", EIGHT, loss={"mask": False}, **HEADS),
        ),
    ),
    "icons-rows": IconExperiment(
        "Icons, heads: rows of a batch",
        tuple(
            Trial(
                f"{rows:,} rows, {way}", way, rows=rows, steps=HEADS["steps"], lr=lr,
                against=_control(way, f"{rows:,} rows, control"),
            )
            for rows, lr in ((256, 1e-3), (64, 5e-4), (1024, 1e-3))
            for way in ("control", "HELIP, p = 1", EIGHT)
        ),
    ),
    "icons-starts": IconExperiment(
        "Icons, heads: what the start knows",
        tuple(
            Trial(
                f"{epochs:g} epochs, {way}", way, epochs=epochs,
                against=_control(way, f"{epochs:g} epochs, control"), **SHORT,
            )
            for epochs in (8, 0, 0.5, 1, 2, 4, 16, 32)
            for way in ("control", "start", EIGHT)
        ),
    ),
    "icons-scratch": IconExperiment(
        "Icons, heads: from random weights",
        (
            Trial("control", epochs=0, **HEADS),
            Trial("HELIP, p = 1", "HELIP, p = 1", epochs=0, **HEADS),
            Trial(EIGHT, EIGHT, epochs=0, **HEADS),
            *(
                Trial(
                    f"{EIGHT}, share from 0 to 1 in {epochs} epochs", EIGHT, epochs=0,
                    loader={"fraction": 0.0, "schedule": {"epochs": epochs, "fraction": 1.0}},
                    **HEADS,
                )
                for epochs in (5, 10, 20)
            ),
            Trial("control, four times the steps", epochs=0, steps=4 * HEADS["steps"], lr=1e-3),
        ),
    ),
    "icons-noise": IconExperiment(
        "Icons, heads: shuffled captions",
        tuple(
            Trial(
                f"{100 * noise:.0f} %, {name}", way, noise=noise, pool=pool,
                against=_control(way, f"{100 * noise:.0f} %, control"), **HEADS,
            )
            for noise in (0.1, 0.3)
            for name, way, pool in (
                ("control", "control", "product"),
                ("product pools", EIGHT, "product"),
                ("image pools", EIGHT, "image"),
                ("text pools", EIGHT, "text"),
            )
        ),
    ),
    "icons-forgetting": IconExperiment(
        "Icons, heads: what is forgotten of another set",
        (
            Trial("control", stamps=True, **HEADS),
            Trial("start", "start", stamps=True, **HEADS),
            Trial(EIGHT, EIGHT, stamps=True, **HEADS),
            Trial(f"{EIGHT}, γ = 1", EIGHT, stamps=True, loss={"gamma": 1.0}, **HEADS),
            *(
                Trial(f"{EIGHT}, distill {weight}", EIGHT, stamps=True,
                      keeping={"distill": weight}, **HEADS)
                for weight in (1, 3)
            ),
            Trial(f"{EIGHT}, wise_ft 0.5", EIGHT, stamps=True, keeping={"wise_ft": 0.5}, **HEADS),
            Trial("control, distill 1", stamps=True, keeping={"distill": 1}, **HEADS),
            Trial("control, wise_ft 0.5", stamps=True, keeping={"wise_ft": 0.5}, **HEADS),
        ),
    ),
    "icons-all": IconExperiment(
        "All icons, heads",
        ways(
            ("control", "start", "HELIP, p = 1", "B3, parts of 32", EIGHT, "communities of 32"),
            steps=2560, lr=1e-3, kind="all",
        ),
    ),
    "icons-all-communities": IconExperiment(
        "All icons, heads: size of communities",
        ways(
            ("control", *(f"communities of {rows}" for rows in (8, 16, 32, 64, 128))),
            steps=2560, lr=1e-3, kind="all",
        ),
        part="validation",
    ),
    "icons-all-steps": IconExperiment(
        "All icons, heads: steps",
        (
            Trial("control, 2,560 steps", "control", steps=2560, kind="all"),
            Trial("start", "start", steps=2560, kind="all"),
            *(
                Trial(
                    f"{way}, {steps:,} steps", way, steps=steps, kind="all",
                    against=_control(way, f"control, {steps:,} steps"),
                )
                for steps in (2560, 10240)
                for way in ("control", EIGHT, "communities of 32")
                if (way, steps) != ("control", 2560)
            ),
        ),
    ),
    "icons-sizes-64": IconExperiment(
        "Icons, heads: size of communities in batches of 64",
        ways(
            ("control", *(f"communities of {rows}" for rows in (4, 8, 16, 32, 64))),
            steps=1280, rows=64, lr=5e-4,
        ),
        part="validation",
    ),
    "icons-sizes-short": IconExperiment(
        "Icons, heads: size of communities in 320 steps",
        ways(
            ("control", *(f"communities of {rows}" for rows in (4, 8, 16, 32, 64))),
            steps=320, lr=1e-3,
        ),
        part="validation",
    ),
    "icons-lit": IconExperiment(
        "Icons, a pre-trained image tower that trains",
        ways(("control", "start", EIGHT), **LIT),
    ),
    "icons-lit-lr": IconExperiment(
        "Icons, a pre-trained image tower that trains: learning rates",
        tuple(
            Trial(
                f"{way}, {lr:g}", way, against=_control(way, f"control, {lr:g}"),
                **{**LIT, "lr": lr},
            )
            for lr in (3e-4, 1e-3)
            for way in ("control", EIGHT)
        ),
        part="validation",
        seeds=(0,),
    ),
    "icons-lit-steps": IconExperiment(
        "Icons, a pre-trained image tower that trains: four times the steps",
        ways(("control", EIGHT), **{**LIT, "steps": 2560}),
        seeds=(0,),
    ),
    "icons-towers": IconExperiment(
        "Icons, towers from pixels",
        (
            Trial("control", **TOWERS),
            Trial("start", "start", **TOWERS),
            Trial(EIGHT, EIGHT, **TOWERS),
        ),
        seeds=(0, 1, 2, 3, 4),
    ),
    "icons-towers-lr": IconExperiment(
        "Icons, towers from pixels: learning rates",
        tuple(
            Trial(
                f"{way}, {lr:g}", way, against=_control(way, f"control, {lr:g}"),
                **{**TOWERS, "lr": lr},
            )
            for lr in (*_RATES, 6e-3)
            for way in ("control", EIGHT)
        ),
        part="validation",
        seeds=(0,),
    ),
    "icons-towers-helip": IconExperiment(
        "Icons, towers from pixels: one hard pair a target",
        ways(("control", "HELIP, p = 1", EIGHT), **{**TOWERS, "lr": 1e-3}),
    ),
    "icons-all-towers": IconExperiment(
        "All icons, towers from pixels",
        ways(("control", "start", "communities of 32"), **ALL_TOWERS),
    ),
    "icons-towers-starts": IconExperiment(
        "Icons, towers from pixels: what the start knows",
        tuple(
            Trial(
                f"{epochs:g} epochs, {way}", way, steps=640, lr=1e-3, epochs=epochs, stage="towers",
                against=_control(way, f"{epochs:g} epochs, control"),
            )
            for epochs in (0, 2.5, 5, 10, 20)
            for way in ("control", "start", EIGHT)
        ),
    ),
}  # fmt: skip
