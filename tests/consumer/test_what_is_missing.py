"""A build that lacks something ends with one line that says what, and how to get it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def problem_of(build: Path, *options: str, **environment: str) -> str:
    """The one line of helip's own that a refused configuration prints."""
    cmake = shutil.which("cmake")
    command = [cmake or "cmake", "-S", str(ROOT), "-B", str(build), "-DHELIP_TORCH=OFF", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment or None)
    assert done.returncode != 0, done.stdout
    (line,) = [line.strip() for line in done.stderr.splitlines() if "helip:" in line]
    return line


@pytest.mark.parametrize("data", ["ON", "OFF"])
def test_missing_libraries_are_named_together_with_their_packages(
    tmp_path: Path, data: str
) -> None:
    """Without libhelip_data no library of pictures is asked for."""
    line = problem_of(
        tmp_path / "build",
        f"-DHELIP_DATA={data}",
        "-DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON",
        "-DCMAKE_DISABLE_FIND_PACKAGE_JPEG=ON",
        "-DCMAKE_SYSTEM_IGNORE_PATH=/usr/include;/usr/local/include",
        f"-DHELIP_THIRD_PARTY={tmp_path / 'absent'}",
    )
    libraries, packages = (", libjpeg-turbo", " libjpeg-dev") if data == "ON" else ("", "")
    assert line.startswith(
        f"helip: not installed: nlohmann/json.hpp, xxhash.h, hnswlib/hnswlib.h{libraries}; "
    )
    assert f"apt-get install nlohmann-json3-dev libxxhash-dev libhnswlib-dev{packages};" in line
    assert "docs/install.md" in line and "-DHELIP_FETCH=ON" in line


@pytest.mark.parametrize("what", ["HELIP_BUILD_PYTHON", "HELIP_BUILD_TESTS"])
def test_what_needs_the_library_of_pictures_says_so(tmp_path: Path, what: str) -> None:
    line = problem_of(tmp_path / "build", "-DHELIP_DATA=OFF", f"-D{what}=ON")
    assert line.startswith(f"helip: {what} is ON and needs libhelip_data")
    assert f"add -D{what}=OFF" in line


def test_a_folder_of_headers_stands_in_for_packages(tmp_path: Path) -> None:
    include = tmp_path / "third-party" / "include"
    (include / "nlohmann").mkdir(parents=True)
    (include / "hnswlib").mkdir()
    for name in ("nlohmann/json.hpp", "xxhash.h", "hnswlib/hnswlib.h"):
        (include / name).write_text("#pragma once\n")
    line = problem_of(
        tmp_path / "build",
        "-DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON",
        "-DCMAKE_DISABLE_FIND_PACKAGE_JPEG=ON",
        "-DCMAKE_SYSTEM_IGNORE_PATH=/usr/include;/usr/local/include",
        f"-DHELIP_THIRD_PARTY={include.parent}",
    )
    assert line.startswith("helip: not installed: libjpeg-turbo; ")


def test_a_missing_compiler_is_one_line(tmp_path: Path) -> None:
    make = shutil.which("make")
    assert make is not None
    line = problem_of(
        *(tmp_path / "build", "-G", "Unix Makefiles", f"-DCMAKE_MAKE_PROGRAM={make}"),
        PATH=str(tmp_path),
    )
    assert line == "helip: there is no C++ compiler; on Debian and Ubuntu: apt-get install g++"


@pytest.mark.parametrize("system", ["Darwin", "Windows", "FreeBSD"])
def test_another_system_is_refused_by_name(tmp_path: Path, system: str) -> None:
    line = problem_of(tmp_path / "build", f"-DCMAKE_SYSTEM_NAME={system}")
    assert line.startswith(f"helip: builds on Linux alone, and this is {system}; docs/install.md")
