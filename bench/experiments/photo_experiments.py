"""The experiments on photographs: for each, what is varied, named as the tables name it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import photo_rivals
import photos
from experiment import Experiment
from photo_trials import Trial


@dataclass(frozen=True)
class PhotoExperiment(Experiment):
    part: str = "test"
    """Of the held-out photographs: "validation" where something is chosen by it."""


SMALL = ("flickr8k", "paragraphs", "fashion")
LARGE = ("fashion44k", "icons", "mixed", "all")
#: Learning rates by the rows of a batch: near the best of "photos-lr" for the control on fashion,
#: one seed. Of large sets a quarter, by the same measure.
RATES = {64: 5e-4, 256: 2e-3, 1024: 4e-3, 4096: 8e-3}
SIZES = (64, 256, 1024)
EIGHT = "communities of 8"
#: What `helip train` does unless it is told otherwise.
DEFAULT: dict[str, Any] = {"way": "communities", "distill": 1.0}
#: From the general start, by "photos-general-lr".
TUNED = 2.5e-4
OWN: dict[str, Any] = {**DEFAULT, "pool": "own", "refreshed": 4}


def epochs(data: str, stage: str = "heads") -> float:
    """So that a run stays in minutes."""
    return {"heads": 8.0, "top": 4.0, "pixels": 4.0}[stage] / (2 if data in LARGE else 1)


def rate(data: str, rows: int) -> float:
    return RATES[rows] / (4 if data in LARGE else 1)


def compared(
    ways: dict[str, dict[str, Any]], data: Iterable[str], rows: Iterable[int], **options: Any
) -> tuple[Trial, ...]:
    """Each of the ways on each set with each size of batch, held to the first of them there."""
    return tuple(_each(ways, tuple(data), tuple(rows), options))


def _each(
    ways: dict[str, dict[str, Any]],
    data: tuple[str, ...],
    sizes: tuple[int, ...],
    options: dict[str, Any],
) -> Iterator[Trial]:
    first = next(iter(ways))
    stage = options.get("stage", "heads")
    for name in data:
        for rows in sizes:
            where = f"{name}, {rows:,} rows"
            for way, told in ways.items():
                setting = {"epochs": epochs(name, stage), **options, **told}
                setting = {"lr": rate(name, rows), **setting}
                yield Trial(
                    f"{where}, {way}", data=name, rows=rows,
                    against="" if way == first else f"{where}, {first}", **setting,
                )  # fmt: skip


MAIN: dict[str, dict[str, Any]] = {
    "control": {},
    "start": {"way": "start"},
    "control, distill": {"distill": 1.0},
    "HELIP": {"way": "HELIP, p = 1", "loss": {"gamma": 1.0}},
    "communities": {"way": "communities"},
    "default": DEFAULT,
}
PLAIN = {"control": MAIN["control"]}
RIVALS: dict[str, dict[str, Any]] = {
    **MAIN,
    "default, own pools": OWN,
    "communities, with replacement": {"way": photo_rivals.REPLACED},
    "B3": {"way": "B3, parts of 32"},
    **{way: {"way": way} for way in photo_rivals.CHOSEN},
    **{
        f"TuneCLIP's loss, γ = {gamma:g}": {"loss": {"kind": "hinged global", "gamma": gamma}}
        for gamma in (0.9, 0.5)
    },
    "C2LIP's noun phrases": {"phrases": 0.5},
    "NegCLIP's captions": {"loss": {"kind": "negclip"}},
    "NegCLIP": {"way": "HELIP, p = 1", "pool": "image", "loss": {"kind": "negclip"}},
    "SigLIP's loss": {"loss": {"kind": "siglip"}},
    "SigLIP's loss, communities": {"way": "communities", "loss": {"kind": "siglip"}},
}
FEW = {name: MAIN[name] for name in ("control", "start", "default")}
GENERAL: dict[str, dict[str, Any]] = {
    **FEW,
    "default, distill = 3": {**DEFAULT, "distill": 3.0},
    "default, plain first": {
        **DEFAULT, "loader": {"fraction": 0.0, "schedule": {"epochs": 2, "fraction": 1.0}},
    },
}  # fmt: skip
#: What is trained for as long as others: the ways of batches of 256 rows.
TIMED = {
    name: told for name, told in RIVALS.items()
    if name in ("control", "control, distill", "HELIP", "communities", "default",
                "default, own pools", "B3", "JEST, factor 5", "CABS-DM, factor 5",
                "TuneCLIP's loss, γ = 0.9", "NegCLIP", "SigLIP's loss")
}  # fmt: skip


def timed(data: tuple[str, ...]) -> tuple[Trial, ...]:
    return tuple(
        replace(trial, name=f"{trial.name}, {count} epochs", epochs=float(count), against="")
        for count in (4, 8, 16)
        for trial in compared(TIMED, data, (256,))
        + compared({name: MAIN[name] for name in ("control", "default")}, data, (64, 1024))
        + compared(PLAIN, data, (4096,))
        if not (count > 8 and trial.way.startswith("JEST"))
    )


def tuned(only: str) -> Iterator[Trial]:
    """From the general start on one of its sets. The start is the same for all."""
    for trial in compared(FEW, ("mixed",), (256,), stage="top", general=True, lr=TUNED,
                          epochs=epochs(only, "top") / 2):  # fmt: skip
        is_start = trial.way == "start"
        yield replace(
            trial, only="" if is_start else only, epochs=0.0 if is_start else trial.epochs,
            name=trial.name.replace("mixed, 256 rows", only),
            against=trial.against and f"{only}, control",
        )  # fmt: skip


_CHOICES: dict[str, dict[str, Any]] = {
    "control": {},
    EIGHT: {"way": EIGHT},
    **{f"{EIGHT}, {pool} pools": {"way": EIGHT, "pool": pool} for pool in ("sum", "text")},
    **{
        f"{EIGHT}, {pool} pools, mined {times} times": {
            "way": EIGHT, "pool": pool, "refreshed": times,
        }
        for pool, times in (("own", 1), ("own", 4), ("cross", 4))
    },
    "communities of 16": {"way": "communities of 16"},
    f"{EIGHT}, half of the batch": {"way": EIGHT, "loader": {"fraction": 0.5}},
    f"{EIGHT}, distill = 1": {"way": EIGHT, "distill": 1.0},
}  # fmt: skip

_DISTILLED: dict[str, dict[str, Any]] = {
    "control": {},
    **{f"control, distill = {weight}": {"distill": float(weight)} for weight in (1, 3)},
    **{
        f"{EIGHT}, distill = {weight}": {"way": EIGHT, "distill": float(weight)}
        for weight in (0, 1, 3)
    },
    **{
        f"{EIGHT}, {pool} pools, distill = 1": {
            "way": EIGHT, "pool": pool, "refreshed": times, "distill": 1.0,
        }
        for pool, times in (("text", 1), ("own", 4))
    },
    "communities of 16, distill = 1": {"way": "communities of 16", "distill": 1.0},
}  # fmt: skip

EXPERIMENTS: dict[str, PhotoExperiment] = {
    "photos-lr": PhotoExperiment(
        "Photographs, heads: learning rates",
        tuple(
            Trial(
                f"{data}, {rows:,} rows, {way}, {factor:g} x", data=data, rows=rows,
                lr=factor * rate(data, rows), epochs=epochs(data),
                against="" if way == "control" else f"{data}, {rows:,} rows, control, {factor:g} x",
                **told,
            )
            for data in ("flickr8k", "fashion", "fashion44k")
            for rows in SIZES
            for factor in ((0.125, 0.5, 1, 2) if data not in LARGE else (0.5, 1, 2, 4))
            for way, told in (("control", {}), ("default", DEFAULT))
        ),
        part="validation",
        seeds=(0,),
    ),
    "photos-choices": PhotoExperiment(
        "Photographs, heads: whose similarity, and how many",
        compared(_CHOICES, SMALL, (64, 256)),
        part="validation",
        seeds=(0, 1),
    ),
    "photos-distill": PhotoExperiment(
        "Photographs, heads: distillation from the start",
        compared(_DISTILLED, SMALL, (64, 256)),
        part="validation",
    ),
    "photos-weak-starts": PhotoExperiment(
        "Photographs, heads: distillation from a start of one epoch",
        compared(
            {name: told for name, told in _DISTILLED.items() if "pools" not in name},
            SMALL, (256,), start_epochs=1,
        ),
        part="validation",
        seeds=(0, 1),
    ),
    "photos-heads": PhotoExperiment(
        "Photographs, heads on frozen features",
        compared(MAIN, SMALL, SIZES) + compared(PLAIN, SMALL, (4096,)),
        seeds=(0, 1, 2, 3, 4),
    ),
    "photos-between": PhotoExperiment(
        "Photographs, heads: which communities share a batch",
        compared(
            {
                "at random": {"way": "communities"},
                "near": {"way": "communities, between: near"},
                "far": {"way": "communities, between: far"},
                "balanced": {"way": "communities, between: balanced"},
                "control": {},
            },
            SMALL, (64, 256),
        ),
    ),
    "photos-learnable": PhotoExperiment(
        "Photographs, heads: the most learnable communities",
        compared(
            {
                "at random": {"way": "communities"},
                "learnable half": {"way": "learnable"},
                "learnable half, refreshed": {"way": "learnable, refreshed"},
                "hardest half, refreshed": {"way": "hardest, refreshed"},
                "JEST, factor 5": {"way": "JEST, factor 5"},
                "control": {},
            },
            ("flickr8k", "paragraphs", "fashion44k"), (256,),
        ),
    ),
    "photos-captions": PhotoExperiment(
        "Photographs, heads: pools of several captions",
        compared(
            {
                "mean of captions": {"way": "communities"},
                "first caption": {"way": "communities", "pool": "first caption"},
                "best captions": {"way": "communities", "pool": "best captions"},
                "each caption": {
                    "way": "communities", "pool": "each caption", "loader": {"unique": "caption"},
                },
                "control": {},
            },
            ("flickr8k",), (64, 256),
        ),
        seeds=(0, 1, 2, 3, 4),
    ),
    "photos-epochs": PhotoExperiment(
        "Photographs, heads: epochs, from a start of two",
        tuple(
            replace(trial, name=f"{trial.name}, {count} epochs", epochs=float(count), against="")
            for count in (1, 2, 4, 8)
            for trial in compared(
                {name: MAIN[name] for name in ("control", "default")},
                SMALL, (64, 256), start_epochs=2,
            )
        ),
    ),
    "photos-large": PhotoExperiment(
        "Photographs, heads: more rows, and three sets as one",
        compared(FEW, ("fashion44k",), SIZES) + compared(FEW, ("mixed",), (256,))
        + compared(PLAIN, ("mixed",), (1024,)) + compared(PLAIN, ("fashion44k",), (4096,))
        + compared(FEW, ("all",), (256, 1024, 4096)),
    ),
    "photos-tower": PhotoExperiment(
        "Photographs, the top of the image tower trains too",
        compared(FEW, SMALL, (64, 256), stage="top")
        + compared(PLAIN, SMALL, (1024,), stage="top")
        + compared(FEW, ("fashion44k",), (256,), stage="top"),
        seeds=(0, 1, 2, 3, 4),
    ),
    "photos-pixels": PhotoExperiment(
        "Photographs, a small image tower from pixels, from random weights",
        compared(FEW, SMALL, (256,), stage="pixels"),
    ),
    "photos-rivals": PhotoExperiment(
        "Photographs, heads: rivals at equal steps and rows",
        compared(RIVALS, ("flickr8k", "fashion"), (256,)),
    ),
    "photos-time": PhotoExperiment("Photographs, heads: for as long", timed(("fashion",))),
    "photos-time-scenes": PhotoExperiment(
        "Photographs, heads: for as long, scenes", timed(("flickr8k", "paragraphs"))
    ),
    "photos-from-general": PhotoExperiment(
        "Photographs, a tower: the start of three sets, tuned on one of them",
        tuple(trial for only in photos.MIXED for trial in tuned(only)),
    ),
    "photos-general-lr": PhotoExperiment(
        "Photographs, a tower: learning rates from the start of all sets",
        tuple(
            Trial(f"{only}, {way}, {lr:g}", data="all", only=only, general=True, stage="top",
                  lr=lr, epochs=epochs(only, "top") / 2, against="", **told)
            for only in ("flickr8k", "fashion44k")
            for lr in (1e-4, 2.5e-4, 1e-3)
            for way, told in (("control", {}), ("default", DEFAULT))
        ),
        part="validation",
        seeds=(0,),
    ),
    "photos-general": PhotoExperiment(
        "Photographs, heads: a start of other sets, tuned on one more",
        tuple(
            replace(trial, only=only, name=trial.name.replace("mixed, 256 rows", only),
                    against=trial.against and f"{only}, control")
            for only in photos.MIXED
            for trial in compared(GENERAL, ("mixed",), (256,), lr=1e-3, epochs=epochs(only))
        ),
    ),
}  # fmt: skip
