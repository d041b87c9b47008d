"""Builds the sdist and the wheel twice, in folders of other names and ages, and compares them.

python scripts/reproducible.py --out dist      # and keep what was built
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Of the folders, and the age in seconds that their files get.
FOLDERS = {"a": 0, "a-folder-of-a-much-longer-name": 90_000_000}
#: As pip calls a build backend (PEP 517), from the folder of the project.
BUILD = """
import sys
from scikit_build_core import build
print(build.build_sdist(sys.argv[1]))
print(build.build_wheel(sys.argv[1]))
"""


def copy_of_the_tree(to: Path, age: int) -> None:
    """What git would take: tracked files, and untracked ones that are not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.decode().split("\0")):
        source = ROOT / name
        if not source.is_file():
            continue
        copy = to / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy)
        moment = copy.stat().st_mtime - age
        os.utime(copy, (moment, moment))
    # What an sdist brings along.
    subprocess.run([sys.executable, "scripts/wheel/third_party.py"], cwd=to, check=True)


def members(archive: Path) -> dict[str, str]:
    """Hash of each file in a wheel or an sdist."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            contents = {name: wheel.read(name) for name in wheel.namelist()}
    else:
        with tarfile.open(archive) as sdist:
            files = [member for member in sdist if member.isfile()]
            contents = {member.name: sdist.extractfile(member).read() for member in files}  # type: ignore[union-attr]
    return {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="where the sdist and the wheel are copied")
    arguments = parser.parse_args()
    os.environ.pop("SOURCE_DATE_EPOCH", None)
    # The compiler of CUDA names what it makes after the folder.
    os.environ["CMAKE_ARGS"] = "-DHELIP_CUDA=OFF"
    with tempfile.TemporaryDirectory() as temporary:
        built: list[list[Path]] = []
        trees = {Path(temporary) / name / "helip": age for name, age in FOLDERS.items()}
        for tree, age in trees.items():  # all before the first build, during which one may edit
            copy_of_the_tree(tree, age)
        for tree in trees:
            out = tree.parent / "built"
            subprocess.run(
                [sys.executable, "-c", BUILD, out], cwd=tree, check=True, stdout=sys.stderr
            )
            built.append(sorted(out.iterdir()))
        if arguments.out:
            arguments.out.mkdir(parents=True, exist_ok=True)
            for path in built[0]:
                shutil.copy(path, arguments.out)
        same = [path.name for path in built[0]] == [path.name for path in built[1]]
        for first, second in zip(*built, strict=True):
            hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)]
            print(f"{first.name}: {first.stat().st_size} bytes, {hashes[0]}")
            if hashes[0] == hashes[1]:
                continue
            same = False
            one, other = members(first), members(second)
            differ = sorted(name for name in one | other if one.get(name) != other.get(name))
            print(f"  the second is another one: {', '.join(differ) or 'its metadata'}")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
