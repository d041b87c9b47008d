"""Draws icons as PNGs over white, by resvg, and keeps them: a file for each set and size."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from icon_sets import VERSION, IconSet
from PIL import Image

THUMB = 16  # px, of the small picture that tells near-identical ones
FORMAT = 1  # raised when the same icons would give other pictures
_BATCH = 250


@dataclass(frozen=True)
class Drawn:
    """The pictures of a set."""

    names: list[str]
    pngs: list[bytes]
    digests: list[str]  # equal for equal pixels
    thumbs: np.ndarray  # uint8 [n, 16, 16, 3]
    blank: np.ndarray  # bool [n]: one colour all over


def draw(
    used: Sequence[IconSet], *, size: int, folder: Path, jobs: int, say: Callable[[str], None]
) -> dict[str, Drawn]:
    """All icons of the sets; what ``folder`` already has is read."""
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    paths = {icons.prefix: folder / f"{icons.prefix}-{VERSION}-{FORMAT}.npz" for icons in used}
    missing = [icons for icons in used if not paths[icons.prefix].exists()]
    total = sum(len(icons.icons) for icons in missing)
    done = 0
    if missing:
        say(f"drawing {total:,} icons of {len(missing)} sets at {size} px, {jobs} processes")
        with ProcessPoolExecutor(jobs, get_context("spawn")) as workers:
            for icons in missing:
                items = list(icons.icons.items())
                batches = [
                    [svg(icon, size) for _, icon in items[start : start + _BATCH]]
                    for start in range(0, len(items), _BATCH)
                ]
                rows = [row for part in workers.map(pictures, batches) for row in part]
                _save(paths[icons.prefix], [name for name, _ in items], rows)
                done += len(items)
                seconds = time.perf_counter() - began
                say(f"  {done:,} of {total:,}, {seconds:.0f} s: {icons.prefix}")
    return {prefix: _read(path) for prefix, path in paths.items()}


def svg(icon: Mapping[str, Any], size: int) -> str:
    box = f"{icon['left']} {icon['top']} {icon['width']} {icon['height']}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}" width="{size}" height="{size}" color="black">{icon["body"]}</svg>'
    )


def pictures(svgs: Sequence[str]) -> list[tuple[bytes, str, np.ndarray, bool]]:
    """Of each: a PNG, a digest of its pixels, a small picture, and whether nothing is on it."""
    try:
        import resvg_py
    except ImportError:
        raise SystemExit("icons are drawn by the package resvg-py; pip install resvg-py") from None
    rows = []
    for text in svgs:
        content = resvg_py.svg_to_bytes(svg_string=text, background="white", skip_system_fonts=True)
        image = Image.open(io.BytesIO(bytes(content))).convert("RGB")
        pixels = np.asarray(image)
        out = io.BytesIO()
        image.save(out, format="PNG", optimize=False, compress_level=6)
        thumb = np.asarray(image.resize((THUMB, THUMB), Image.Resampling.BOX))
        blank = bool((pixels == pixels[0, 0]).all())
        rows.append((out.getvalue(), hashlib.sha256(pixels.tobytes()).hexdigest(), thumb, blank))
    return rows


def _save(path: Path, names: list[str], rows: list[tuple[bytes, str, np.ndarray, bool]]) -> None:
    temporary = path.with_name(f".{path.stem}-{os.getpid()}-{secrets.token_hex(4)}.npz")
    pngs = [row[0] for row in rows]
    np.savez(
        temporary,
        names=np.frombuffer(json.dumps(names).encode(), np.uint8),
        pngs=np.frombuffer(b"".join(pngs), np.uint8),
        ends=np.cumsum([len(png) for png in pngs], dtype=np.int64),
        digests=np.frombuffer(json.dumps([row[1] for row in rows]).encode(), np.uint8),
        thumbs=np.stack([row[2] for row in rows]),
        blank=np.array([row[3] for row in rows]),
    )
    temporary.rename(path)


def _read(path: Path) -> Drawn:
    with np.load(path, allow_pickle=False) as kept:
        ends = kept["ends"].tolist()
        content = kept["pngs"].tobytes()
        return Drawn(
            names=json.loads(kept["names"].tobytes()),
            pngs=[content[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)],
            digests=json.loads(kept["digests"].tobytes()),
            thumbs=kept["thumbs"],
            blank=kept["blank"],
        )
