"""Tests a wheel as a stranger has it: without sources, compiler or libraries of the system.

python scripts/wheel/test_wheel.py dist/helip-….whl [--python python3.13] [--oldest]
python scripts/wheel/test_wheel.py dist/helip-….whl --emulator 'qemu-x86_64 -cpu Nehalem'
python scripts/wheel/test_wheel.py dist/helip-….whl --consumer

Makes a fresh environment, or takes one that has what helip needs (`--environment`), installs the
wheel, and runs `checks.py` in an empty folder with an empty PATH. `--oldest` takes the oldest
torch, NumPy and open_clip that the wheel allows. `--emulator` runs the core's part on a processor
of another kind. `--consumer` builds the C++ program of tests/consumer against the wheel's library,
for which alone a compiler is used.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
OLDEST = ("torch", "numpy", "open_clip_torch")
#: NumPy came to these Pythons with this release series.
FIRST_NUMPY = {"cp313": "2.1", "cp314": "2.3"}


def oldest_releases(wheel: Path) -> list[str]:
    """Requirements that hold the oldest release series which metadata and interpreter allow."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    found = []
    for package in OLDEST:
        match = re.search(rf"^Requires-Dist: {package}\b[^\n;]*>=\s*([0-9.]+)", metadata, re.M)
        if match is None:
            sys.exit(f"{wheel.name} gives no lower bound for {package}")
        release = match[1]
        if package == "numpy":
            release = FIRST_NUMPY.get(wheel.name.split("-")[2], release)
        found.append(f"{package}=={release}.*")
    return found


def check_contents(wheel: Path) -> None:
    """A wheel holds its licences and its list of parts, and no library that others bring."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    parts = ("libjpeg-turbo", "libpng", "libwebp", "zlib", "hnswlib", "xxHash", "nlohmann-json")
    for part in parts:
        assert any(f"/licenses/third-party/{part}.txt" in name for name in names), part
    assert any("/sboms/" in name and name.endswith(".cdx.json") for name in names), names
    for library in ("libhelip", "libhelip_data", "libhelip_torch"):
        assert any(name.endswith(f"/lib/{library}.so") for name in names), names
    for name in (
        "helip_demo/__init__.py",
        "helip_view/templates/pair.html",
        "helip_view/static/viewer.js",
    ):
        assert name in names, name
    foreign = re.compile(r"lib(torch|c10|cuda|cudart|gomp|stdc\+\+|gcc_s|c)\b.*\.so")
    assert not [name for name in names if foreign.search(name.rsplit("/", 1)[-1])]
    assert not [name for name in names if name.endswith((".cpp", ".cu")) or "/tests/" in name]


def run_checks(python: Path, emulator: list[str], folder: Path) -> None:
    shutil.copy(HERE / "checks.py", folder)
    alone = {"PATH": "/nonexistent", "HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    alone["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
    command = [*emulator, str(python), "-I", "checks.py", str(folder)]
    done = subprocess.run([*command, *(["mine"] if emulator else [])], cwd=folder, env=alone)
    if done.returncode:
        sys.exit(f"checks failed: {shlex.join(command)}")


def run_consumer(python: Path, folder: Path) -> None:
    """A C++ program that is linked against the wheel's library mines, and gets an exception."""
    where = [str(python), "-I", "-c", "import helip; print(helip.cmake_prefix_path)"]
    prefix = subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip()
    source, build = HERE.parents[1] / "tests" / "consumer", folder / "consumer"
    configure = ["cmake", "-S", str(source), "-B", str(build), f"-DCMAKE_PREFIX_PATH={prefix}"]
    subprocess.run([*configure, "-DCMAKE_BUILD_TYPE=Release"], check=True, stdout=sys.stderr)
    subprocess.run(["cmake", "--build", str(build)], check=True, stdout=sys.stderr)
    program, out = build / "consumer", folder / "consumer.pairs"
    mined = subprocess.run([program, folder / "store", out], capture_output=True, text=True)
    assert mined.returncode == 0 and "1000 targets" in mined.stdout, mined
    absent = subprocess.run([program, folder / "absent", out], capture_output=True, text=True)
    assert absent.returncode == 1 and absent.stderr.startswith("io: "), absent
    print("a C++ program mines with the wheel's library, and gets its errors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--python", default="python3", help="interpreter of the environment")
    parser.add_argument("--environment", type=Path, help="one that has what helip needs")
    parser.add_argument("--oldest", action="store_true")
    parser.add_argument("--emulator", default="", help="a command that runs the interpreter")
    parser.add_argument("--consumer", action="store_true")
    given = parser.parse_args()
    began = time.monotonic()
    wheel = given.wheel.resolve()
    check_contents(wheel)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "empty"
        folder.mkdir()
        environment = given.environment or Path(temporary) / "environment"
        # Not resolved: the interpreter of an environment is a link.
        python = Path(os.path.abspath(environment)) / "bin" / "python"
        if given.environment is None:
            subprocess.run([given.python, "-m", "venv", environment], check=True)
        wanted = [str(wheel), *(oldest_releases(wheel) if given.oldest else [])]
        if given.environment is not None:
            wanted = ["--no-deps", "--force-reinstall", str(wheel)]
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"]
        subprocess.run([*pip, *wanted], check=True)
        installed = time.monotonic() - began
        emulator = shlex.split(given.emulator)
        if emulator:
            emulator[0] = shutil.which(emulator[0]) or sys.exit(
                f"{emulator[0]} is missing: apt-get install qemu-user"
            )
        run_checks(python, emulator, folder)
        if given.consumer:
            run_consumer(python, folder)
    seconds = time.monotonic() - began
    print(
        f"{wheel.name}: all checks passed; installed in {installed:.0f} s, all in {seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
