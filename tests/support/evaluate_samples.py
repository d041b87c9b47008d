"""Small models and data sets that evaluations are tested on."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from helip.common.errors import SampleError
from helip.models.bundle import ModelBundle, create_model

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def tiny_model(seed: int = 0) -> ModelBundle:
    """A real CLIP model with random weights."""
    return create_model("tiny", config=TINY, from_scratch=True, seed=seed)


COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255,) * 3}


class ColourModel(torch.nn.Module):
    """A stand-in for CLIP that knows four colours; ``flip`` makes it mix up red and blue."""

    logit_scale = torch.zeros(())

    def __init__(self, flip: bool = False):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.eye(3))
        self.flip = flip

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        assert not self.training
        return pixels.mean(dim=(2, 3)) @ self.weight

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        rows = torch.stack([torch.tensor(COLOURS[name]) / 255.0 for name in COLOURS])
        features = rows[tokens]
        return features.flip(1) if self.flip else features


def transform(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255.0).permute(2, 0, 1)


def tokenizer(strings: list[str]) -> torch.Tensor:
    names = list(COLOURS)
    found = ((i for i, name in enumerate(names) if name in s) for s in strings)
    return torch.tensor([next(each, 0) for each in found])


class ColourData:
    """Rows of (colour, caption); a colour or caption of None cannot be read."""

    fingerprint = "colours"

    def __init__(self, rows):
        self.rows = rows
        self.keys = [f"key{i}" for i in range(len(rows))]

    def __len__(self):
        return len(self.rows)

    def image(self, row):
        if self.rows[row][0] is None:
            raise error(self.keys[row], "unreadable_image")
        return Image.new("RGB", (4, 4), COLOURS[self.rows[row][0]])

    def caption(self, row):
        if self.rows[row][1] is None:
            raise error(self.keys[row], "missing_caption")
        return self.rows[row][1]

    def label(self, row):
        return self.rows[row][0]


def error(key, reason):
    return SampleError(f"sample {key!r}: {reason}", key=key, reason=reason)


def picture(seed: int, colour: Sequence[int] | None = None) -> Image.Image:
    """Noise around a colour."""
    random = np.random.default_rng(seed)
    base = random.integers(0, 256, 3) if colour is None else np.asarray(colour)
    noise = random.integers(-40, 41, (20, 24, 3))
    return Image.fromarray(np.clip(base + noise, 0, 255).astype(np.uint8))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def write_benchmark(
    folder: Path,
    samples: Sequence[tuple[bytes, str]],
    *,
    split: str = "test",
    shards: int = 2,
    retrieval: bool = False,
    classes: Sequence[str] | None = None,
    templates: Sequence[str] | None = None,
) -> Path:
    """(picture, label or captions) in CLIP_benchmark's layout."""
    place = folder / split
    place.mkdir(parents=True)
    for shard in range(shards):
        with tarfile.open(place / f"{shard}.tar", "w") as archive:
            for row in range(shard, len(samples), shards):
                image, text = samples[row]
                for suffix, raw in (("png", image), ("txt" if retrieval else "cls", text.encode())):
                    info = tarfile.TarInfo(f"s{row:07d}.{suffix}")
                    info.size = len(raw)
                    archive.addfile(info, io.BytesIO(raw))
    (place / "nshards.txt").write_text(f"{shards}\n")
    if retrieval:
        (folder / "dataset_type.txt").write_text("retrieval\n")
    if classes is not None:
        (folder / "classnames.txt").write_text("\n".join(classes) + "\n")
    if templates is not None:
        text = "\n".join(templates) + "\n"
        (folder / "zeroshot_classification_templates.txt").write_text(text)
    return folder


def write_sugarcrepe(folder: Path, categories: dict[str, list[tuple[str, ...]]]) -> Path:
    """category -> (file name, caption, SugarCrepe++'s second caption where given, wrong one)."""
    folder.mkdir(parents=True, exist_ok=True)
    for category, items in categories.items():
        value = {}
        for number, (filename, caption, *second, wrong) in enumerate(items):
            more = {"caption2": second[0]} if second else {}
            item = {"filename": filename, "caption": caption, **more, "negative_caption": wrong}
            value[str(number)] = item
        (folder / f"{category}.json").write_text(json.dumps(value))
    return folder


# Text and path of a picture; "" where there is none.
Input = tuple[str, str]


def write_mmeb(folder: Path, sets: dict[str, list[tuple[Input, list[Input]]]]) -> Path:
    """Data set -> queries, each with its candidates, the right one first; in MMEB's format."""
    import pyarrow
    from pyarrow import parquet

    for name, rows in sets.items():
        columns = {
            "qry_text": [query[0] for query, _ in rows],
            "qry_img_path": [query[1] for query, _ in rows],
            "tgt_text": [[each[0] for each in targets] for _, targets in rows],
            "tgt_img_path": [[each[1] for each in targets] for _, targets in rows],
        }
        place = folder / name / "test-00000-of-00001.parquet"
        place.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pyarrow.table(columns), place)
    return folder
