"""Tux Paint's stamps: drawings and photographs that no experiment trains on.

From Debian's ``tuxpaint-stamps-default`` (GPL), unpacked, not installed. A stamp's caption is the
first line of its text, and its class the folder below the first one (animals/birds -> "birds"), or
the first where there is no other. Classes of fewer than `SMALLEST` stamps are left out, and so are
letters, digits and flags, of which a folder says little. Two stamps in three are for training
linear probes, the third is measured.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from emoji_sets import SIZE, over_white

from helip.common.files import publish_directory
from helip_demo import data as demo_data
from helip_demo.data import Picture

PACKAGE = "tuxpaint-stamps-default"
SPLITS = ("probe", "test")
SMALLEST = 12
_LEFT_OUT = ("symbols", "town/flags")


def build(out: Path) -> Path:
    """Write the two splits as tar shards below ``out``, unless they are there."""
    if not out.exists():
        with tempfile.TemporaryDirectory() as folder:
            rows = stamps(unpacked(Path(folder)))
        with publish_directory(out) as staging:
            for name in SPLITS:
                chosen = [row for row in rows if split_of(row.key) == name]
                demo_data.write_shards(staging / name, chosen, shard_rows=1000)
    return out


def unpacked(folder: Path) -> Path:
    """The folder of stamps of the package, downloaded by apt-get into ``folder``."""
    try:
        subprocess.run(
            ["apt-get", "download", PACKAGE], cwd=folder, check=True, capture_output=True, text=True
        )
        (archive,) = folder.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", archive.name, "tree"], cwd=folder, check=True)
    except FileNotFoundError as error:
        raise SystemExit(f"the stamps come by apt-get and dpkg-deb; {error}") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{PACKAGE} could not be had: {error.stderr or error}") from None
    return folder / "tree/usr/share/tuxpaint/stamps"


def stamps(root: Path) -> list[Picture]:
    """Every captioned stamp of a class that is large enough."""
    rows = []
    for path in sorted(root.rglob("*.png")):
        place = path.relative_to(root).parent.as_posix()
        about = path.with_suffix(".txt")
        if place.startswith(_LEFT_OUT) or path.stem.endswith("_mirror") or not about.exists():
            continue
        caption = about.read_text(encoding="utf-8").splitlines()[0].strip()
        folders = [folder for folder in place.split("/") if folder != "cartoon"]
        label = folders[min(1, len(folders) - 1)]
        key = path.relative_to(root).with_suffix("").as_posix()
        rows.append(Picture(key, caption, label, "stamp", over_white(path.read_bytes(), SIZE)))
    sizes = Counter(row.concept for row in rows)
    return [row for row in rows if sizes[row.concept] >= SMALLEST and row.caption]


def split_of(key: str) -> str:
    return "test" if hashlib.sha256(key.encode()).digest()[0] % 3 == 0 else "probe"
