"""Options of embedding a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import MultipleOf

from helip.common.options import DeviceOptions, Positive, Share, Whole
from helip.data.options import Reader


@dataclass(frozen=True, kw_only=True)
class EmbedOptions(DeviceOptions):
    """How a data set is embedded."""

    preset: Literal["paper", "paper-v1", "packaged"] | None = None
    """Both encoders by one name; where neither preset nor encoder is given paper, or in an update
    those of the store."""
    image_encoder: str | object | None = None
    """A spec such as timm:NAME, or an encoder object, in place of the preset's."""
    text_encoder: str | object | None = None
    """A spec such as st:NAME, or an encoder object, in place of the preset's."""
    captions: Literal["mean", "first"] | None = None
    """Of a row with several captions: the mean of the embeddings of all, each of length 1; or that
    of the first alone. None: mean, of a store that is there what it has."""
    engine: Literal["auto", "torch", "openvino", "onnx"] = "auto"
    """What computes the encoders; auto: OpenVINO or ONNX Runtime on a CPU where they are installed
    and take the network, else torch."""
    precision: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto"
    """What the encoders multiply in. auto: bfloat16 where the processor multiplies it and the rows
    stay at cosines of 0.999 to those of float32, else float32; float16 is torch's, meant for GPUs;
    int8 OpenVINO's."""
    batch_size: Positive | None = None
    """Samples that are read together, and on a GPU encoded together; None for 256, or as many as
    fill 64 MB on a CPU."""
    reader: Reader = "auto"
    """core: C++ threads, exact to two levels of a pixel; pillow: Pillow and the encoder's own
    transform; auto: the core where it knows the transform and the pictures are files."""
    workers: Whole = 0
    """Threads of the core, 0: all; of Pillow, processes beside this one."""
    dtype: Literal["float32", "float16", "bfloat16", "int8"] | None = None
    """What the store keeps; None: float16, of an update what the store keeps."""
    shard_rows: Annotated[Positive, MultipleOf(4096)] = 262_144
    """Rows of a file of the store. What is embedded is committed after each, and once a minute."""
    max_quarantined: Share = 0.1
    """Share of the data set that may be unreadable."""
    launcher: Literal["local", "torchrun", "ray"] = "local"
    """Who embeds: this process; a part each of the processes that torchrun started; parts as tasks
    of a Ray cluster. The bytes of the store are the same."""
    parts: Positive | None = None
    """ray: in how many parts; None for four a GPU, or a node."""
    update: bool = False
    """Where the data changed since: embed again what changed, is new or could not be read, and drop
    rows that are gone; all other rows stay."""
    max_removed: Share = 0.1
    """Share of the store's rows that an update may drop."""
