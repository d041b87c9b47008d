"""What is linked against the stand-ins asks for old versions alone, loads here, and works."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = """
#include <sys/stat.h>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <string>
extern "C" long answer(const char* folder, double power) {
  try {
    std::mutex mutex;
    std::condition_variable condition;
    std::unique_lock lock(mutex);
    const auto began = std::chrono::steady_clock::now();
    while (condition.wait_until(lock, began + std::chrono::milliseconds(20)) !=
           std::cv_status::timeout) {}
    if (std::chrono::steady_clock::now() < began + std::chrono::milliseconds(20)) return -2;
    struct stat file;
    if (::stat(folder, &file) != 0) return -1;
    const auto path = std::filesystem::path(folder) / ".." / "x";
    const bool is_folder = S_ISDIR(file.st_mode) && path.lexically_normal().has_filename();
    if (power < 0) std::filesystem::file_size(path);
    return std::strtoll("40", nullptr, 10) + is_folder + std::lround(std::pow(2.0, power)) - 7;
  } catch (const std::filesystem::filesystem_error&) {
    return 7;
  }
}
"""


def newest(library: Path, family: str) -> tuple[int, ...]:
    listing = subprocess.run(
        ["readelf", "--version-info", library], capture_output=True, text=True, check=True
    ).stdout
    found = re.findall(rf"Name: {family}_([0-9.]+)", listing)
    return max(tuple(int(part) for part in version.split(".")) for version in found)


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_a_library_that_is_linked_against_them_is_old_and_works(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "wheel" / "old_libraries.py"
    old, library = tmp_path / "old", tmp_path / "libanswer.so"
    subprocess.run([sys.executable, script, old], check=True)
    (tmp_path / "answer.cpp").write_text(SOURCE)
    libraries = (old / "libraries.txt").read_text().split()
    options = ["-shared", "-fPIC", "-O2", "-std=c++20", "-nodefaultlibs", "-Wl,-z,defs"]
    options += ["-Wl,--as-needed", "-Wl,--exclude-libs,ALL", "-o", str(library)]
    source = str(tmp_path / "answer.cpp")
    subprocess.run(["g++", *options, source, *libraries, *libraries], check=True)

    assert newest(library, "GLIBC") <= (2, 28)
    assert newest(library, "GLIBCXX") <= (3, 4, 24)
    assert newest(library, "CXXABI") <= (1, 3, 11)
    answer = ctypes.CDLL(str(library)).answer
    answer.argtypes, answer.restype = [ctypes.c_char_p, ctypes.c_double], ctypes.c_long
    assert answer(str(tmp_path).encode(), 3.0) == 42
    assert answer(str(tmp_path / "absent").encode(), 3.0) == -1
    assert answer(str(tmp_path).encode(), -1.0) == 7  # an exception of libstdc++, caught
