"""Ways to build against helip: find_package, pkg-config, add_subdirectory."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGE = Path(helip.__file__).resolve().parent


def run(*command: Any, **given: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, **given)


def configured(folder: Path, prefix: Path, wanted: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.26)\nproject(asks LANGUAGES C)\n"
        f"find_package(helip {wanted} REQUIRED)\n"
    )
    return run("cmake", "-S", folder, "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={prefix}")


def test_a_component_that_was_not_built_is_refused_at_configure(tmp_path: Path) -> None:
    prefix = tmp_path / "helip"
    for part in ("lib", "include"):
        shutil.copytree(PACKAGE / part, prefix / part, symlinks=True)
    assert configured(tmp_path / "has", prefix, "COMPONENTS data").returncode == 0
    for targets in (prefix / "lib" / "cmake" / "helip").glob("helipTargets*.cmake"):
        targets.write_text(targets.read_text().replace("helip::data", "helip::other"))
    refused = configured(tmp_path / "lacks", prefix, "COMPONENTS data")
    assert refused.returncode != 0
    assert "has no component data: helip was built with HELIP_DATA=OFF" in " ".join(
        refused.stderr.split()
    )
    assert configured(tmp_path / "alone", prefix, "").returncode == 0


def test_another_minor_version_is_refused_at_configure(tmp_path: Path) -> None:
    major, minor = (int(part) for part in helip.__version__.split(".")[:2])
    assert configured(tmp_path / "same", PACKAGE, f"{major}.{minor}").returncode == 0
    for wanted in (f"{major}.{minor + 1}", f"{major + 1}.0"):
        refused = configured(tmp_path / wanted, PACKAGE, wanted)
        assert refused.returncode != 0
        assert f'requested version "{wanted}"' in refused.stderr
        assert f"version: {helip.__version__}" in refused.stderr


def test_headers_of_another_version_are_refused_at_configure(tmp_path: Path) -> None:
    prefix = tmp_path / "helip"
    for part in ("lib", "include"):
        shutil.copytree(PACKAGE / part, prefix / part, symlinks=True)
    header = prefix / "include" / "helip" / "version.h"
    header.write_text(header.read_text().replace(f'"{helip.__version__}"', '"0.0.9"'))
    refused = configured(tmp_path / "asks", prefix, "")
    assert refused.returncode != 0
    said = " ".join(refused.stderr.split())
    assert f"is of helip {helip.__version__}, but the headers in" in said


@pytest.mark.skipif(shutil.which("pkg-config") is None, reason="pkg-config is not installed")
def test_pkg_config_builds_a_c_program(tmp_path: Path) -> None:
    """The program of the page, built by the line of the page, which also finds the library."""
    prefix = tmp_path / "helip"  # of a path without a space, at which a shell would cut it
    prefix.symlink_to(PACKAGE)
    environment = {**os.environ, "PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}
    environment.pop("LD_LIBRARY_PATH", None)
    version = run("pkg-config", "--modversion", "helip", env=environment).stdout.strip()
    assert version == helip.__version__
    page = (ROOT / "docs" / "embedding-in-production.md").read_text(encoding="utf-8")
    (tmp_path / "main.c").write_text(page.partition("```c\n")[2].partition("```")[0])
    line = page.partition("| pkg-config | `")[2].partition("`")[0]
    built = run("sh", "-c", f"{line} -Wall -Wextra -Werror", cwd=tmp_path, env=environment)
    assert built.returncode == 0, built.stderr
    absent = run("./a.out", cwd=tmp_path, env=environment)
    assert (absent.returncode, "cc3m.store" in absent.stderr) == (1, True), absent.stderr
    with helip.EmbeddingStore.create(tmp_path / "cc3m.store", image_dim=3, text_dim=3) as writer:
        writer.append(["a", "b", "c"], np.eye(3) + 1, np.eye(3) + 1)
    done = run("./a.out", cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert len(helip.HardPairs.open(tmp_path / "cc3m.pairs")) == 3


def test_a_project_takes_the_sources_in(tmp_path: Path) -> None:
    """The whole core takes minutes to compile: a file of the consumer stands for it."""
    build = ("-G", "Ninja", f"-DHELIP_SOURCES={ROOT}")
    done = run("cmake", "-S", HERE / "subdirectory", "-B", tmp_path, *build)
    assert done.returncode == 0, done.stdout + done.stderr
    (object_file,) = [
        line.partition(":")[0]
        for line in run("ninja", "-C", tmp_path, "-t", "targets", "all").stdout.splitlines()
        if line.partition(":")[0].endswith("main.cpp.o") and "consumer.dir" in line
    ]
    done = run("ninja", "-C", tmp_path, object_file)
    assert done.returncode == 0, done.stdout + done.stderr
