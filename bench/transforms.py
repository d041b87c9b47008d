"""Images a second and core: an encoded JPEG to a normalised float32 tensor of 224 x 224.

    python bench/transforms.py
    python bench/transforms.py --differences --sides 600,800,1024,2400

Pictures are real photographs (those that scikit-image and scikit-learn carry), cut and scaled to a
longer side of ``--sides`` and written as JPEG of quality 90, 4:2:0. Every way makes a
RandomResizedCrop and the same normalisation; ways take turns, and what is printed is processor
time, so that other work on the machine counts for little. All run on one thread.

- ``helip``: ``ImageTransform.from_bytes``; ``exact`` with ``exact_decode=True``.
- ``PIL``: Pillow and torchvision's transforms, bicubic: open_clip's own.
- ``torchvision``: ``decode_jpeg`` and v2 on tensors, bicubic antialiased.
- ``simplejpeg``, ``opencv``: their decoders, cropped, and resized by OpenCV, ``area`` where it
  shrinks. OpenCV has no antialiased bicubic, so this is a cheaper resize than the others'.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

SCALES = ((0.9, 1.0), (0.08, 1.0))
SIZE = 224
BLOCK = 15  # pictures before the next way has its turn


def photographs() -> list[Image.Image]:
    found = []
    for package, folder in (("skimage", "data"), ("sklearn", "datasets/images")):
        try:
            module = __import__(package)
        except ImportError:
            continue
        for path in sorted((Path(module.__file__).parent / folder).glob("*.jpg")):
            found.append(Image.open(path).convert("RGB"))
    if not found:
        raise SystemExit("no photographs; run: pip install scikit-image scikit-learn")
    return found


def encoded(side: int, count: int) -> list[bytes]:
    """``count`` JPEGs of 4:3 or 3:4 with a longer side of ``side``, cut out at random."""
    draw = random.Random(side)
    sources, result = photographs(), []
    for number in range(count):
        source = sources[number % len(sources)]
        shape = (4, 3) if draw.random() < 0.7 else (3, 4)
        unit = draw.uniform(0.7, 1.0) * min(source.width / shape[0], source.height / shape[1])
        width, height = int(unit * shape[0]), int(unit * shape[1])
        left = draw.randint(0, source.width - width)
        top = draw.randint(0, source.height - height)
        size = tuple(side * part // max(shape) for part in shape)
        box = (left, top, left + width, top + height)
        picture = source.resize(size, Image.Resampling.LANCZOS, box=box)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90)
        result.append(buffer.getvalue())
    return result


Way = Callable[[bytes, int], Any]


def ways_of(scale: tuple[float, float]) -> dict[str, Way]:
    from torchvision import transforms
    from torchvision.io import decode_jpeg
    from torchvision.transforms import InterpolationMode, v2

    import helip

    mean, std = helip.ImageTransform().mean, helip.ImageTransform().std
    ways: dict[str, Way] = {}
    for name, exact in (("helip", False), ("helip exact", True)):
        ours = helip.ImageTransform(size=SIZE, scale=scale, exact_decode=exact)
        ways[name] = lambda data, row, ours=ours: ours.from_bytes(data, row=row)

    pil = transforms.Compose(
        [
            transforms.RandomResizedCrop(
                SIZE, scale=scale, interpolation=InterpolationMode.BICUBIC
            ),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )
    ways["PIL"] = lambda data, row: pil(Image.open(io.BytesIO(data)).convert("RGB"))

    tensors = v2.Compose(
        [
            v2.RandomResizedCrop(
                SIZE, scale=scale, interpolation=InterpolationMode.BICUBIC, antialias=True
            ),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )
    ways["torchvision"] = lambda data, row: tensors(
        decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    )

    try:
        import cv2
    except ImportError:
        return ways
    cv2.setNumThreads(0)
    shift = np.array(mean, dtype=np.float32) * 255
    factor = 1 / (np.array(std, dtype=np.float32) * 255)

    def finished(pixels: np.ndarray) -> torch.Tensor:
        region = torch.empty(3, *pixels.shape[:2], device="meta")
        top, left, height, width = transforms.RandomResizedCrop.get_params(
            region, list(scale), [3 / 4, 4 / 3]
        )
        smaller = cv2.INTER_AREA if height * width > SIZE * SIZE else cv2.INTER_CUBIC
        pixels = cv2.resize(
            pixels[top : top + height, left : left + width], (SIZE, SIZE), interpolation=smaller
        )
        numbers = (pixels.astype(np.float32) - shift) * factor
        return torch.from_numpy(numbers).permute(2, 0, 1).contiguous()

    ways["opencv"] = lambda data, row: finished(
        cv2.cvtColor(
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
        )
    )
    try:
        import simplejpeg
    except ImportError:
        return ways
    ways["simplejpeg"] = lambda data, row: finished(simplejpeg.decode_jpeg(data))
    return ways


def measure(pictures: list[bytes], scale: tuple[float, float], rounds: int) -> dict[str, float]:
    """Images a second of processor time; the best of ``rounds`` for each way."""
    ways = ways_of(scale)
    best = dict.fromkeys(ways, 0.0)
    for turn in range(rounds):
        spent = dict.fromkeys(ways, 0.0)
        for first in range(0, len(pictures), BLOCK):
            part = pictures[first : first + BLOCK]
            for name, way in ways.items():
                started = time.process_time()
                for number, data in enumerate(part, turn * len(pictures) + first):
                    way(data, number)
                spent[name] += time.process_time() - started
        for name, seconds in spent.items():
            best[name] = max(best[name], len(pictures) / seconds)
    return best


def differences(pictures: list[bytes], scale: tuple[float, float]) -> str:
    """What decoding to a smaller size changes, in levels, and what bilinear would change."""
    import helip

    plain: dict[str, Any] = {"size": SIZE, "scale": scale, "dtype": "uint8"}
    fast = helip.ImageTransform(**plain)
    exact = helip.ImageTransform(exact_decode=True, **plain)
    bilinear = helip.ImageTransform(exact_decode=True, interpolation="bilinear", **plain)
    found = []
    for row, data in enumerate(pictures):
        expected = exact.from_bytes(data, row=row).numpy().astype(float)
        off = np.abs(fast.from_bytes(data, row=row).numpy() - expected)
        other = np.abs(bilinear.from_bytes(data, row=row).numpy() - expected)
        if off.any():
            noise = 10 * np.log10(255**2 / np.mean(off**2))
            found.append((off.mean(), np.quantile(off, 0.999), noise, other.mean()))
    if not found:
        return "no picture changes"
    mean, most, noise, other = np.mean(found, axis=0)
    worst = min(row[2] for row in found)
    return (
        f"{len(found)} of {len(pictures)} change: mean {mean:.2f}, 99.9 % within {most:.1f}, "
        f"PSNR {noise:.1f} dB, worst {worst:.1f}; bilinear {other:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sides", default="256,500,1024", help="longer sides, comma separated")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the table as JSON too")
    parser.add_argument("--differences", action="store_true", help="of pixels, not of time")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for side in map(int, arguments.sides.split(",")):
        pictures = encoded(side, arguments.pictures)
        kilobytes = sum(map(len, pictures)) / len(pictures) / 1000
        for scale in SCALES:
            if arguments.differences:
                print(f"{side} px, scale {scale}: {differences(pictures, scale)}")
                continue
            rates = measure(pictures, scale, arguments.rounds)
            print(f"\n{side} px, {kilobytes:.0f} kB, scale {scale}: images/s and core")
            for name, rate in sorted(rates.items(), key=lambda item: -item[1]):
                print(
                    f"  {name:12} {rate:8,.0f}   helip is {rates['helip'] / rate:.2f} times as fast"
                )
            results.append(
                {"side": side, "bytes": kilobytes * 1000, "scale": scale, "rates": rates}
            )
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
