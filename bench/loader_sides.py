"""The sides of bench/loader.py: each gives batches of normalised tensors and tokens, for ever.

All of them: RandomResizedCrop to 224 px with scale 0.9 to 1.0 (open_clip's training recipe),
float32 NCHW normalised by CLIP's mean and deviation, and captions through open_clip's tokenizer,
256 rows a batch, ``workers`` processes or threads. What differs:

- ``open_clip``: open_clip's own CSV loader: ``open_clip_train.data.CsvDataset`` (files, PIL, its
  transform) in a shuffled DataLoader. ``open_clip-hard`` draws half of each batch from the table of
  hard pairs, as the method's released code does with files on disk.
- ``torchvision``: DataLoader, files, ``torchvision.io.decode_jpeg`` and v2 transforms on uint8
  tensors, bicubic with antialias.
- ``simplejpeg``: the same with ``simplejpeg.decode_jpeg`` (libjpeg-turbo with SIMD).
- ``webdataset``: shards in sequence, a shuffle buffer of 1,000, PIL and open_clip's transform: what
  open_clip does with ``--dataset-type webdataset``. No hard pairs: it cannot read at random.
- ``spdl``: a pipeline of threads on files; FFmpeg decodes, crops and scales by swscale (bicubic,
  without antialias); the lock is released. Crops keep their aspect: its filter draws width and
  height alike. Needs FFmpeg's libraries (Debian: libavdevice61).
- ``ffcv``: its own file format (JPEG kept), threads, its decoder crops and scales by OpenCV's area
  filter, for it has no other.
- ``helip``: HardPairLoader on the tar shards with one hard pair a target; ``helip-plain`` without;
  ``helip-sequential`` reads the shards front to back, through the same code.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pictures import Pictures, hard_pairs

SIZE = 224
SCALE = (0.9, 1.0)
RATIO = (3 / 4, 4 / 3)
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)

Batches = Iterator[tuple[Any, Any]]  # (images [b, 3, 224, 224] float32, tokens [b, 77] int64)


def open_clip_transform() -> Any:
    import open_clip.transform

    return open_clip.transform.image_transform(SIZE, is_train=True, mean=MEAN, std=DEVIATION)


@functools.cache
def tokenizer() -> Any:
    import open_clip

    return open_clip.get_tokenizer("ViT-B-32")


# DataLoader


def open_clip(pictures: Pictures, batch: int, workers: int, rows: int) -> Batches:
    return _csv(pictures, workers, {"batch_size": batch, "sampler": _Shuffled(rows)})


def open_clip_hard(pictures: Pictures, batch: int, workers: int, rows: int) -> Batches:
    return _csv(pictures, workers, {"batch_sampler": _HardBatches(rows, batch)})


def _csv(pictures: Pictures, workers: int, order: dict[str, Any]) -> Batches:
    from open_clip_train.data import CsvDataset
    from torch.utils.data import DataLoader

    data = CsvDataset(
        str(pictures.table), open_clip_transform(), "filepath", "title", tokenizer=tokenizer()
    )
    return iter(DataLoader(data, num_workers=workers, **order))


class _Shuffled:
    """Row numbers in a random order, and again in another, without an end."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[int]:
        for epoch in itertools.count():
            yield from np.random.default_rng(epoch).permutation(self._rows).tolist()


class _HardBatches:
    """Batches of targets, each with one row of its pool: row numbers."""

    def __init__(self, rows: int, batch: int) -> None:
        self._ids, _ = hard_pairs(rows)
        self._targets = batch // 2

    def __iter__(self) -> Iterator[list[int]]:
        rows, drawn = iter(_Shuffled(len(self._ids))), np.random.default_rng(0)
        while True:
            targets = list(itertools.islice(rows, self._targets))
            taken = set(targets)
            hard = []
            for target in targets:
                pool = [row for row in drawn.permutation(self._ids[target]) if row not in taken]
                if pool:
                    hard.append(int(pool[0]))
                    taken.add(hard[-1])
            yield targets + hard


class _Files:
    """Picture and tokens of a file, by a decoder that gives uint8 [3, h, w], and v2 transforms."""

    def __init__(self, pictures: Pictures, decode: Callable[[str], Any]) -> None:
        import torch
        from torchvision.transforms import InterpolationMode, v2

        lines = pictures.table.read_text().splitlines()[1:]
        self._rows = [line.split("\t") for line in lines]
        self._decode = decode
        self._transform = v2.Compose([
            v2.RandomResizedCrop(
                SIZE, scale=SCALE, interpolation=InterpolationMode.BICUBIC, antialias=True
            ),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, DEVIATION),
        ])  # fmt: skip
        self._tokenizer = tokenizer()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        path, text = self._rows[row]
        return self._transform(self._decode(path)), self._tokenizer([text])[0]


def _torchvision_decode(path: str) -> Any:
    from torchvision.io import ImageReadMode, decode_jpeg, read_file

    return decode_jpeg(read_file(path), mode=ImageReadMode.RGB)


def _simplejpeg_decode(path: str) -> Any:
    import simplejpeg
    import torch

    pixels = simplejpeg.decode_jpeg(Path(path).read_bytes(), fastdct=False, fastupsample=False)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def torchvision(pictures: Pictures, batch: int, workers: int, rows: int) -> Batches:
    return _files(pictures, batch, workers, rows, _torchvision_decode)


def simplejpeg(pictures: Pictures, batch: int, workers: int, rows: int) -> Batches:
    import simplejpeg  # noqa: F401  says at once that it is absent

    return _files(pictures, batch, workers, rows, _simplejpeg_decode)


def _files(
    pictures: Pictures, batch: int, workers: int, rows: int, decode: Callable[[str], Any]
) -> Batches:
    from torch.utils.data import DataLoader

    return iter(
        DataLoader(
            _Files(pictures, decode),  # type: ignore[arg-type]
            batch_size=batch, sampler=_Shuffled(rows), num_workers=workers,  # type: ignore[arg-type]
        )
    )  # fmt: skip


# Streams


def webdataset(pictures: Pictures, batch: int, workers: int, rows: int) -> Batches:
    import webdataset as wds

    words = tokenizer()
    data = (
        wds.WebDataset(pictures.shards, shardshuffle=100, nodesplitter=wds.split_by_node)
        .repeat()
        .shuffle(1000)
        .decode("pilrgb")
        .to_tuple("jpg", "txt")
        .map_tuple(open_clip_transform(), lambda text: words([text])[0])
        .batched(batch, partial=False)
    )
    return iter(wds.WebLoader(data, batch_size=None, num_workers=workers))


def spdl(pictures: Pictures, batch: int, workers: int, rows: int) -> Batches:
    import spdl.io
    import torch
    from spdl.pipeline import PipelineBuilder

    data = pictures.table.read_text().splitlines()[1:]
    words = tokenizer()
    mean = torch.tensor(MEAN)[:, None, None] * 255
    deviation = torch.tensor(DEVIATION)[:, None, None] * 255

    def load(row: int) -> tuple[Any, Any]:
        path, text = data[row].split("\t")
        # Which part of the area, and where; its filter knows the size of the picture, we do not.
        side = math.sqrt(random.uniform(*SCALE))
        across, down = random.random(), random.random()
        filters = (
            f"crop=w=iw*{side:.5f}:h=ih*{side:.5f}:x=(iw-ow)*{across:.5f}:y=(ih-oh)*{down:.5f},"
            f"scale={SIZE}:{SIZE}:flags=bicubic,format=pix_fmts=rgb24"
        )
        pixels = spdl.io.to_torch(spdl.io.load_image(path, filter_desc=filters))
        image = (pixels.permute(2, 0, 1).float() - mean) / deviation
        return image, words([text])[0]

    def collate(samples: list[tuple[Any, Any]]) -> tuple[Any, Any]:
        images, texts = zip(*samples, strict=True)
        return torch.stack(images), torch.stack(texts)

    load(0)  # says what is missing; in a thread it would only be logged
    pipeline = (
        PipelineBuilder()
        .add_source(_Shuffled(rows))
        .pipe(load, concurrency=workers)
        .aggregate(batch)
        .pipe(collate)
        .add_sink(2)
        .build(num_threads=workers, max_failures=0)
    )

    def batches() -> Batches:
        with pipeline.auto_stop():
            yield from pipeline

    return batches()


def ffcv(pictures: Pictures, batch: int, workers: int, rows: int) -> Batches:
    import torch
    from ffcv.fields.decoders import NDArrayDecoder, RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import NormalizeImage, ToTensor, ToTorchImage

    images = [
        RandomResizedCropRGBImageDecoder((SIZE, SIZE), scale=SCALE, ratio=RATIO),
        NormalizeImage(np.array(MEAN) * 255, np.array(DEVIATION) * 255, np.float32),
        ToTensor(),
        ToTorchImage(channels_last=False),
    ]
    loader = Loader(
        str(_beton(pictures)), batch_size=batch, num_workers=workers, order=OrderOption.RANDOM,
        os_cache=True, drop_last=True,
        pipelines={"image": images, "text": [NDArrayDecoder(), ToTensor()]},
    )  # fmt: skip

    def batches() -> Batches:
        while True:
            for image, text in loader:
                yield image, text.to(torch.int64)

    return batches()


def _beton(pictures: Pictures) -> Path:
    """The pictures in FFCV's format, made on first use; JPEGs are encoded once more."""
    from ffcv.fields import NDArrayField, RGBImageField
    from ffcv.writer import DatasetWriter
    from PIL import Image

    path = pictures.folder / "pictures.beton"
    if path.exists():
        return path
    words, lines = tokenizer(), pictures.table.read_text().splitlines()[1:]

    class Rows:
        def __len__(self) -> int:
            return len(lines)

        def __getitem__(self, row: int) -> tuple[Any, Any]:
            file, text = lines[row].split("\t")
            with Image.open(file) as picture:
                return picture.convert("RGB"), words([text])[0].numpy()

    staging = path.with_suffix(".writing")
    fields = {
        "image": RGBImageField(write_mode="jpg", jpeg_quality=88),
        "text": NDArrayField(np.dtype("int64"), (77,)),
    }
    DatasetWriter(str(staging), fields, num_workers=1).from_indexed_dataset(Rows())
    staging.rename(path)
    return path


# helip


def helip_hard(pictures: Pictures, batch: int, workers: int, rows: int) -> Batches:
    import helip

    ids, scores = hard_pairs(rows)
    pairs = helip.HardPairs.from_arrays(ids, scores)
    return _endless(_helip(pictures, pairs, batch, workers))


def helip_plain(pictures: Pictures, batch: int, workers: int, rows: int) -> Batches:
    return _endless(_helip(pictures, None, batch, workers))


def helip_sequential(pictures: Pictures, batch: int, workers: int, rows: int) -> Batches:
    loader = _helip(pictures, None, batch, workers)
    loader._sampler = _InOrder(loader._sampler, rows, batch)
    return _endless(loader)


def _helip(pictures: Pictures, pairs: Any, batch: int, workers: int) -> Any:
    import helip

    data = helip.open_dataset(pictures.shards, progress=False)
    native = getattr(helip, "ImageTransform", None)
    transform = open_clip_transform() if native is None else native.train(size=SIZE, scale=SCALE)
    return helip.HardPairLoader(
        data, pairs, batch_size=batch, hard_per_target=0 if pairs is None else 1, workers=workers,
        transform=transform, tokenizer=tokenizer(),
    )  # fmt: skip


def _endless(loader: Iterable[dict[str, Any]]) -> Batches:
    while True:
        for batch in loader:
            yield batch["image"], batch["text"]


class _InOrder:
    """A batch sampler whose batches are the rows from the first to the last."""

    def __init__(self, sampler: Any, rows: int, batch: int) -> None:
        self._sampler, self._rows, self._batch = sampler, rows, batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        self._sampler.batch(step)  # for its counts
        rows = np.arange(step * self._batch, min((step + 1) * self._batch, self._rows))
        return rows, np.arange(len(rows))


SIDES: dict[str, Callable[[Pictures, int, int, int], Batches]] = {
    "open_clip": open_clip,
    "open_clip-hard": open_clip_hard,
    "torchvision": torchvision,
    "simplejpeg": simplejpeg,
    "webdataset": webdataset,
    "spdl": spdl,
    "ffcv": ffcv,
    "helip": helip_hard,
    "helip-plain": helip_plain,
    "helip-sequential": helip_sequential,
}
# What a side imports, before its time is taken.
IMPORTS = {
    "open_clip": ("open_clip_train.data",),
    "open_clip-hard": ("open_clip_train.data",),
    "torchvision": ("torchvision.io", "torchvision.transforms.v2"),
    "simplejpeg": ("simplejpeg", "torchvision.transforms.v2"),
    "webdataset": ("webdataset",),
    "spdl": ("spdl.io", "spdl.pipeline"),
    "ffcv": ("ffcv.loader", "ffcv.transforms", "ffcv.fields.decoders"),
    **dict.fromkeys(("helip", "helip-plain", "helip-sequential"), ("helip",)),
}
PACKAGES = (
    "torch", "torchvision", "pillow", "open_clip_torch", "webdataset", "simplejpeg", "spdl", "ffcv",
)  # fmt: skip
