"""
The torch-free C++ core of helip.
"""

from __future__ import annotations

import collections.abc
import os
import typing

import numpy
import numpy.typing
import typing_extensions

__all__: list[str] = [
    "BatchAssembler",
    "BatchSampler",
    "DataFingerprint",
    "EmbeddingStore",
    "EmbeddingStoreWriter",
    "GrowingPairs",
    "HardNegatives",
    "HardPairs",
    "HardPairsPart",
    "HardPairsWriter",
    "HardnessSchedule",
    "ImageFiles",
    "ImageSource",
    "ImageTransform",
    "MatrixView",
    "MineOptions",
    "NegativesInput",
    "PairCosines",
    "PairIndex",
    "PairIndexOptions",
    "PythonImages",
    "SampleIndex",
    "ShardImages",
    "StreamingMiner",
    "add_rows",
    "assemble_store",
    "block_checksums",
    "caption_digests",
    "decodes_format",
    "guard_mapped_files",
    "kernel_name",
    "kernel_names",
    "keys_fingerprint",
    "locality_order",
    "may_be_same_images",
    "merge_negatives_parts",
    "merge_parts",
    "merge_shares",
    "mine",
    "mine_and_list_drops",
    "mine_channels",
    "mine_negatives",
    "mine_negatives_part",
    "mine_part",
    "mine_share",
    "mine_store",
    "mine_targets",
    "negatives_options",
    "packed_caption_digests",
    "plan",
    "plan_channels",
    "positives_digest",
    "prepare_shares",
    "rerank",
    "rerank_and_list_drops",
    "set_kernel",
    "update",
    "usable_memory",
    "usable_processors",
]

class MatrixView:
    def __init__(
        self,
        address: typing.SupportsInt | typing.SupportsIndex,
        rows: typing.SupportsInt | typing.SupportsIndex,
        cols: typing.SupportsInt | typing.SupportsIndex,
        dtype: str,
        row_stride: typing.SupportsInt | typing.SupportsIndex,
        owner: typing.Any,
        scale: typing.SupportsInt | typing.SupportsIndex = 0,
        scale_owner: typing.Any = None,
    ) -> None: ...
    @property
    def cols(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def rows(self) -> int: ...

class EmbeddingStore:
    @staticmethod
    def open(path: os.PathLike | str | bytes) -> EmbeddingStore: ...
    def __len__(self) -> int: ...
    def earlier_state(
        self, rows: typing.SupportsInt | typing.SupportsIndex, fingerprint: str
    ) -> typing.Any: ...
    def keys(
        self,
        first: typing.SupportsInt | typing.SupportsIndex,
        last: typing.SupportsInt | typing.SupportsIndex,
    ) -> list[str]: ...
    def matrix(self, name: str) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    def require_whole(self) -> None: ...
    def scale(self, name: str) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    def verify(self, progress: typing.Any = None) -> None: ...
    def view(self, name: str) -> MatrixView: ...
    @property
    def caption_digests(self) -> typing.Any: ...
    @property
    def data_fingerprint(self) -> str: ...
    @property
    def deleted(self) -> numpy.typing.NDArray[numpy.int64]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def generation(self) -> int: ...
    @property
    def image(self) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    @property
    def image_digests(self) -> typing.Any: ...
    @property
    def keys_fingerprint(self) -> str: ...
    @property
    def matrix_names(self) -> list[str]: ...
    @property
    def metadata_json(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def text(self) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...

class EmbeddingStoreWriter:
    @staticmethod
    def append_to(path: os.PathLike | str | bytes) -> EmbeddingStoreWriter: ...
    @staticmethod
    def create(
        path: os.PathLike | str | bytes,
        image_dim: typing.SupportsInt | typing.SupportsIndex,
        text_dim: typing.SupportsInt | typing.SupportsIndex,
        dtype: str,
        shard_rows: typing.SupportsInt | typing.SupportsIndex,
        digests: bool = False,
        matrices: collections.abc.Sequence[
            tuple[str, typing.SupportsInt | typing.SupportsIndex]
        ] = [],
    ) -> EmbeddingStoreWriter: ...
    def __len__(self) -> int: ...
    def append(
        self,
        keys: collections.abc.Sequence[str],
        image: MatrixView,
        text: MatrixView,
        image_digests: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64] = ...,
        caption_digests: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64] = ...,
        matrices: collections.abc.Sequence[MatrixView] = [],
    ) -> None: ...
    def commit(self, metadata_json: str = "") -> EmbeddingStore: ...
    def delete_keys(self, keys: collections.abc.Sequence[str]) -> int: ...
    def delete_rows(
        self, rows: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
    ) -> int: ...
    def finish(self, metadata_json: str = "") -> EmbeddingStore: ...
    @property
    def digests(self) -> bool: ...
    @property
    def dtype(self) -> str: ...
    @property
    def image_dim(self) -> int: ...
    @property
    def matrices(self) -> list[tuple[str, int]]: ...
    @property
    def shard_rows(self) -> int: ...
    @property
    def text_dim(self) -> int: ...

class HardPairs:
    @staticmethod
    def from_arrays(
        ids: MatrixView,
        scores: MatrixView,
        counts: MatrixView,
        *,
        fingerprint: str = "",
        data_fingerprint: str = "",
        options_json: str = "{}",
        report_json: str = "{}",
    ) -> HardPairs: ...
    @staticmethod
    def open(path: os.PathLike | str | bytes, progress: typing.Any = None) -> HardPairs: ...
    @staticmethod
    def open_csv(
        path: os.PathLike | str | bytes,
        rows: typing.SupportsInt | typing.SupportsIndex = -1,
        progress: typing.Any = None,
    ) -> HardPairs: ...
    def __len__(self) -> int: ...
    def save(self, path: os.PathLike | str | bytes, progress: typing.Any = None) -> None: ...
    def save_csv(self, path: os.PathLike | str | bytes, progress: typing.Any = None) -> None: ...
    def statistics(self) -> dict: ...
    def verify(self, progress: typing.Any = None) -> None: ...
    @property
    def counts(self) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    @property
    def data_fingerprint(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def ids(self) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    @property
    def k(self) -> int: ...
    @property
    def options_json(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def report_json(self) -> str: ...
    @property
    def scores(self) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...

class HardNegatives:
    @staticmethod
    def open(path: os.PathLike | str | bytes, progress: typing.Any = None) -> HardNegatives: ...
    def __len__(self) -> int: ...
    def save(self, path: os.PathLike | str | bytes, progress: typing.Any = None) -> None: ...
    def verify(self, progress: typing.Any = None) -> None: ...
    @property
    def corpus_rows(self) -> int: ...
    @property
    def counts(self) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    @property
    def data_fingerprint(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def ids(self) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    @property
    def k(self) -> int: ...
    @property
    def options_json(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def report_json(self) -> str: ...
    @property
    def scores(self) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...

class HardPairsPart:
    @staticmethod
    def open(path: os.PathLike | str | bytes) -> HardPairsPart: ...
    def __len__(self) -> int: ...
    def verify(self, progress: typing.Any = None) -> None: ...
    @property
    def corpus_rows(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def counts(self) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    @property
    def data_fingerprint(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def first(self) -> int: ...
    @property
    def ids(self) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    @property
    def index(self) -> int: ...
    @property
    def k(self) -> int: ...
    @property
    def last(self) -> int: ...
    @property
    def options_json(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def report_json(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def scores(self) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...

class HardPairsWriter:
    def __init__(
        self,
        path: os.PathLike | str | bytes,
        rows: typing.SupportsInt | typing.SupportsIndex,
        k: typing.SupportsInt | typing.SupportsIndex,
        *,
        replace: bool = False,
    ) -> None: ...
    def finish(
        self, *, fingerprint: str, data_fingerprint: str, options_json: str, report_json: str
    ) -> HardPairs: ...
    def write(
        self,
        first: typing.SupportsInt | typing.SupportsIndex,
        ids: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        scores: typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
        counts: typing.Annotated[numpy.typing.ArrayLike, numpy.int32],
    ) -> None: ...

class DataFingerprint:
    def __init__(self) -> None: ...
    def add(
        self,
        keys: collections.abc.Sequence[str],
        images: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64],
        captions: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64],
    ) -> None: ...
    def text(self) -> str: ...

class MineOptions:
    def __init__(
        self,
        *,
        k: typing.SupportsInt | typing.SupportsIndex,
        method: str = "auto",
        modality: str = "both",
        image_max: typing.SupportsFloat | typing.SupportsIndex = 0.98,
        text_max: typing.SupportsFloat | typing.SupportsIndex = 0.98,
        min_score: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        signed_products: bool = False,
        candidates: typing.SupportsInt | typing.SupportsIndex = 0,
        refresh: typing.SupportsInt | typing.SupportsIndex = 300000,
        seed: typing.SupportsInt | typing.SupportsIndex = 0,
        recall: typing.SupportsFloat | typing.SupportsIndex = 0.95,
        threads: typing.SupportsInt | typing.SupportsIndex = 0,
        memory: typing.SupportsInt | typing.SupportsIndex = 0,
        margin: typing.SupportsFloat | typing.SupportsIndex | None = None,
        skip: typing.SupportsInt | typing.SupportsIndex = 0,
        collapse: str = "none",
        parts: typing.SupportsInt | typing.SupportsIndex = 1,
        checkpoint: typing.SupportsFloat | typing.SupportsIndex = 60.0,
        codes: os.PathLike | str | bytes = "",
        keep_codes: bool = False,
        channels: collections.abc.Sequence[
            tuple[
                str,
                typing.SupportsFloat | typing.SupportsIndex,
                typing.SupportsFloat | typing.SupportsIndex,
            ]
        ] = [],
        score: str = "product",
    ) -> None: ...
    @property
    def k(self) -> int: ...

class NegativesInput:
    def __init__(
        self,
        *,
        query_image: MatrixView,
        query_text: MatrixView,
        corpus_image: MatrixView,
        corpus_text: MatrixView,
        begins: MatrixView,
        rows: MatrixView,
        relative_margin: typing.SupportsFloat | typing.SupportsIndex | None,
        queries: typing.Any,
        corpus: typing.Any,
    ) -> None: ...

class GrowingPairs:
    def __init__(
        self,
        rows: typing.SupportsInt | typing.SupportsIndex,
        k: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def __len__(self) -> int: ...
    def assign(
        self,
        targets: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        ids: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        scores: typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
        counts: typing.Annotated[numpy.typing.ArrayLike, numpy.int32],
    ) -> None: ...
    def clear(self) -> None: ...
    def known_targets(self) -> numpy.typing.NDArray[numpy.int64]: ...
    def offer(
        self,
        targets: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        ids: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        scores: typing.Annotated[numpy.typing.ArrayLike, numpy.float32],
        counts: typing.Annotated[numpy.typing.ArrayLike, numpy.int32],
    ) -> None: ...
    def pools(self, targets: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]) -> tuple: ...
    def table(self, *, data_fingerprint: str, options_json: str) -> HardPairs: ...
    @property
    def k(self) -> int: ...
    @property
    def known(self) -> int: ...
    @property
    def pairs(self) -> int: ...

class StreamingMiner:
    def __init__(
        self,
        image_dim: typing.SupportsInt | typing.SupportsIndex,
        text_dim: typing.SupportsInt | typing.SupportsIndex,
        *,
        memory: typing.SupportsInt | typing.SupportsIndex,
        k: typing.SupportsInt | typing.SupportsIndex,
        image_max: typing.SupportsFloat | typing.SupportsIndex,
        text_max: typing.SupportsFloat | typing.SupportsIndex,
        min_score: typing.SupportsFloat | typing.SupportsIndex,
        signed_products: bool,
        threads: typing.SupportsInt | typing.SupportsIndex,
        search: str,
    ) -> None: ...
    def __len__(self) -> int: ...
    def add(
        self,
        ids: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        image: MatrixView,
        text: MatrixView,
    ) -> tuple: ...
    def forget(self) -> None: ...
    def remember(
        self,
        ids: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        image: MatrixView,
        text: MatrixView,
    ) -> None: ...
    def rows(
        self,
    ) -> tuple[
        numpy.typing.NDArray[numpy.int64],
        numpy.typing.NDArray[numpy.float32],
        numpy.typing.NDArray[numpy.float32],
    ]: ...
    @property
    def image_dim(self) -> int: ...
    @property
    def text_dim(self) -> int: ...

class HardnessSchedule:
    def __init__(
        self,
        *,
        epochs: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        shape: str = "linear",
        rank_min: typing.SupportsInt | typing.SupportsIndex | None = None,
        rank_max: typing.SupportsInt | typing.SupportsIndex | None = None,
        draw_temperature: typing.SupportsFloat | typing.SupportsIndex | None = None,
        fraction: typing.SupportsFloat | typing.SupportsIndex | None = None,
    ) -> None: ...

class BatchSampler:
    @typing.overload
    def __init__(
        self,
        pairs: HardPairs,
        *,
        batch_size: typing.SupportsInt | typing.SupportsIndex = 256,
        hard_per_target: typing.SupportsInt | typing.SupportsIndex = 1,
        seed: typing.SupportsInt | typing.SupportsIndex = 0,
        rank: typing.SupportsInt | typing.SupportsIndex = 0,
        world_size: typing.SupportsInt | typing.SupportsIndex = 1,
        rank_min: typing.SupportsInt | typing.SupportsIndex = 0,
        rank_max: typing.SupportsInt | typing.SupportsIndex = 0,
        draw_temperature: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        fraction: typing.SupportsFloat | typing.SupportsIndex = 1.0,
        short_policy: str = "skip",
        strategy: str = "auto",
        schedule: HardnessSchedule = ...,
        targets_per_batch: typing.SupportsInt | typing.SupportsIndex = 0,
        order: str = "rows",
        block: typing.SupportsInt | typing.SupportsIndex = 1024,
        walk_rows: typing.SupportsInt | typing.SupportsIndex = 256,
        restart: typing.SupportsFloat | typing.SupportsIndex = 0.1,
        community_rows: typing.SupportsInt | typing.SupportsIndex = 8,
        group_offsets: typing.Annotated[numpy.typing.ArrayLike, numpy.int64] | None = None,
        groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64] | None = None,
    ) -> None: ...
    @typing.overload
    def __init__(
        self,
        pairs: GrowingPairs,
        *,
        batch_size: typing.SupportsInt | typing.SupportsIndex = 256,
        hard_per_target: typing.SupportsInt | typing.SupportsIndex = 1,
        seed: typing.SupportsInt | typing.SupportsIndex = 0,
        rank: typing.SupportsInt | typing.SupportsIndex = 0,
        world_size: typing.SupportsInt | typing.SupportsIndex = 1,
        rank_min: typing.SupportsInt | typing.SupportsIndex = 0,
        rank_max: typing.SupportsInt | typing.SupportsIndex = 0,
        draw_temperature: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        fraction: typing.SupportsFloat | typing.SupportsIndex = 1.0,
        short_policy: str = "skip",
        strategy: str = "auto",
        schedule: HardnessSchedule = ...,
        targets_per_batch: typing.SupportsInt | typing.SupportsIndex = 0,
        order: str = "rows",
        block: typing.SupportsInt | typing.SupportsIndex = 1024,
        walk_rows: typing.SupportsInt | typing.SupportsIndex = 256,
        restart: typing.SupportsFloat | typing.SupportsIndex = 0.1,
        community_rows: typing.SupportsInt | typing.SupportsIndex = 8,
        group_offsets: typing.Annotated[numpy.typing.ArrayLike, numpy.int64] | None = None,
        groups: typing.Annotated[numpy.typing.ArrayLike, numpy.int64] | None = None,
    ) -> None: ...
    def batch(
        self,
        step: typing.SupportsInt | typing.SupportsIndex,
        rank: typing.SupportsInt | typing.SupportsIndex | None = None,
    ) -> tuple[
        numpy.typing.NDArray[numpy.int64],
        numpy.typing.NDArray[numpy.int64],
        numpy.typing.NDArray[numpy.int32],
    ]: ...
    def batches_after(self, consumed: typing.SupportsInt | typing.SupportsIndex) -> int: ...
    def hardness(
        self, step: typing.SupportsInt | typing.SupportsIndex
    ) -> tuple[int, int, float, float]: ...
    def reset_statistics(self) -> None: ...
    def set_epoch(
        self,
        epoch: typing.SupportsInt | typing.SupportsIndex,
        consumed: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> None: ...
    def statistics(self) -> dict: ...
    def targets_before(
        self,
        step: typing.SupportsInt | typing.SupportsIndex,
        consumed: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> int: ...
    @property
    def batches_per_epoch(self) -> int: ...
    @property
    def eligible_targets(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def skipped_targets(self) -> int: ...
    @property
    def strategy(self) -> str: ...

class PairIndexOptions:
    def __init__(
        self,
        *,
        image_max: typing.SupportsFloat | typing.SupportsIndex,
        text_max: typing.SupportsFloat | typing.SupportsIndex,
        degree: typing.SupportsInt | typing.SupportsIndex,
        breadth: typing.SupportsInt | typing.SupportsIndex,
        seed: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    @property
    def breadth(self) -> int: ...
    @property
    def degree(self) -> int: ...
    @property
    def image_max(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def text_max(self) -> float: ...

class PairIndex:
    @staticmethod
    def build(
        image: MatrixView,
        text: MatrixView,
        options: PairIndexOptions,
        ids: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        threads: typing.SupportsInt | typing.SupportsIndex,
        progress: typing.Any = None,
    ) -> PairIndex: ...
    @staticmethod
    def open(path: os.PathLike | str | bytes) -> PairIndex: ...
    @staticmethod
    def open_hnswlib(
        path: os.PathLike | str | bytes,
        image_dim: typing.SupportsInt | typing.SupportsIndex,
        options: PairIndexOptions,
        threads: typing.SupportsInt | typing.SupportsIndex,
    ) -> PairIndex: ...
    def __len__(self) -> int: ...
    def add(
        self,
        image: MatrixView,
        text: MatrixView,
        ids: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        threads: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def ids(self) -> numpy.typing.NDArray[numpy.int64]: ...
    def near(
        self,
        ids: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        k: typing.SupportsInt | typing.SupportsIndex,
        breadth: typing.SupportsInt | typing.SupportsIndex,
        threads: typing.SupportsInt | typing.SupportsIndex,
        listed: typing.Annotated[numpy.typing.ArrayLike, numpy.int64] | None,
        among: bool,
    ) -> tuple: ...
    def query(
        self,
        image: MatrixView,
        text: MatrixView,
        k: typing.SupportsInt | typing.SupportsIndex,
        breadth: typing.SupportsInt | typing.SupportsIndex,
        threads: typing.SupportsInt | typing.SupportsIndex,
        listed: typing.Annotated[numpy.typing.ArrayLike, numpy.int64] | None,
        among: bool,
    ) -> tuple: ...
    def remove(self, ids: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]) -> None: ...
    def replace(
        self,
        image: MatrixView,
        text: MatrixView,
        ids: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        threads: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def save(self, path: os.PathLike | str | bytes) -> None: ...
    def save_hnswlib(self, path: os.PathLike | str | bytes) -> None: ...
    @property
    def image_dim(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def options(self) -> PairIndexOptions: ...
    @property
    def text_dim(self) -> int: ...

class PairCosines:
    def __init__(
        self,
        image: MatrixView,
        text: MatrixView,
        threads: typing.SupportsInt | typing.SupportsIndex,
        progress: typing.Any = None,
    ) -> None: ...
    def of(
        self,
        sides: str,
        first: typing.SupportsInt | typing.SupportsIndex,
        ids: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    ) -> numpy.typing.NDArray[numpy.float64]: ...

class ImageTransform:
    def __init__(
        self,
        *,
        height: typing.SupportsInt | typing.SupportsIndex,
        width: typing.SupportsInt | typing.SupportsIndex,
        crop: str,
        scale: typing.Annotated[
            collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(2)"
        ],
        ratio: typing.Annotated[
            collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(2)"
        ],
        fill: typing.Annotated[
            collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"
        ],
        interpolation: str,
        jitter_probability: typing.SupportsFloat | typing.SupportsIndex,
        brightness: typing.SupportsFloat | typing.SupportsIndex,
        contrast: typing.SupportsFloat | typing.SupportsIndex,
        saturation: typing.SupportsFloat | typing.SupportsIndex,
        hue: typing.SupportsFloat | typing.SupportsIndex,
        grayscale_probability: typing.SupportsFloat | typing.SupportsIndex,
        blur_probability: typing.SupportsFloat | typing.SupportsIndex,
        blur_sigma: typing.Annotated[
            collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(2)"
        ],
        flip_probability: typing.SupportsFloat | typing.SupportsIndex,
        dtype: str,
        layout: str,
        mean: typing.Annotated[
            collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"
        ],
        std: typing.Annotated[
            collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(3)"
        ],
        exact_decode: bool,
        max_pixels: typing.SupportsInt | typing.SupportsIndex,
        max_bytes: typing.SupportsInt | typing.SupportsIndex,
        resize: typing.SupportsInt | typing.SupportsIndex,
        max_aspect: typing.SupportsFloat | typing.SupportsIndex,
        max_seconds: typing.SupportsFloat | typing.SupportsIndex,
    ) -> None: ...
    def apply(
        self,
        encoded: typing_extensions.Buffer,
        *,
        seed: typing.SupportsInt | typing.SupportsIndex,
        epoch: typing.SupportsInt | typing.SupportsIndex,
        row: typing.SupportsInt | typing.SupportsIndex,
        view: typing.SupportsInt | typing.SupportsIndex,
    ) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    def apply_pixels(
        self,
        rgb: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8],
        *,
        seed: typing.SupportsInt | typing.SupportsIndex,
        epoch: typing.SupportsInt | typing.SupportsIndex,
        row: typing.SupportsInt | typing.SupportsIndex,
        view: typing.SupportsInt | typing.SupportsIndex,
    ) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    @property
    def bytes(self) -> int: ...
    @property
    def shape(self) -> list[int]: ...

class SampleIndex:
    @staticmethod
    def build(
        shards: collections.abc.Sequence[os.PathLike | str | bytes],
        image_extensions: collections.abc.Sequence[str],
        contents: bool = False,
        threads: typing.SupportsInt | typing.SupportsIndex = 0,
        previous: SampleIndex | None = None,
        progress: typing.Any = None,
    ) -> SampleIndex: ...
    @staticmethod
    def from_bytes(data: bytes) -> SampleIndex: ...
    @staticmethod
    def join(
        shards: collections.abc.Sequence[
            tuple[SampleIndex, typing.SupportsInt | typing.SupportsIndex]
        ],
    ) -> SampleIndex: ...
    @staticmethod
    def open(
        path: os.PathLike | str | bytes,
        root: os.PathLike | str | bytes | None = None,
        check_shards: bool = True,
    ) -> SampleIndex: ...
    @staticmethod
    def scan(
        file: os.PathLike | str | bytes,
        *,
        path: str,
        modified: typing.SupportsInt | typing.SupportsIndex,
        tag: str,
        image_extensions: collections.abc.Sequence[str],
        contents: bool,
    ) -> SampleIndex: ...
    def __len__(self) -> int: ...
    def counts(self) -> dict: ...
    def digests(self, rows: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]) -> tuple: ...
    def keys(
        self,
        first: typing.SupportsInt | typing.SupportsIndex,
        last: typing.SupportsInt | typing.SupportsIndex,
    ) -> list[str]: ...
    def may_be_image(
        self, row: typing.SupportsInt | typing.SupportsIndex, bytes: typing_extensions.Buffer
    ) -> bool: ...
    def member(
        self, row: typing.SupportsInt | typing.SupportsIndex, field: str
    ) -> tuple[str, int, int, int]: ...
    def read(self, row: typing.SupportsInt | typing.SupportsIndex, field: str) -> bytes: ...
    def readable(
        self, row: typing.SupportsInt | typing.SupportsIndex, field: str
    ) -> tuple[int, int, int]: ...
    def save(self, path: os.PathLike | str | bytes) -> None: ...
    def shards(self) -> list: ...
    def to_bytes(self) -> bytes: ...
    def verify(
        self,
        contents: bool = False,
        threads: typing.SupportsInt | typing.SupportsIndex = 0,
        progress: typing.Any = None,
    ) -> None: ...
    def will_need(self, rows: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]) -> None: ...
    @property
    def at_urls(self) -> bool: ...
    @property
    def contents(self) -> bool: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def generation(self) -> int: ...
    @property
    def image_extensions(self) -> list[str]: ...
    @property
    def path(self) -> str: ...
    @property
    def scanned(self) -> int: ...

class ImageSource:
    def __len__(self) -> int: ...

class ImageFiles(ImageSource):
    def __init__(
        self,
        roots: collections.abc.Sequence[str],
        starts: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        blob: bytes,
        offsets: numpy.typing.NDArray[numpy.int64],
        follow_links: bool,
        absolute_paths: bool,
    ) -> None: ...

class ShardImages(ImageSource):
    def __init__(self, index: SampleIndex) -> None: ...

class BatchAssembler:
    def __init__(
        self,
        source: ImageSource,
        views: collections.abc.Sequence[ImageTransform],
        *,
        seed: typing.SupportsInt | typing.SupportsIndex,
        threads: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def clear(self) -> None: ...
    def submit(
        self,
        rows: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        names: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        epoch: typing.SupportsInt | typing.SupportsIndex,
        out: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ) -> int: ...
    def take_unsupported(
        self,
        ticket: typing.SupportsInt | typing.SupportsIndex,
        seconds: typing.SupportsFloat | typing.SupportsIndex,
    ) -> int | None: ...
    def time(self) -> tuple[float, float]: ...
    def wait(self, ticket: typing.SupportsInt | typing.SupportsIndex) -> list: ...
    @property
    def threads(self) -> int: ...

class PythonImages(ImageSource):
    """
    Images that Python reads, called from threads of the core.
    """
    def __init__(
        self,
        *,
        size: typing.SupportsInt | typing.SupportsIndex,
        rows_ahead: typing.SupportsInt | typing.SupportsIndex,
        read: typing.Any,
        will_need: typing.Any,
    ) -> None: ...

def add_rows(
    pairs: HardPairs,
    image: MatrixView,
    text: MatrixView,
    options: MineOptions,
    out: os.PathLike | str | bytes = "",
) -> tuple[HardPairs, tuple]: ...
def assemble_store(
    path: os.PathLike | str | bytes,
    sources: collections.abc.Sequence[EmbeddingStore],
    runs: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    shard_rows: typing.SupportsInt | typing.SupportsIndex,
    metadata_json: str,
    progress: typing.Any = None,
) -> EmbeddingStore: ...
def block_checksums(
    data: typing_extensions.Buffer, block: typing.SupportsInt | typing.SupportsIndex
) -> numpy.typing.NDArray[numpy.uint64]: ...
def caption_digests(
    captions: collections.abc.Sequence[str],
) -> numpy.typing.NDArray[numpy.uint64]: ...
def decodes_format(format: str) -> bool: ...
def guard_mapped_files() -> None: ...
def kernel_name() -> str: ...
def kernel_names() -> list[str]: ...
def keys_fingerprint(keys: collections.abc.Sequence[str]) -> str: ...
def locality_order(
    pairs: HardPairs,
    *,
    block: typing.SupportsInt | typing.SupportsIndex = 64,
    rank_max: typing.SupportsInt | typing.SupportsIndex = 0,
    seed: typing.SupportsInt | typing.SupportsIndex = 0,
    progress: typing.Any = None,
) -> numpy.typing.NDArray[numpy.int64]: ...
def may_be_same_images(
    a: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64],
    b: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64],
) -> numpy.typing.NDArray[numpy.bool]: ...
def merge_negatives_parts(
    parts: collections.abc.Sequence[os.PathLike | str | bytes],
    out: os.PathLike | str | bytes,
    progress: typing.Any = None,
) -> HardNegatives: ...
def merge_parts(
    parts: collections.abc.Sequence[os.PathLike | str | bytes],
    out: os.PathLike | str | bytes,
    progress: typing.Any = None,
) -> HardPairs: ...
def merge_shares(
    store: EmbeddingStore,
    count: typing.SupportsInt | typing.SupportsIndex,
    step: typing.SupportsInt | typing.SupportsIndex,
    options: MineOptions,
    folder: os.PathLike | str | bytes,
    out: os.PathLike | str | bytes,
    progress: typing.Any = None,
) -> HardPairs | None: ...
def mine(
    image: MatrixView,
    text: MatrixView,
    options: MineOptions,
    progress: typing.Any = None,
    out: os.PathLike | str | bytes = "",
) -> HardPairs: ...
def mine_and_list_drops(
    image: MatrixView, text: MatrixView, options: MineOptions, out: os.PathLike | str | bytes = ""
) -> tuple[HardPairs, tuple]: ...
def mine_channels(
    channels: collections.abc.Sequence[MatrixView],
    options: MineOptions,
    progress: typing.Any = None,
    out: os.PathLike | str | bytes = "",
) -> HardPairs: ...
def mine_negatives(
    input: NegativesInput,
    options: MineOptions,
    progress: typing.Any = None,
    out: os.PathLike | str | bytes = "",
) -> HardNegatives: ...
def mine_negatives_part(
    input: NegativesInput,
    index: typing.SupportsInt | typing.SupportsIndex,
    count: typing.SupportsInt | typing.SupportsIndex,
    options: MineOptions,
    out: os.PathLike | str | bytes,
    progress: typing.Any = None,
) -> HardPairsPart: ...
def mine_part(
    store: EmbeddingStore,
    index: typing.SupportsInt | typing.SupportsIndex,
    count: typing.SupportsInt | typing.SupportsIndex,
    options: MineOptions,
    out: os.PathLike | str | bytes,
    progress: typing.Any = None,
) -> HardPairsPart: ...
def mine_share(
    store: EmbeddingStore,
    step: typing.SupportsInt | typing.SupportsIndex,
    index: typing.SupportsInt | typing.SupportsIndex,
    count: typing.SupportsInt | typing.SupportsIndex,
    options: MineOptions,
    folder: os.PathLike | str | bytes,
    progress: typing.Any = None,
) -> None: ...
def mine_store(
    store: EmbeddingStore,
    options: MineOptions,
    progress: typing.Any = None,
    out: os.PathLike | str | bytes = "",
) -> HardPairs: ...
def mine_targets(
    image: MatrixView,
    text: MatrixView,
    targets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    options: MineOptions,
    progress: typing.Any = None,
) -> tuple: ...
def negatives_options(input: NegativesInput, options: MineOptions) -> str: ...
def packed_caption_digests(
    blob: bytes,
    offsets: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    rows: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
) -> numpy.typing.NDArray[numpy.uint64]: ...
def plan(image: MatrixView, text: MatrixView, options: MineOptions) -> dict: ...
def plan_channels(channels: collections.abc.Sequence[MatrixView], options: MineOptions) -> dict: ...
def positives_digest(begins: MatrixView, rows: MatrixView) -> str: ...
def prepare_shares(
    store: EmbeddingStore,
    count: typing.SupportsInt | typing.SupportsIndex,
    options: MineOptions,
    folder: os.PathLike | str | bytes,
    progress: typing.Any = None,
) -> int: ...
def rerank(
    image: MatrixView,
    text: MatrixView,
    targets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    candidates: MatrixView,
    options: MineOptions,
) -> tuple: ...
def rerank_and_list_drops(
    image: MatrixView,
    text: MatrixView,
    targets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    candidates: MatrixView,
    options: MineOptions,
) -> tuple[tuple, tuple]: ...
def set_kernel(name: str) -> None: ...
def update(
    pairs: HardPairs,
    store: EmbeddingStore,
    threads: typing.SupportsInt | typing.SupportsIndex = 0,
    memory: typing.SupportsInt | typing.SupportsIndex = 0,
    progress: typing.Any = None,
    out: os.PathLike | str | bytes = "",
    codes: os.PathLike | str | bytes = "",
    keep_codes: bool = False,
) -> HardPairs: ...
def usable_memory() -> int: ...
def usable_processors() -> int: ...

__version__: str = "0.1.0"
