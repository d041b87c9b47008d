"""A C++ program builds against the installed package and mines the table that Python mines."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import helip

HERE = Path(__file__).resolve().parent
PACKAGE = Path(helip.__file__).resolve().parent


@pytest.fixture(scope="module")
def consumer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = tmp_path_factory.mktemp("consumer")
    configure = [
        *("cmake", "-S", str(HERE), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release"),
        f"-DCMAKE_PREFIX_PATH={helip.cmake_prefix_path}",
    ]
    for command in (configure, ["cmake", "--build", str(build)]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "consumer"


def test_a_cpp_program_mines_the_same_table(consumer: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    image = random.normal(size=(500, 16)) + 0.5
    text = random.normal(size=(500, 8)) + 0.5
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=16, text_dim=8) as writer:
        writer.append([f"k{i}" for i in range(500)], image, text)
    done = subprocess.run(
        [consumer, tmp_path / "s", tmp_path / "p"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"helip {helip.__version__}: 500 targets\n"
    theirs = helip.HardPairs.open(tmp_path / "p")
    ours = helip.mine(tmp_path / "s", k=10, method="exact", device="cpu", progress=False)
    np.testing.assert_array_equal(theirs.ids, ours.ids)
    np.testing.assert_array_equal(theirs.scores, ours.scores)
    assert theirs.fingerprint == helip.EmbeddingStore.open(tmp_path / "s").fingerprint


def test_errors_reach_a_cpp_program(consumer: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [consumer, tmp_path / "absent", tmp_path / "p"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("io: ")


@pytest.mark.skipif(shutil.which("nm") is None, reason="binutils is not installed")
def test_no_library_needs_a_cpp_symbol_of_torch() -> None:
    libraries = [*PACKAGE.rglob("*.so"), *PACKAGE.rglob("*.so.*")]
    names = {path.name.split(".")[0] for path in libraries}
    assert {"_core", "libhelip", "libhelip_torch"} <= names
    for library in libraries:
        listing = subprocess.run(
            ["nm", "-DC", "--undefined-only", library], capture_output=True, text=True, check=True
        ).stdout
        wrong = [
            line
            for line in listing.splitlines()
            if any(s in line for s in ("at::", "c10::", "torch::"))
        ]
        assert not wrong, f"{library.name}: {wrong[:5]}"


@pytest.mark.skipif(shutil.which("nm") is None, reason="binutils is not installed")
def test_the_core_exports_nothing_of_the_libraries_that_decode_pictures() -> None:
    (library,) = [path for path in PACKAGE.rglob("libhelip.so") if not path.is_symlink()] or [
        (PACKAGE / "lib" / "libhelip.so").resolve()
    ]
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True
    ).stdout
    names = [line.split()[-1] for line in listing.splitlines()]
    assert names
    assert not [name for name in names if name.startswith(("jpeg_", "jinit_", "png_", "WebP"))]
