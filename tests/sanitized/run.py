"""Runs the Python tests of what threads share over a core that was built with a sanitizer.

    python tests/sanitized/run.py BUILD --clang clang++-19 [-- PYTEST-OPTION…]

BUILD was configured with -DHELIP_BUILD_PYTHON=ON and -DHELIP_SANITIZE=address,… or thread. Python,
torch and NumPy are not built so: what they do is not looked at. Exit code 1 after a test that
failed, and after any report, of worker processes as well.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TESTS = (
    "tests/python/mining/test_streaming_threads.py",
    "tests/python/loading",
    "tests/python/mining/test_miner_threads.py",
    "tests/python/mining/test_pair_index.py",
    "tests/python/mining/test_streaming.py",
)
#: DataLoader forks its workers from a process that has threads.
THREAD = "ignore_noninstrumented_modules=1:report_thread_leaks=0:die_after_fork=0"
#: Python does not free all that it has when it ends.
ADDRESS = "detect_leaks=0"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("--clang", default="clang++-19", help="that BUILD was compiled with")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="test processes at once")
    parser.add_argument("options", nargs="*", help="of pytest")
    chosen = parser.parse_args()
    cache = (chosen.build / "CMakeCache.txt").read_text()
    kinds = re.search(r"^HELIP_SANITIZE:\w+=(.*)$", cache, re.MULTILINE)
    if kinds is None or not kinds[1]:
        parser.error(f"{chosen.build} was not built with a sanitizer; run `make sanitize`")
    name = "tsan" if "thread" in kinds[1].split(",") else "asan"
    runtime = subprocess.run(
        [chosen.clang, f"-print-file-name=libclang_rt.{name}-x86_64.so"],
        text=True, check=True, capture_output=True,
    ).stdout.strip()  # fmt: skip
    if not Path(runtime).is_file():
        parser.error(f"{chosen.clang} has no shared runtime of {name}; install libclang-rt-19-dev")

    with tempfile.TemporaryDirectory() as temporary:
        package = package_of(chosen.build, Path(temporary) / "package")
        reports = Path(temporary) / "reports"
        reports.mkdir()
        logged = f":log_path={reports / 'report'}"
        environment = {
            **os.environ,
            "PYTHONPATH": str(package),
            "LD_PRELOAD": runtime,
            "ASAN_OPTIONS": ADDRESS + logged,
            "UBSAN_OPTIONS": "print_stacktrace=1" + logged,
            "TSAN_OPTIONS": THREAD + logged,
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        loaded = subprocess.run(
            [sys.executable, "-c", "from helip import _core; print(_core.__file__)"], cwd=ROOT,
            env=environment, text=True, check=True, stdout=subprocess.PIPE,
        ).stdout.strip()  # fmt: skip
        if not loaded.startswith(temporary):
            parser.error(f"{loaded} was loaded, and not the module of {chosen.build}")
        tested = subprocess.run(
            [sys.executable, "-m", "pytest", "-m", "not alone", "-p", "no:cacheprovider",
             "-n", str(chosen.jobs), "--dist", "loadfile", *(chosen.options or TESTS)],
            cwd=ROOT, env=environment, check=False,
        )  # fmt: skip
        found = sorted(reports.iterdir())
        for report in found:
            print(report.read_text(errors="replace"))
        print(f"{name}: {len(found)} reports")
        return int(tested.returncode != 0 or bool(found))


def package_of(build: Path, folder: Path) -> Path:
    """A folder with the package `helip` over the core of the build."""
    built = shutil.ignore_patterns("_core*.so", "lib", "include", "__pycache__")
    shutil.copytree(ROOT / "python" / "helip", folder / "helip", ignore=built)
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    subprocess.run(
        [cmake or "cmake", "--install", build, "--prefix", folder / "helip"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return folder


if __name__ == "__main__":
    sys.exit(main())
