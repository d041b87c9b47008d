"""Options of evaluation: what a model is measured on, and how."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from helip.common.options import DeviceOptions, Options, Positive, PrecisionOptions, Whole
from helip.data.options import OpenOptions, Reader

#: Which pictures are right for a caption that several bear: all of these, or its own alone.
Duplicates = Literal["any", "strict"]
#: What equal scores count for.
Ties = Literal["against", "for"]


@dataclass(frozen=True, kw_only=True)
class ClassOptions(Options):
    """What classification needs beside the pictures."""

    classes: Sequence[str] | Mapping[str, str] | None = None
    """The labels, or label to the name in prompts; by default the sorted labels of the data, also
    of the rows that subset and limit leave out."""
    templates: str | Sequence[str] | None = None
    """Prompts that hold {} once, or a set of open_clip's, such as openai_imagenet_template."""
    train: object = None
    """Labelled data that a linear probe is fitted to; what open_dataset takes."""


@dataclass(frozen=True, kw_only=True)
class SetOptions(OpenOptions, ClassOptions):
    """What belongs to a data set that is measured on."""

    split: str | None = None
    """Of data that hold several; of CLIP_benchmark's layout None is test."""
    pictures: str | os.PathLike[str] | None = None
    """Folder of the pictures of a compositional set, or of one in MMEB's format."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(DeviceOptions, PrecisionOptions):
    """How a model is measured."""

    tasks: str | Sequence[str] | None = None
    """Of retrieval, zero_shot, linear_probe, composition, choice; None: what a set is for."""
    regularisation: Annotated[float, Ge(0)] | None = None
    """Of the linear probe; None chooses it on a part of its training rows."""
    duplicates: Duplicates = "any"
    """any: every picture that bears the caption is right; strict: its own alone."""
    ties: Ties = "against"
    """Equal scores count against the model, or for it; what the literature reports lies between."""
    batch_size: Positive = 256
    """Samples that are encoded together."""
    reader: Reader = "auto"
    """core: C++ threads, exact to two levels of a pixel; pillow: Pillow and the model's transform;
    auto: the core where it knows the transform and the pictures are files."""
    workers: Whole = 0
    """Threads of the core (0: one a processor); processes of Pillow (0: this one)."""
    bootstrap: Whole = 1000
    """Resamples of an interval; 0 for none."""
    seed: Whole = 0
    """Of the resamples, and of the rows that a probe's regularisation is chosen on."""
    chunk: Positive = 4096
    """Similarities are compared in blocks of so many rows and columns."""
