"""The recipes of vcpkg and Conan: of this version, with options that there are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import helip

ROOT = Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "packaging"
PORT = PACKAGING / "vcpkg" / "ports" / "helip"
OPTIONS = set(
    re.findall(
        r"(?m)^(?:option\(|set\()(HELIP_\w+)",
        "\n".join((ROOT / p).read_text() for p in ("CMakeLists.txt", "cpp/cmake/images.cmake")),
    )
)
# Calls of vcpkg that the port makes, each of which says what it was given.
STUBS = """
foreach(name vcpkg_check_linkage vcpkg_cmake_configure vcpkg_cmake_install vcpkg_cmake_config_fixup
        vcpkg_fixup_pkgconfig vcpkg_install_copyright)
  cmake_language(EVAL CODE
    "function(${name})\\n message(STATUS \\"${name} \\${ARGN}\\")\\nendfunction()")
endforeach()
set(CURRENT_PACKAGES_DIR "${CMAKE_CURRENT_BINARY_DIR}/absent")
include("${PORT}/portfile.cmake")
"""


def test_the_port_of_vcpkg_is_of_this_version_and_calls_what_there_is(tmp_path: Path) -> None:
    assert json.loads((PORT / "vcpkg.json").read_text())["version"] == helip.__version__
    (tmp_path / "run.cmake").write_text(STUBS)
    command = ["cmake", f"-DPORT={PORT}", "-P", str(tmp_path / "run.cmake")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"SOURCE_PATH;{ROOT}" in done.stdout
    assert str(ROOT / "LICENSE") in done.stdout
    given = set(re.findall(r"-D(HELIP_\w+)=", done.stdout))
    assert given and given <= OPTIONS


def test_the_recipe_of_conan_sets_options_that_there_are() -> None:
    text = (PACKAGING / "conan" / "conanfile.py").read_text()
    given = set(re.findall(r'"(HELIP_\w+)"', text))
    assert {"HELIP_TORCH", "HELIP_PNG"} <= given <= OPTIONS


@pytest.mark.skipif(shutil.which("conan") is None, reason="conan is not installed")
def test_conan_reads_the_recipe(tmp_path: Path) -> None:
    command = ["conan", "inspect", str(PACKAGING / "conan"), "--format=json"]
    home = {**os.environ, "CONAN_HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=home)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == helip.__version__
