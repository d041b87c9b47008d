"""C++ programs build against the installed package: they mine as Python does, and make batches."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import helip

HERE = Path(__file__).resolve().parent
PACKAGE = Path(helip.__file__).resolve().parent


CODECS = ("libjpeg", "libpng", "libwebp", "libsharpyuv", "libturbojpeg", "libz.")
MARKS = ("jpeg_", "jinit_", "png_", "WebP")  # of their symbols
WITH_BINUTILS = pytest.mark.skipif(shutil.which("nm") is None, reason="binutils is not installed")


def built(source: Path, build: Path) -> Path:
    configure = [
        *("cmake", "-S", str(source), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release"),
        f"-DCMAKE_PREFIX_PATH={helip.cmake_prefix_path}",
    ]
    for command in (configure, ["cmake", "--build", str(build)]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "consumer"


@pytest.fixture(scope="module")
def consumer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(HERE, tmp_path_factory.mktemp("consumer"))


@pytest.fixture(scope="module")
def data_consumer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(HERE / "data", tmp_path_factory.mktemp("data_consumer"))


def library(name: str) -> Path:
    """A shared library of the package."""
    found = [path for path in PACKAGE.rglob(name) if not path.is_symlink()]
    return found[0] if found else (PACKAGE / "lib" / name).resolve()


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


def test_a_cpp_program_draws_batches_and_decodes_pictures(
    data_consumer: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(1)
    helip.mine(
        image=random.normal(size=(48, 8)) + 0.5, text=random.normal(size=(48, 8)) + 0.5,
        k=4, out=tmp_path / "p", method="exact", device="cpu", progress=False,
    )  # fmt: skip
    pixels = random.integers(0, 255, size=(40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    (tmp_path / "torn.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:30])

    def run(table: str, picture: str) -> subprocess.CompletedProcess[str]:
        command = [data_consumer, tmp_path / table, tmp_path / picture]
        return subprocess.run(command, capture_output=True, text=True)

    done = run("p", "a.jpg")
    assert (done.returncode, done.stdout) == (0, f"8 rows, {224 * 224 * 3 * 4} bytes\n"), done
    # An error of each library is the type that the program knows.
    torn, absent = run("p", "torn.jpg"), run("absent", "a.jpg")
    assert (torn.returncode, torn.stderr[:18]) == (3, "unreadable_image: "), torn
    assert (absent.returncode, absent.stderr[:4]) == (1, "io: "), absent


@pytest.mark.skipif(shutil.which("ldd") is None, reason="there is no ldd")
def test_a_program_that_mines_loads_no_library_of_pictures(
    consumer: Path, data_consumer: Path
) -> None:
    def loaded(program: Path) -> list[str]:
        listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
        return [line.split()[0].rpartition("/")[2] for line in listing.stdout.splitlines()]

    names = loaded(consumer)
    assert any(name.startswith("libhelip.so") for name in names), names
    assert not [name for name in names if name.startswith((*CODECS, "libhelip_data"))]
    both = loaded(data_consumer)
    assert {"libhelip", "libhelip_data"} <= {name.partition(".")[0] for name in both}


def test_a_library_of_batches_of_another_version_is_refused(tmp_path: Path) -> None:
    """What it takes of the miner changes from version to version."""
    name = "helip_release_" + helip.__version__.replace(".", "_")
    shutil.copy(library("libhelip.so"), tmp_path)
    text = library("libhelip_data.so").read_bytes()
    (tmp_path / "libhelip_data.so").write_bytes(
        text.replace(name.encode(), name[:-1].encode() + b"9")
    )
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
    command = [sys.executable, "-c", code, tmp_path / "libhelip_data.so"]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and f"undefined symbol: {name[:-1]}9" in done.stderr, done


@WITH_BINUTILS
def test_the_miner_has_nothing_of_the_libraries_that_decode_pictures() -> None:
    """Neither linked nor compiled in, as a wheel has them in the other library."""
    needed = subprocess.run(
        ["readelf", "--dynamic", library("libhelip.so")], capture_output=True, text=True, check=True
    ).stdout
    assert "libstdc++" in needed or "libc.so" in needed
    assert not [name for name in CODECS if f"[{name}" in needed]
    assert b"jpeg" not in library("libhelip.so").read_bytes().lower()


@WITH_BINUTILS
def test_no_library_needs_a_cpp_symbol_of_torch() -> None:
    libraries = [*PACKAGE.rglob("*.so"), *PACKAGE.rglob("*.so.*")]
    names = {path.name.split(".")[0] for path in libraries}
    assert {"_core", "libhelip", "libhelip_data", "libhelip_torch"} <= names
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


@WITH_BINUTILS
@pytest.mark.parametrize("name", ["libhelip.so", "libhelip_data.so"])
def test_the_core_exports_nothing_of_the_libraries_that_decode_pictures(name: str) -> None:
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", library(name)], capture_output=True, text=True, check=True
    ).stdout
    names = [line.split()[-1] for line in listing.splitlines()]
    assert names
    assert not [name for name in names if name.startswith(MARKS)]
