"""Makes link-time stand-ins for the C and C++ libraries of an older Linux.

python old_libraries.py FOLDER [--compiler=g++] [--glibc=2.28] [--glibcxx=3.4.24] [--cxxabi=1.3.11]

A shared library that is linked on a new machine asks for the newest version of each symbol, and
does not load where glibc or libstdc++ are older. Headers and code are not the reason: glibc keeps
every version of a symbol for ever. So this reads which symbols and versions the libraries of this
machine have, and writes libraries of the same names that hold those alone which the older ones
have. What is linked against them loads wherever those are, and a symbol that the older ones lack
fails the link by its name: `compat.c` has a replacement for each that is needed. What is new in
libstdc++ is taken from its static library, hidden, as Red Hat's compilers do it, while all else,
such as strings, streams and exceptions, is shared with the program: a C++ program that is built
with any g++ can use the result.

FOLDER gets the libraries and `libraries.txt`, what the linker takes in place of its own.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from collections import defaultdict
from pathlib import Path

COMPAT = Path(__file__).parent / "compat.c"
# The names of the versions of each library: what does not belong to a limit is private.
FAMILIES = {
    "libc.so.6": "GLIBC",
    "libm.so.6": "GLIBC",
    "libstdc++.so.6": "GLIBCXX CXXABI",
    "libgcc_s.so.1": "GCC",
}
LOADERS = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}
# What glibc 2.34 moved into libc.so.6, by the library that has it before. A symbol that moved has a
# version of the move and its old one.
MOVED = {
    "libpthread.so.0": ("pthread_", "sem_", "__pthread_"),
    "libdl.so.2": ("dl",),
    "librt.so.1": ("shm_", "timer_", "mq_", "aio_", "lio_"),
}
SYMBOL = re.compile(
    r"^\s*\d+:\s+\S+\s+(?P<size>\d+|0x[0-9a-f]+)\s+(?P<type>FUNC|OBJECT|IFUNC|TLS|NOTYPE)\s+"
    r"(?P<bind>GLOBAL|WEAK|UNIQUE)\s+\S+\s+(?P<index>\d+)\s+(?P<name>[^@\s]+)@+"
    r"(?P<family>[A-Z]+)_(?P<version>[0-9.]+)$"
)


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def told(compiler: str, *options: str) -> str:
    done = subprocess.run([compiler, *options], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def old_symbols(
    library: Path, families: list[str], limits: dict[str, tuple[int, ...]]
) -> dict[str, tuple[str, str, str, bool]]:
    """Name → (type, family, newest version within the limits, whether a newer one is there)."""
    listing = subprocess.run(
        ["readelf", "--dyn-syms", "--wide", library], capture_output=True, text=True, check=True
    ).stdout
    found: dict[str, list[tuple[tuple[int, ...], str, str, str]]] = defaultdict(list)
    for line in listing.splitlines():
        match = SYMBOL.match(line)
        if match and match["family"] in families:
            version = match["version"]
            found[match["name"]].append((number(version), match["type"], match["family"], version))
    chosen = {}
    for name, versions in found.items():
        within = [entry for entry in versions if entry[0] <= limits[entry[2]]]
        if within:
            _, kind, family, version = max(within)
            chosen[name] = (kind, family, version, max(versions) not in within)
    return chosen


def torch_symbols(library: Path) -> dict[str, tuple[str, str, str, bool]]:
    """The C functions of libtorch, which its stable ABI promises.

    libtorch also hands out what it took from libstdc++ itself, which nobody promises.
    """
    listing = subprocess.run(
        ["readelf", "--dyn-syms", "--wide", library], capture_output=True, text=True, check=True
    ).stdout
    names = [fields[7] for line in listing.splitlines() if len(fields := line.split()) == 8]
    return {
        name: ("FUNC", "", "", False)
        for name in names
        if name.startswith(("aoti_torch_", "torch_"))
    }


def write_library(
    folder: Path, soname: str, symbols: dict[str, tuple[str, str, str, bool]], compiler: str
) -> Path:
    """A shared library of that name whose symbols hold nothing."""
    text: list[str] = []
    nodes: dict[tuple[str, tuple[int, ...], str], list[str]] = defaultdict(list)
    for name, (kind, family, version, _) in sorted(symbols.items()):
        section, as_type = {
            "OBJECT": (".data", "object"),
            "TLS": ('.section .tdata,"awT",%progbits', "tls_object"),
        }.get(kind, (".text", "function"))
        text += [section, f".globl {name}", f".type {name}, %{as_type}", f"{name}:", ".quad 0"]
        text.append(f".size {name}, 8")
        if version:
            nodes[family, number(version), version].append(name)
    text.append('.section .note.GNU-stack,"",%progbits')
    stem = folder / soname
    source, script = stem.with_name(f"{soname}.s"), stem.with_name(f"{soname}.map")
    source.write_text("\n".join(text) + "\n")
    command = [compiler, "-shared", "-nostdlib", "-nostartfiles", f"-Wl,-soname,{soname}"]
    if nodes:
        script.write_text(
            "".join(
                f"{family}_{version} {{ global: {'; '.join(names)}; }};\n"
                for (family, _, version), names in sorted(nodes.items())
            )
        )
        command.append(f"-Wl,--version-script,{script}")
    subprocess.run([*command, "-o", stem, source], check=True)
    source.unlink()
    script.unlink(missing_ok=True)
    if soname.startswith("lib") and not soname.endswith(".so"):  # by which name `-lm` finds it
        link = folder / re.sub(r"\.so\..*", ".so", soname)
        link.unlink(missing_ok=True)
        link.symlink_to(soname)
    return stem


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--torch", type=Path, help="a libtorch_cpu.so, for one of its C functions")
    parser.add_argument("--glibc", default="2.28")
    parser.add_argument("--glibcxx", default="3.4.24")
    parser.add_argument("--cxxabi", default="1.3.11")
    given = parser.parse_args()
    limits = {
        "GLIBC": number(given.glibc),
        "GLIBCXX": number(given.glibcxx),
        "CXXABI": number(given.cxxabi),
        "GCC": (7, 0, 0),
    }
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)

    machine = told(given.compiler, "-dumpmachine").split("-")[0]
    libraries = {}
    for soname, families in {**FAMILIES, LOADERS[machine]: "GLIBC"}.items():
        path = told(given.compiler, f"-print-file-name={soname}")
        symbols = old_symbols(Path(path), families.split(), limits)
        if soname == "libc.so.6":
            for library, prefixes in MOVED.items():
                moved = {
                    name: entry
                    for name, entry in symbols.items()
                    if entry[3] and name.startswith(prefixes)
                }
                symbols = {name: entry for name, entry in symbols.items() if name not in moved}
                libraries[library] = write_library(folder, library, moved, given.compiler)
        libraries[soname] = write_library(folder, soname, symbols, given.compiler)
    if given.torch:
        write_library(folder, "libtorch_cpu.so", torch_symbols(given.torch), given.compiler)
    compat = folder / "compat.o"
    options = ["-x", "c", "-c", "-O2", "-fPIC", "-fvisibility=hidden", "-ffunction-sections"]
    subprocess.run([given.compiler, *options, "-o", compat, COMPAT], check=True)
    archive = folder / "libcompat.a"
    archive.unlink(missing_ok=True)
    archiver = re.sub(r"(g\+\+|c\+\+|gcc)(-\d+)?$", "ar", given.compiler)
    subprocess.run([archiver, "rcD", archive, compat], check=True)

    statics = {
        name: told(given.compiler, f"-print-file-name={name}")
        for name in ("libstdc++.a", "libgcc.a", "libc_nonshared.a")
    }
    order = [
        *(libraries["libstdc++.so.6"], statics["libstdc++.a"], libraries["libgcc_s.so.1"]),
        *(statics["libgcc.a"], archive, libraries["libm.so.6"], libraries["libc.so.6"]),
        *(libraries[name] for name in (*MOVED, LOADERS[machine])),
        statics["libc_nonshared.a"],
    ]
    (folder / "libraries.txt").write_text("\n".join(map(str, order)) + "\n")


if __name__ == "__main__":
    main()
