"""Photographs with captions, from folders, and how they are split.

    python bench/experiments/photos.py --data DIR             what is there, and how it is split
    python bench/experiments/photos.py --data DIR --icons     lays out the icons there, too

DIR holds a folder for each set, laid out as ``NAME/images/`` and ``NAME/captions.tsv`` (lines of
file, number and text, with tabs between). All of it lies in public repositories of GitHub, as files
in git; it is for measuring only, and nothing of it is kept in this one:

- ``flickr8k``: RlNZLER/Image-Text-Matching (``data/images`` of an early commit), captions and the
  lists of splits from prakhar-dhakar/Image-Captioning;
- ``paragraphs``: sumith2425/Image-Captioning-with-Transformers (``custom_captions_dataset``);
- ``fashion44k``: tanmay0401/multimodal-recommendation-engine (``data/images``), titles from
  animmala3942/FashionProductRecommendationSystem (``styles.csv``, ``styles_text.csv``);
- ``fashion``: GaneshNeupane01/Fashion-Recommendation-System (``images``), titles as above;
- ``grocery``: the folder ``dataset`` of marcusklasson/GroceryStoreDataset, as it is (MIT);
- ``clothing``: ``images`` and ``images.csv`` of alexeygrigorev/clothing-dataset.

The last two have classes and no captions: nothing is trained on them. ``icons`` are the icons in
colour of ``icons.py``, as files. ``mixed`` is flickr8k, paragraphs and fashion44k together, ``all``
is these and the icons; nearly all photographs of fashion are in fashion44k too.
"""

from __future__ import annotations

import argparse
import csv
import functools
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import icons
import numpy as np
from PIL import Image

import helip

SETS = ("flickr8k", "paragraphs", "fashion", "fashion44k", "icons")
MIXED = ("flickr8k", "paragraphs", "fashion44k")
#: Those that are part of mixtures, in the order in which rows of a mixture name them.
SOURCES = (*MIXED, "icons")
MIXTURES = {"mixed": MIXED, "all": SOURCES}
CLASSES = ("grocery", "clothing")
SPLITS = ("train", "validation", "test")
UNCLEAR = ("Not sure", "Skip", "Other")
#: What the lists are called that come with a set.
PUBLISHED = {
    "flickr8k": ("train", "dev", "test"), "paragraphs": ("train", "val", "test"), "icons": SPLITS,
}  # fmt: skip
# Percent in each of two halves.
HELD_TITLES = 10
HELD_PHOTOS = 5  # of those whose title is not held out


@dataclass(frozen=True, eq=False)
class Photos:
    """Photographs of one set, or of several, in an order that does not change."""

    name: str
    paths: list[Path]
    captions: list[tuple[str, ...]]
    splits: np.ndarray  # int64 [n], places in SPLITS
    known: np.ndarray  # bool [n]: the first caption stands at a photograph that is trained on
    sources: np.ndarray  # int64 [n]: of which set, places in SOURCES
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, split: str) -> np.ndarray:
        """int64: rows of "train", "validation" or "test"."""
        return np.flatnonzero(self.splits == SPLITS.index(split))


def folder() -> Path:
    """Where the sets lie: what ``--data`` said, for this process and those that it starts."""
    if "HELIP_PHOTOS" not in os.environ:
        raise SystemExit("photographs are not there: say --data DIR (see photos.py --help)")
    return Path(os.environ["HELIP_PHOTOS"])


@functools.cache
def load(name: str) -> Photos:
    if name in MIXTURES:
        return together(name, [load(part) for part in MIXTURES[name]])
    if name not in SETS:
        raise ValueError(f"no set is called {name!r}; there are {', '.join((*SETS, *MIXTURES))}")
    root = folder() / name
    listed, left_out = read_captions(root)
    there = {path.name for path in os.scandir(root / "images") if path.is_file()}
    files = sorted(set(listed) & there)
    left_out["captions without their photograph"] = len(set(listed) - there)
    left_out["photographs without a caption"] = len(there - set(listed))
    if not files:
        raise SystemExit(
            f"{root}: none of the {len(there):,} files in images is named in captions.tsv, which "
            f"names {len(listed):,}; is it the file of another set?"
        )
    paths = [root / "images" / file for file in files]
    captions = [tuple(text for _, text in sorted(listed[file])) for file in files]
    if name in PUBLISHED:
        splits = published_splits(root, PUBLISHED[name], files)
        left_out["in no published split"] = int((splits < 0).sum())
    else:
        splits = title_splits(paths, [texts[0] for texts in captions])
        left_out["trained on nowhere: like a held-out photograph"] = int((splits < 0).sum())
    kept = np.flatnonzero(splits >= 0)
    paths, captions = [paths[i] for i in kept], [captions[i] for i in kept]
    splits = splits[kept]
    trained = {captions[i][0] for i in np.flatnonzero(splits == 0)}
    known = np.array([texts[0] in trained for texts in captions])
    sources = np.full(len(paths), SOURCES.index(name) if name in SOURCES else 0)
    return Photos(
        name, paths, captions, splits, known, sources, {k: n for k, n in left_out.items() if n}
    )


def parts_of(name: str) -> tuple[str, ...]:
    """The sets that a mixture is of; of a set itself."""
    return MIXTURES.get(name, (name,))


def together(name: str, parts: Sequence[Photos]) -> Photos:
    """Several sets as one."""
    left_out: Counter[str] = Counter()
    for part in parts:
        left_out.update(part.left_out)
    return Photos(
        name,
        [path for part in parts for path in part.paths],
        [texts for part in parts for texts in part.captions],
        *(
            np.concatenate([getattr(part, column) for part in parts])
            for column in ("splits", "known", "sources")
        ),
        dict(left_out),
    )


def read_captions(root: Path) -> tuple[dict[str, list[tuple[int, str]]], Counter[str]]:
    """File -> its numbered captions; and what lines were left out."""
    found: dict[str, list[tuple[int, str]]] = {}
    left_out: Counter[str] = Counter()
    path = root / "captions.tsv"
    if not path.is_file() or not (root / "images").is_dir():
        raise SystemExit(f"{root} lacks images or captions.tsv; photos.py --help says where from")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        parts = line.split("\t")
        if len(parts) != 3 or not parts[1].isdigit():
            raise SystemExit(
                f"{path}:{number}: {line[:60]!r} is not a file, a number and a text between tabs"
            )
        if text := " ".join(parts[2].split()):
            found.setdefault(parts[0], []).append((int(parts[1]), text))
        else:
            left_out["empty captions"] += 1
    return found, left_out


def published_splits(root: Path, names: Sequence[str], files: Iterable[str]) -> np.ndarray:
    """int64: the place in SPLITS that the lists of the set give each file, -1 if none does."""
    split_of = {}
    for place, name in enumerate(names):
        listing = root / f"{name}.txt"
        if not listing.is_file():
            raise SystemExit(f"{listing} is absent: the list of the split {SPLITS[place]}")
        split_of |= dict.fromkeys(listing.read_text(encoding="utf-8").split(), place)
    return np.array([split_of.get(file, -1) for file in files], np.int64)


def title_splits(paths: Sequence[Path], titles: Sequence[str]) -> np.ndarray:
    """int64: places in SPLITS by hashes of titles and of photographs, -1 for what is dropped.

    Titles that are held out are *new titles*. Of photographs with another title some are held out
    too: *known titles*, where the title is trained on elsewhere. What looks like a held-out
    photograph (`look`) is dropped elsewhere, whatever its title.
    """
    looks = photo_looks(paths)
    splits = np.zeros(len(paths), np.int64)
    for row, (title, look_of) in enumerate(zip(titles, looks, strict=True)):
        told = (f"title {title.lower()}", HELD_TITLES), (f"photo {look_of:x}", HELD_PHOTOS)
        for text, percent in told:
            if (held := percentile(text)) < 2 * percent and not splits[row]:
                splits[row] = 1 + held // percent
    # A photograph that looks the same stays where the later split has it.
    strictest: dict[int, int] = {}
    for look_of, split in zip(looks, splits, strict=True):
        strictest[look_of] = max(strictest.get(look_of, 0), int(split))
    wanted = np.array([strictest[look_of] for look_of in looks])
    return np.where(splits == wanted, splits, -1)


def percentile(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 100


def photo_looks(paths: Sequence[Path]) -> list[int]:
    """Of each photograph 64 bits, whether each of 8 x 9 grey fields is brighter than the next:
    equal for the same photograph at other sizes, and for its near twins."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(look, paths, chunksize=64))


def look(path: Path) -> int:
    with Image.open(path) as picture:
        picture.draft("L", (64, 64))
        fields = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    return int.from_bytes(np.packbits(fields[:, 1:] > fields[:, :-1]).tobytes(), "big")


def classes(name: str) -> tuple[list[Path], np.ndarray, list[str]]:
    """Photographs of a set with classes, the class of each, and what the classes are called."""
    root = folder() / name
    if name == "grocery":
        with (root / "classes.csv").open(encoding="utf-8", newline="") as file:
            names = [row["Class Name (str)"].replace("-", " ") for row in csv.DictReader(file)]
        listed = [
            (root / file.strip(), int(number))
            for part in ("train", "val", "test")
            for file, number, _ in csv.reader((root / f"{part}.txt").open(encoding="utf-8"))
        ]
    elif name == "clothing":
        with (root / "images.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["label"] not in UNCLEAR]
        names = sorted({row["label"] for row in rows})
        listed = [
            (root / "images" / f"{row['image']}.jpg", names.index(row["label"])) for row in rows
        ]
    else:
        raise ValueError(f"no set of classes is called {name!r}; there are {', '.join(CLASSES)}")
    there = [(path, number) for path, number in listed if path.is_file()]
    if len(there) < len(listed):
        print(f"{name}: {len(listed) - len(there):,} of {len(listed):,} photographs are absent")
    return [path for path, _ in there], np.array([n for _, n in there]), names


def lay_out_icons(root: Path) -> None:
    """Write the icons in colour as a set like the others; what is there is left as it is."""
    shown = icons.load()
    data = helip.open_dataset(shown.shards(), progress=False)
    images = root / "images"
    images.mkdir(parents=True, exist_ok=True)
    files = [f"{key.replace('/', '_')}.png" for key in shown.keys]
    for row, file in enumerate(files):
        if not (images / file).exists():
            data.image(row).save(images / file)
    lines = [f"{file}\t0\t{text}\n" for file, text in zip(files, shown.captions, strict=True)]
    (root / "captions.tsv").write_text("".join(lines), encoding="utf-8")
    for split in SPLITS:
        inside = [name.endswith(split) for name in shown.split_names]
        rows = np.flatnonzero(np.array(inside)[shown.splits])
        told = "".join(f"{files[row]}\n" for row in rows)
        (root / f"{split}.txt").write_text(told, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of the sets")
    parser.add_argument("--icons", action="store_true", help="lay out the icons of icons.py there")
    args = parser.parse_args()
    os.environ["HELIP_PHOTOS"] = str(args.data.resolve())
    if args.icons:
        lay_out_icons(args.data / "icons")
    for name in SETS:
        if not (args.data / name).is_dir():
            print(f"{name}: not there")
            continue
        shown = load(name)
        parts = {split: shown.rows(split) for split in SPLITS}
        told = ", ".join(
            f"{split} {len(rows):,} ({shown.known[rows].sum():,} with a title that is trained on)"
            if split != "train" and name not in PUBLISHED
            else f"{split} {len(rows):,}"
            for split, rows in parts.items()
        )
        print(f"{name}: {len(shown):,} photographs; {told}")
        for reason, count in shown.left_out.items():
            print(f"  {count:8,}  {reason}")
    for name in CLASSES:
        if (args.data / name).is_dir():
            paths, _, names = classes(name)
            print(f"{name}: {len(paths):,} photographs of {len(names)} classes")


if __name__ == "__main__":
    main()
