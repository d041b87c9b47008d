"""Fills a folder with the headers that an sdist brings along, so that it builds without a network.

python scripts/wheel/third_party.py [FOLDER]      by default third-party, where CMake looks

Copies hnswlib, nlohmann-json and xxHash, which are headers alone, from the packages of the system,
with their licences; ``versions.txt`` names package and version. HELIP_THIRD_PARTY names the folder
where it lies elsewhere.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = Path("/usr")
#: What is copied, and the package of Debian that has it.
HEADERS = {
    "hnswlib": "libhnswlib-dev", "nlohmann": "nlohmann-json3-dev", "xxhash.h": "libxxhash-dev",
}  # fmt: skip


def fill(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    versions = []
    for name, package in HEADERS.items():
        source = SYSTEM / "include" / name
        licence = SYSTEM / "share" / "doc" / package / "copyright"
        for needed in (source, licence):
            if not needed.exists():
                sys.exit(f"{needed} is missing: apt-get install {package}")
        target = folder / "include" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
        (folder / "licenses").mkdir(exist_ok=True)
        shutil.copy(licence, folder / "licenses" / f"{package}.txt")
        command = ["dpkg-query", "-W", "-f=${source:Upstream-Version}", package]
        version = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        versions.append(f"{package} {version}\n")
    (folder / "versions.txt").write_text("".join(versions), encoding="utf-8")


if __name__ == "__main__":
    fill(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "third-party")
