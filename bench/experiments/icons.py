"""A data set of icons: pictures by many designers, with captions from their names, and splits.

    python bench/experiments/icons.py --kind colour          some 40,000 icons in colour
    python bench/experiments/icons.py --kind all --size 64   those of one colour, too, in black

The icons are those of npm ``@iconify/json``; npm fetches it, nothing of it is kept in the
repository. Everything lies in ``$HELIP_CACHE/experiments/icons``, by default
``~/.cache/helip/experiments/icons``: what was drawn of each set, so that a run that was stopped
goes on; and a folder for each data set, which is there whole or not at all:

- ``<split>/00000.tar`` …: ``key.png``, ``key.txt`` (the caption) and ``key.json``;
- ``rows.npz`` and ``rows.json``: of each row the caption, group, set and split (see `load`);
- ``ATTRIBUTION.md``: sets, authors and licences; ``dataset.json``: how it was made, and counts.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import os
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import icon_rows
import icon_sets
import numpy as np
from emoji_sets import npm_package
from icon_drawing import Drawn, draw
from icon_rows import Row
from icon_splits import SPLITS, TRAIN, splits

from helip.common.files import publish_directory
from helip.common.machine import usable_processors

KINDS = ("colour", "all")
CAPTIONS = ("names", "tags")
FORMAT = 1  # raised when the same package would give other rows
SHARD_ROWS = 2000
MOST_TAGS = 4


@dataclass(frozen=True)
class Icons:
    """A data set: row i is row i of ``helip.open_dataset(icons.shards())``."""

    folder: Path
    keys: list[str]
    captions: list[str]
    groups: np.ndarray  # int64 [n]: equal for equal captions
    sets: np.ndarray  # int64 [n], places in set_names
    set_names: list[str]
    designers: np.ndarray  # int64 [n], places in designer_names
    designer_names: list[str]
    splits: np.ndarray  # int64 [n], places in split_names
    split_names: list[str]
    known: np.ndarray  # bool [n]: the caption stands at a training picture

    def __len__(self) -> int:
        return len(self.keys)

    def rows(self, split: str) -> np.ndarray:
        """int64: the rows of "train", "names-test", …; those of both halves of "names"."""
        chosen = [place for place, name in enumerate(self.split_names)
                  if name == split or name.rpartition("-")[0] == split]  # fmt: skip
        if not chosen:
            raise ValueError(f"no split is called {split!r}; there are {', '.join(SPLITS)}")
        return np.flatnonzero(np.isin(self.splits, chosen))

    def shards(self, split: str | None = None) -> list[str]:
        """Paths of the tar shards of a split, in order of its rows; of all rows without one."""
        return sorted(str(path) for path in self.folder.rglob("*.tar")
                      if split is None or path.parent.name == split)  # fmt: skip


def cache() -> Path:
    own = os.environ.get("HELIP_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "helip"
    return (Path(own).expanduser() if own else base) / "experiments" / "icons"


def load(kind: str = "colour", size: int = 64, captions: str = "names") -> Icons:
    """The data set; made first if it is not there."""
    folder = place(kind, size, captions)
    if not folder.exists():
        build(kind, size, captions)
    about = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    with np.load(folder / "rows.npz", allow_pickle=False) as columns:
        return Icons(
            folder=folder,
            keys=about["keys"],
            captions=[about["captions"][group] for group in columns["groups"]],
            set_names=about["sets"],
            designer_names=about["designers"],
            split_names=about["splits"],
            **{name: columns[name] for name in columns.files},
        )


def place(kind: str, size: int, captions: str = "names") -> Path:
    """The folder of a data set, which need not exist."""
    if kind not in KINDS or captions not in CAPTIONS or size < 1:
        raise ValueError(
            f"kind is {kind!r}, captions {captions!r}, size {size}; must be of {KINDS}, of "
            f"{CAPTIONS}, and at least 1"
        )
    longer = "" if captions == "names" else f"-{captions}"
    return cache() / f"{kind}-{size}{longer}-{FORMAT}"


def build(
    kind: str,
    size: int,
    captions: str = "names",
    *,
    jobs: int | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Make a data set; what its ``dataset.json`` says. ``say`` takes what is done, else stdout."""
    say = say or functools.partial(print, flush=True)
    out = place(kind, size, captions)
    if out.exists():
        say(f"{out} is there already")
        return json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    began = time.perf_counter()
    source = archive(say)
    package = icon_sets.read(source)
    used = [icons for icons in package.sets if icons.colour or kind == "all"]
    left_out: Counter[str] = Counter()
    for reason, count, colour in package.left_out.values():
        if colour or kind == "all":
            left_out[reason] += count
    total = sum(len(icons.icons) for icons in used)
    say(f"{total:,} icons of {len(used)} sets, {left_out.total():,} left out with their sets")
    drawn = draw(
        used, size=size, folder=cache() / f"drawn-{size}", jobs=jobs or usable_processors(), say=say
    )
    say("choosing names and pictures")
    # Of all sets, so that an icon has the same caption in both kinds.
    dropped: dict[str, str] = {}
    named = icon_rows.named(package.sets, package.logos, dropped)
    rows = icon_rows.distinct([row for row in named if row.icons.prefix in drawn], drawn, dropped)
    left_out.update(reason for key, reason in dropped.items() if key.split("/")[0] in drawn)
    of_rows = splits(rows)
    order = sorted(range(len(rows)), key=lambda i: (of_rows[i], rows[i].key))
    rows, of_rows = [rows[i] for i in order], [of_rows[i] for i in order]
    say(f"writing {len(rows):,} pictures")
    about = description(kind, size, captions, rows, of_rows, left_out)
    with publish_directory(out) as staging:
        for name in SPLITS:
            chosen = [row for row, split in zip(rows, of_rows, strict=True) if split == name]
            write_shards(staging / name, chosen, drawn, captions)
        write_rows(staging, rows, of_rows)
        kept = {row.icons.prefix for row in rows}
        credit = icon_sets.attribution([icons for icons in used if icons.prefix in kept])
        (staging / "ATTRIBUTION.md").write_text(credit, encoding="utf-8")
        (staging / "dataset.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    say(f"done in {time.perf_counter() - began:.0f} s")
    return about


def archive(say: Callable[[str], None]) -> Path:
    """The package, by npm, unless it is there."""
    name = f"iconify-json-{icon_sets.VERSION}.tgz"
    path = cache() / name
    if not path.exists():
        say(f"fetching {icon_sets.PACKAGE} {icon_sets.VERSION} (104 MB) by npm")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            npm_package(icon_sets.PACKAGE, icon_sets.VERSION, Path(folder)).rename(path)
    return path


def caption_of(row: Row, captions: str) -> str:
    """The caption that is written: with tags, also other names and categories of the set."""
    if captions == "names":
        return row.caption
    said = set(row.caption.split())
    tags = []
    for tag in (*row.icons.aliases.get(row.name, ()), *row.icons.categories.get(row.name, ())):
        words = tag.lower().replace("-", " ").replace("/", " ").split()
        if not set(words) <= said and len(tags) < MOST_TAGS:
            tags.append(" ".join(words))
            said |= set(words)
    return ", ".join([row.caption, *tags])


def write_shards(
    folder: Path, rows: Sequence[Row], drawn: Mapping[str, Drawn], captions: str
) -> None:
    folder.mkdir(parents=True)
    for start in range(0, len(rows), SHARD_ROWS):
        with tarfile.open(
            folder / f"{start // SHARD_ROWS:05d}.tar", mode="x", format=tarfile.USTAR_FORMAT
        ) as tar:
            for row in rows[start : start + SHARD_ROWS]:
                about = {
                    "set": row.icons.prefix,
                    "name": row.name,
                    "group": row.caption,
                    "designer": row.designer,
                    "licence": row.icons.licence,
                }
                for extension, content in (
                    ("png", drawn[row.icons.prefix].pngs[row.place]),
                    ("txt", caption_of(row, captions).encode()),
                    ("json", json.dumps(about, ensure_ascii=False, sort_keys=True).encode()),
                ):
                    info = tarfile.TarInfo(f"{row.key}.{extension}")
                    info.size = len(content)
                    info.mode = 0o644
                    tar.addfile(info, io.BytesIO(content))


def write_rows(folder: Path, rows: Sequence[Row], of_rows: Sequence[str]) -> None:
    trained = {row.caption for row, split in zip(rows, of_rows, strict=True) if split == TRAIN}
    names = {
        "captions": sorted({row.caption for row in rows}),
        "sets": sorted({row.icons.prefix for row in rows}),
        "designers": sorted({row.designer for row in rows}),
        "splits": list(SPLITS),
    }
    places = {what: {name: i for i, name in enumerate(listed)} for what, listed in names.items()}
    np.savez(
        folder / "rows.npz",
        groups=np.array([places["captions"][row.caption] for row in rows], np.int64),
        sets=np.array([places["sets"][row.icons.prefix] for row in rows], np.int64),
        designers=np.array([places["designers"][row.designer] for row in rows], np.int64),
        splits=np.array([places["splits"][split] for split in of_rows], np.int64),
        known=np.array([row.caption in trained for row in rows]),
    )
    text = json.dumps({**names, "keys": [row.key for row in rows]}, ensure_ascii=False)
    (folder / "rows.json").write_text(text, encoding="utf-8")


def description(
    kind: str,
    size: int,
    captions: str,
    rows: Sequence[Row],
    of_rows: Sequence[str],
    left_out: Counter[str],
) -> dict[str, Any]:
    drawn_by: dict[str, set[str]] = {}
    for row in rows:
        drawn_by.setdefault(row.caption, set()).add(row.icons.prefix)
    return {
        "format": FORMAT,
        "package": f"{icon_sets.PACKAGE} {icon_sets.VERSION}",
        "kind": kind,
        "size": size,
        "captions from": captions,
        "pictures": len(rows),
        "captions": len(drawn_by),
        "captions in several sets": sum(len(sets) > 1 for sets in drawn_by.values()),
        "sets": len({row.icons.prefix for row in rows}),
        "designers": len({row.designer for row in rows}),
        "splits": {
            name: {
                "pictures": len(chosen),
                "captions": len({row.caption for row in chosen}),
                "sets": len({row.icons.prefix for row in chosen}),
            }
            for name in SPLITS
            for chosen in [[row for row, split in zip(rows, of_rows, strict=True) if split == name]]
        },
        "left out": dict(left_out.most_common()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", choices=KINDS, default="colour")
    parser.add_argument("--size", type=int, default=64, help="of the pictures, in pixels")
    parser.add_argument(
        "--captions", choices=CAPTIONS, default="names",
        help="tags: with the other names and the categories that a set gives an icon",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=usable_processors(), help="processes that draw")
    args = parser.parse_args()
    if args.size < 1 or args.jobs < 1:
        parser.error(f"--size is {args.size}, --jobs {args.jobs}; both must be at least 1")
    about = build(args.kind, args.size, args.captions, jobs=args.jobs)
    print(f"{about['pictures']:,} pictures with {about['captions']:,} captions, "
          f"{about['captions in several sets']:,} of them in several sets; {about['sets']} sets by "
          f"{about['designers']} designers")  # fmt: skip
    for name, facts in about["splits"].items():
        print(f"  {name:22} {facts['pictures']:8,} pictures {facts['captions']:8,} captions")
    print("left out:")
    for reason, count in about["left out"].items():
        print(f"  {count:8,}  {reason}")
    folder = place(args.kind, args.size, args.captions)
    print(f"shards: {folder}/<split>/*.tar\nrows: {folder}/rows.npz, {folder}/rows.json\n"
          f"credits: {folder}/ATTRIBUTION.md")  # fmt: skip


if __name__ == "__main__":
    main()
