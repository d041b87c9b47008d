"""Checks what is about to be published; uses no network.

python scripts/wheel/release_check.py dist [--released]

One sdist and one wheel or more: the same version everywhere (pyproject.toml, CITATION.cff,
CHANGELOG, the C++ header, file names), metadata that an index takes (twine), what the wheels ask
of a system (auditwheel), their size, licences and lists of parts (CycloneDX), and that the sdist
brings its headers along. `--released` asks for a section of the CHANGELOG with the version's name.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from finish import MOST, PARTS

ROOT = Path(__file__).resolve().parents[2]


def matched(pattern: str, text: str, what: str) -> str:
    match = re.search(pattern, text, re.M)
    if match is None:
        sys.exit(f"release-check: {what} names no version")
    return match[1]


def versions(released: bool) -> dict[str, str]:
    """Where a version stands → the version."""

    def read(name: str) -> str:
        return (ROOT / name).read_text(encoding="utf-8")

    found = {
        "pyproject.toml": matched(
            r'^version = "([^"]+)"', read("pyproject.toml"), "pyproject.toml"
        ),
        "CITATION.cff": matched(r"^version: (\S+)", read("CITATION.cff"), "CITATION.cff"),
    }
    changelog = read("CHANGELOG.md")
    if released:
        found["CHANGELOG.md"] = matched(r"^## \[(\d[^\]]*)\]", changelog, "CHANGELOG.md")
    elif "## [Unreleased]" not in changelog:
        sys.exit("release-check: CHANGELOG.md has no section [Unreleased]")
    return found


def problems_of_wheel(path: Path, version: str) -> Iterator[str]:
    if path.stat().st_size > MOST:
        yield f"has {path.stat().st_size} bytes, but at most {MOST} are allowed"
    if f"-{version}-" not in path.name:
        yield f"is not of version {version}"
    if "-manylinux_" not in path.name:
        yield "has no manylinux tag"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        info = f"helip-{version}.dist-info"
        header = archive.read("helip/include/helip/version.h").decode()
        numbers = [matched(rf"HELIP_VERSION_{n} (\d+)", header, "version.h")
                   for n in ("MAJOR", "MINOR", "PATCH")]  # fmt: skip
        if ".".join(numbers) != version:
            yield f"has headers of version {'.'.join(numbers)}"
        metadata = archive.read(f"{info}/METADATA").decode()
        for file in re.findall(r"^License-File: (.+)$", metadata, re.M):
            if f"{info}/licenses/{file}" not in names:
                yield f"lacks the licence {file} that its metadata names"
        bills = [name for name in names if name.startswith(f"{info}/sboms/")]
        listed = {
            part["name"]
            for bill in bills
            for part in json.loads(archive.read(bill)).get("components", [])
        }
        if not listed:
            yield "has no list of parts"
        for part in PARTS:
            if f"{info}/licenses/third-party/{part.name}.txt" not in names:
                yield f"lacks the licence of {part.name}"
        if missing := {"hnswlib", "xxHash", "nlohmann-json"} - listed:
            yield f"lists no {', '.join(sorted(missing))}"
        for bill in bills:
            yield from problems_of_bill(archive.read(bill).decode())


def problems_of_platform(path: Path) -> Iterator[str]:
    """What auditwheel finds that a system of the wheel's tag may lack; torch is there."""
    command = [sys.executable, "-m", "auditwheel", "show", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        yield f"is not understood by auditwheel: {done.stderr.strip()}"
        return
    shown = json.loads(done.stdout)
    print(f"{path.name}: {path.stat().st_size} bytes; its symbols are those of {shown['sym_tag']}")
    asked, promised = (
        [int(number) for number in re.findall(r"manylinux_(\d+)_(\d+)", tag)[0]]
        for tag in (shown["sym_tag"], path.name)
    )
    if asked > promised:
        yield f"needs {shown['sym_tag']}"
    if others := set(shown["external_libs"]) - {"libtorch_cpu.so"}:
        yield f"needs libraries that it does not hold: {', '.join(sorted(others))}"


def problems_of_bill(text: str) -> Iterator[str]:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    version = SchemaVersion.from_version(json.loads(text)["specVersion"])
    error = JsonStrictValidator(version).validate_str(text)
    if error is not None:
        yield f"has a list of parts that is no CycloneDX {version.to_version()}: {error}"


def problems_of_sdist(path: Path, version: str) -> Iterator[str]:
    if path.name != f"helip-{version}.tar.gz":
        yield f"is not of version {version}"
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    headers = (f"include/{each}" for each in ("hnswlib/hnswlib.h", "nlohmann/json.hpp", "xxhash.h"))
    brought = (f"third-party/{each}" for each in (*headers, "versions.txt"))
    for needed in ("LICENSE", "CMakeLists.txt", "docs/install.md", *brought):
        if needed not in names:
            yield f"lacks {needed}"
    if compiled := sorted(name for name in names if name.endswith((".so", ".o", ".a"))):
        yield f"holds compiled files: {', '.join(compiled)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", type=Path)
    parser.add_argument("--released", action="store_true")
    given = parser.parse_args()
    found = versions(given.released)
    if len(set(found.values())) != 1:
        sys.exit(f"release-check: versions differ: {found}")
    version = found["pyproject.toml"]
    sdists, wheels = sorted(given.dist.glob("*.tar.gz")), sorted(given.dist.glob("*.whl"))
    if len(sdists) != 1 or not wheels:
        sys.exit(f"release-check: {given.dist} has {len(sdists)} sdists, {len(wheels)} wheels")
    problems = [f"{sdists[0].name} {text}" for text in problems_of_sdist(sdists[0], version)]
    for wheel in wheels:
        problems += [f"{wheel.name} {text}" for text in problems_of_wheel(wheel, version)]
        problems += [f"{wheel.name} {text}" for text in problems_of_platform(wheel)]
    files = [str(path) for path in (*sdists, *wheels)]
    if subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *files]).returncode:
        problems.append("twine refuses the metadata")
    for problem in problems:
        print(f"release-check: {problem}", file=sys.stderr)
    print(f"release-check: version {version}, {len(files)} files, {len(problems)} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
