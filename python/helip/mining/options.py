"""Options of mining: which pairs are hard, how they are found, and who does the work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from helip.common.errors import InvalidArgumentError
from helip.common.files import output_path
from helip.common.options import (
    INFINITE,
    Options,
    Positive,
    Seed,
    Share,
    ThreadOptions,
    Whole,
)
from helip.common.remote.urls import url_of


@dataclass(frozen=True, kw_only=True)
class NearDuplicates(Options):
    """Which pairs are too alike to be hard."""

    image_max: Share = 0.98
    """Image cosine above which a pair is a near duplicate of the target."""
    text_max: Share = 0.98
    """Text cosine above which a pair is a near duplicate of the target."""


@dataclass(frozen=True, kw_only=True)
class PairRules(NearDuplicates):
    """What makes a pair hard."""

    k: Positive = 100
    """Pool size; targets with fewer pairs of positive score are short."""
    min_score: Share = 0.0
    """A score must exceed it."""
    signed: bool = False
    """Do not clamp similarities at zero: two negative ones multiply to a positive score."""


@dataclass(frozen=True, kw_only=True)
class ScoreRules(PairRules):
    """What makes a pair hard where one modality may do alone."""

    modality: Literal["both", "image", "text"] = "both"
    """image or text: the score is that one similarity, a baseline."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that count."""
        return ("image", "text") if self.modality == "both" else (self.modality,)


_MAXIMUM = 0.98  # of channels that are neither image nor text

#: Rows up to which auto is exact, as in the core.
EXACT_ROWS = 300_000


@dataclass(frozen=True, kw_only=True)
class MineOptions(ScoreRules):
    """What is mined: with a method by name the table depends on the input and on these alone."""

    method: Literal["auto", "exact", "sample", "hnsw", "partition"] = "auto"
    """exact scores all pairs, sample some, hnsw and partition enough to reach recall. auto is exact
    up to 300,000 rows and in parts, on Ray and on GPUs; else the measured speed decides between
    exact and partition, and the table names what it was."""
    margin: float | None = None
    """Drop false negatives: max(cos(u_i, v_j), cos(u_j, v_i)) > cos(u_i, v_i) - margin."""
    skip: Whole = 0
    """Best pairs of each target that are passed over before its pool begins."""
    collapse: Literal["none", "image", "text", "both"] = "none"
    """Of candidates that are near duplicates of each other in that sense, keep only the best."""
    candidates: Positive | None = None
    """sample: candidates of a draw; by default min(N, 3,000,000)."""
    refresh: Positive = 300_000
    """sample: targets that one draw serves."""
    seed: Seed = 0
    """sample, hnsw, partition: of what they draw."""
    recall: Share = 0.95
    """hnsw, partition: the lower 95 % limit of recall@k must reach it."""
    channels: tuple[str, ...] | None = None
    """Names of the matrices whose cosines make the score, in place of modality; in the shell repeat
    it for each, weights and maxima likewise."""
    score: Literal["product", "sum"] = "product"
    """Of channels: the product of their cosines, or their weighted mean."""
    weights: tuple[Annotated[float, Ge(0.01), Le(16)], ...] | None = None
    """Of each channel: exponent of a product, factor of a sum; None: 1."""
    maxima: tuple[Share, ...] | None = None
    """Of each channel: the cosine above which a pair is a near duplicate; None: image_max and
    text_max of image and text, 0.98 of others."""

    def __post_init__(self) -> None:
        for name in ("channels", "weights", "maxima"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
                raise InvalidArgumentError(
                    f"{name} is {value!r}, must be a tuple, one for each channel"
                )
            object.__setattr__(self, name, tuple(value))
        super().__post_init__()
        if self.channels == ():
            raise InvalidArgumentError("channels is (); name one at least, or leave it out")
        for name in ("weights", "maxima"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.channels or ()):
                raise InvalidArgumentError(
                    f"{name} is {value!r} and channels {self.channels!r}; give one for each channel"
                )

    @property
    def channel_rules(self) -> list[tuple[str, float, float]]:
        """Name, maximum and weight of each channel; none where modalities count."""
        names = self.channels or ()
        usual = {"image": self.image_max, "text": self.text_max}
        maxima = self.maxima or tuple(usual.get(name, _MAXIMUM) for name in names)
        weights = self.weights or (1.0,) * len(names)
        return [
            (name, float(maximum), float(weight))
            for name, maximum, weight in zip(names, maxima, weights, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class ClusterOptions(Options):
    """partition in stages: how rows are spread over clusters that are mined one by one."""

    cluster_rows: Annotated[int, Ge(64)] | None = None
    """partition in stages: rows of a cluster; None: 1,000,000 by engine local."""
    overlap: Annotated[int, Ge(1), Le(16)] = 2
    """partition in stages: clusters that each row is mined in at first."""


@dataclass(frozen=True, kw_only=True)
class KeepOptions(Options):
    """partition in stages: what is left of them."""

    keep_stages: bool = False
    """partition in stages: leave their files in OUT.stages."""


@dataclass(frozen=True, kw_only=True)
class StageOptions(KeepOptions, ClusterOptions):
    """partition in stages: its clusters, and what is left of them."""


@dataclass(frozen=True, kw_only=True)
class HostOptions(ThreadOptions):
    """What of the host a job may take."""

    memory: int | str | None = None
    """Bound of buffers in bytes or as "4GB", not of mapped pages of input and codes, which the
    system can drop; None: a quarter of what the process may use."""


@dataclass(frozen=True, kw_only=True)
class MachineOptions(HostOptions):
    """What of the machine a job may take."""

    device: str = "auto"
    """cpu, cuda, cuda:1, "cuda:0,cuda:1", cuda:all, or auto: a GPU where one was proven."""


@dataclass(frozen=True, kw_only=True)
class EngineOptions(Options):
    """Who mines."""

    engine: Literal["threads", "local", "ray"] = "threads"
    """threads of this process, local processes (partition in stages), or tasks of a Ray cluster."""


@dataclass(frozen=True, kw_only=True)
class CodesOptions(Options):
    """What one job keeps for the next."""

    codes: str | os.PathLike[str] | None = None
    """A folder for what is made of a store's rows before pairs are compared (lengths, filters,
    order, int8 codes): a later job of the same store and options, and an update, begins with it.
    None: nothing is kept; mining writes nothing into the store."""

    keep_codes: bool = False
    """Without codes=: take up and keep them in the folder ``codes`` of a store of 16,384 rows or
    more, if a quarter of the free disk holds them."""

    @property
    def codes_path(self) -> str:
        """A local path, "" where there is none."""
        if self.codes is not None and url_of(self.codes) is not None:
            raise InvalidArgumentError(
                f"codes is {os.fspath(self.codes)}, a URL, where codes are not kept; give a folder "
                "on a local or shared disk"
            )
        return output_path(self.codes, "codes", "leave it out to keep none")


@dataclass(frozen=True, kw_only=True)
class PartsOptions(Options):
    """How a job is committed."""

    parts: Positive | None = None
    """exact, sample: commit the job in so many ranges of targets, in OUT.parts."""


@dataclass(frozen=True, kw_only=True)
class JobOptions(PartsOptions, MachineOptions, EngineOptions, CodesOptions):
    """How a job is run: apart from what auto chooses and whether partition goes in stages, not a
    byte of the table depends on it.
    """

    checkpoint: Annotated[float, Ge(0), INFINITE] = 60.0
    """partition: seconds of work between saves in OUT.checkpoint; inf for none."""


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(ScoreRules):
    """How torch devices mine."""

    device: str = "cuda"
    """cuda, cuda:1, "cuda:0,cuda:1", cuda:all or cpu."""
    precision: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Of the products; auto: float16, on a CPU float32."""
    kernel: Literal["auto", "fused", "torch"] = "auto"
    """auto: the environment's HELIP_CUDA_KERNEL, else fused where it can run."""
    block_rows: Positive | None = None
    """Rows of a block; None: by device."""
    sample: Whole | None = None
    """Rows that give the first thresholds; None: a sixteenth, at most 16,384."""
    capacity: Positive | None = None
    """Survivors of a call; None: by memory."""
    memory: Positive | None = None
    """Bytes on each device; None: 60 % of what is free, on a CPU 1 GiB."""


@dataclass(frozen=True, kw_only=True)
class StreamOptions(PairRules):
    """What a StreamingMiner remembers and finds."""

    memory: Positive = 65_536
    """Rows that are remembered (M), each id once, the newest."""
    k: Positive = 20
    """Pool size, of a batch's targets and of all that was found."""
    search: Literal["scan", "hnsw"] = "scan"
    """How the memory is searched: ``scan`` finds every pair, ``hnsw`` misses some and is faster
    where much is remembered."""


@dataclass(frozen=True, kw_only=True)
class GraphOptions(NearDuplicates):
    """The graph of a PairIndex."""

    degree: Annotated[int, Ge(4), Le(1024)] = 32
    """Links of a pair, an even number: more take memory and find more."""
    breadth: Positive = 80
    """Of the searches that find the links."""
    seed: Seed = 0
    """Of the order in which pairs are linked."""
