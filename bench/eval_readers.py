"""How far the C++ reader and Pillow are apart: cosines of a model's features, recalls.

    python bench/eval_readers.py --model RUN --data DEMO/data/heldout-concepts
    python bench/eval_readers.py --model packaged --photographs 60 --sides 300,600,1024,2400

Each picture is read by Pillow with open_clip's transform of evaluation, by the core with exact
decoding (what ``evaluate(reader="core")`` does), and by the core with JPEGs decoded to a half or a
quarter where that is enough (``ImageTransform.eval`` as it is, which ``evaluate`` does not use).
Printed are the lowest and the mean cosine to Pillow's features, as they are and without the mean of
all features, which is the harder test. ``packaged`` is EfficientNet-Lite0 with ImageNet's weights,
at 224 pixels. With ``--data`` and a model of captions the recalls of both readers are printed too.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transforms import encoded

import helip
from helip.data.image_transform import ImageTransform, core_transform


def of_packaged() -> tuple[Any, Any]:
    from open_clip.transform import image_transform

    from helip.encoders.families.packaged import load_image
    from helip.encoders.spec import parse_spec

    encode = load_image(parse_spec("packaged:efficientnet-lite0"), torch.device("cpu")).embed
    # What it was trained with: (x - 127) / 128.
    return encode, image_transform(224, False, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)


def features(encode: Any, pixels: list[Tensor], batch: int = 32) -> Tensor:
    with torch.inference_mode():
        parts = [
            encode(torch.stack(pixels[first : first + batch])).double()
            for first in range(0, len(pixels), batch)
        ]
    return torch.cat(parts)


def cosines(one: Tensor, other: Tensor) -> dict[str, float]:
    found = {}
    for name, centre in (("plain", torch.zeros(1)), ("centred", other.mean(0))):
        cosine = nn.functional.cosine_similarity(one - centre, other - centre)
        found |= {f"{name} lowest": float(cosine.min()), f"{name} mean": float(cosine.mean())}
    return found


def compared(encode: Any, transform: Any, pictures: list[bytes]) -> dict[str, dict[str, float]]:
    exact = core_transform(transform)
    assert exact is not None, "not open_clip's transform of evaluation"
    options = {name: getattr(exact, name) for name in ("size", "mean", "std", "interpolation")}
    scaled = ImageTransform.eval(**options)
    by_pillow = [transform(Image.open(io.BytesIO(data)).convert("RGB")) for data in pictures]
    reference = features(encode, by_pillow)
    found = {}
    for name, core in (("exact", exact), ("scaled", scaled)):
        pixels = [core.from_bytes(data) for data in pictures]
        levels = [
            ((a - b).abs() * torch.tensor(exact.std)[:, None, None] * 255).max().item()
            for a, b in zip(pixels, by_pillow, strict=True)
        ]
        found[name] = cosines(features(encode, pixels), reference)
        found[name]["largest difference, levels"] = float(np.max(levels))
    return found


def recalls(model: str, data: str) -> dict[str, Any]:
    found = {}
    for reader in ("pillow", "core"):
        result = helip.evaluate(model, data, reader=reader, bootstrap=0, keep_ranks=True)
        found[reader] = result["retrieval"]
    return {
        direction: {
            **{
                f"recall@{k}": [found[r][direction][f"recall@{k}"]["value"] for r in found]
                for k in (1, 5, 10)
            },
            "queries": found["core"][direction]["recall@1"]["n"],
            "other rank": int(
                np.not_equal(*(found[r]["per_query"][direction]["ranks"] for r in found)).sum()
            ),
        }
        for direction in ("image_to_text", "text_to_image")
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", default="packaged")
    options.add_argument("--data", help="what open_dataset takes; its pictures are compared")
    options.add_argument("--jpeg", type=int, help="of --data: as JPEGs of this shorter side")
    options.add_argument("--photographs", type=int, default=60, help="of each side, without --data")
    options.add_argument("--sides", default="300,600,1024,2400")
    given = options.parse_args()
    if given.model == "packaged":
        encode, transform = of_packaged()
    else:
        bundle = helip.create_model(given.model)
        bundle.model.eval()
        encode, transform = bundle.model.encode_image, bundle.eval_transform
    if given.data is None:
        for side in map(int, given.sides.split(",")):
            found = compared(encode, transform, encoded(side, given.photographs))
            print(json.dumps({"side": side, "photographs": given.photographs, **found}))
        return
    data = helip.open_dataset(given.data)
    with tempfile.TemporaryDirectory() as folder:
        pictures = [
            written(data.image(row), Path(folder) / f"{row:05d}", given.jpeg)
            for row in range(len(data))
        ]
        for row in range(len(data)):
            (Path(folder) / f"{row:05d}.txt").write_text(data.caption(row), encoding="utf-8")
        print(json.dumps({"pictures": len(pictures), **compared(encode, transform, pictures)}))
        if given.model != "packaged":
            print(json.dumps(recalls(given.model, folder)))


def written(image: Image.Image, stem: Path, side: int | None) -> bytes:
    """A PNG as it is, or a JPEG of a shorter side of ``side``; also as a file."""
    if side is not None:
        scale = side / min(image.size)
        size = tuple(round(edge * scale) for edge in image.size)
        image = image.resize(size, Image.Resampling.LANCZOS)
    kind = ("PNG", ".png") if side is None else ("JPEG", ".jpg")
    file = io.BytesIO()
    image.save(file, kind[0], **({} if side is None else {"quality": 90}))
    stem.with_suffix(kind[1]).write_bytes(file.getvalue())
    return file.getvalue()


if __name__ == "__main__":
    main()
