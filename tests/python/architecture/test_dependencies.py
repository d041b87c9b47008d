"""Every package that code imports is declared in pyproject.toml, for those who run that code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeGuard

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Packages whose import has another name.
IMPORTS = {
    "clip_benchmark": {"clip_benchmark"},
    "cyclonedx_python_lib": {"cyclonedx"},
    "faiss_cpu": {"faiss"},
    "grain": {"grain", "absl", "array_record"},
    "griffelib": {"griffe"},
    "open_clip_torch": {"open_clip", "open_clip_train"},
    "markdown_it_py": {"markdown_it"},
    "opencv_python_headless": {"cv2"},
    "pillow": {"PIL"},
    "pylance": {"lance"},
    "pyyaml": {"yaml"},
    "scikit_image": {"skimage"},
    "scikit_learn": {"sklearn"},
    "umap_learn": {"umap"},
    "webdataset": {"webdataset", "wids"},
}
OURS = {"helip", "helip_demo", "helip_view", "support"}
# Installed by hand: no wheel, a gigabyte, requirements at odds with ours. Who uses them names them.
BY_HAND = {"bench": {"cleanlab", "ffcv", "nvidia", "streaming"}, "tests/python": {"streaming"}}


def declared(*extras: str) -> set[str]:
    """Names that may be imported once helip is installed with these extras."""
    found = set()
    for requirement in [
        *PROJECT["dependencies"],
        *(line for extra in extras for line in PROJECT["optional-dependencies"][extra]),
    ]:
        name, among = re.fullmatch(r"([\w.-]+)(?:\[([\w,]+)\])?.*", requirement).groups()
        name = re.sub(r"[-.]", "_", name).lower()
        if name == "helip":
            found |= declared(*among.split(","))
        else:
            found |= IMPORTS.get(name, {name})
    return found


def imported(folders: Iterable[str], at_import: bool = False) -> dict[str, str]:
    """What modules import of others, with one place each; ``at_import``: outside of functions."""
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    # Benchmarks and the like are scripts, which import from their own folder.
    beside = {
        path.parent.name if path.name == "__init__.py" else path.stem
        for path in files
        if {"bench", "scripts", "soak"} & set(path.relative_to(ROOT).parts)
    }
    found: dict[str, str] = {}
    for path in files:
        for name, line in _names(ast.parse(path.read_text(encoding="utf-8")), at_import):
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names | OURS | beside:
                found.setdefault(top, f"{path.relative_to(ROOT)}:{line}")
    return found


def _names(node: ast.AST, at_import: bool) -> Iterator[tuple[str, int]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and not child.level:
            yield child.module or "", child.lineno
        elif _is_skip(child):
            yield child.args[0].value, child.lineno
        if not (at_import and isinstance(child, (ast.FunctionDef, ast.If))):
            yield from _names(child, at_import)


def _is_skip(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether a node is ``pytest.importorskip("name")``."""
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func) == "pytest.importorskip"
        and isinstance(node.args[0], ast.Constant)
    )


USER_EXTRAS = (
    "embed",
    "data",
    "lance",
    "tables",
    "remote",
    "lora",
    "eval",
    "log",
    "ray",
    "fiftyone",
)


@pytest.mark.parametrize(
    ("folders", "extras"),
    [
        (["python/helip"], USER_EXTRAS),
        (["python/helip_demo"], ("demo",)),
        (["python/helip_view"], ("view", "umap")),
        (["tests/python", "tests/support", "tests/consumer"], ("dev", "fiftyone")),
        (["scripts"], ("dev", "docs", "release", "browser")),
        (["examples", "tests/examples"], ("dev",)),
        (["tests/soak"], ("dev",)),
        (["tests/faults"], ("faults",)),
        (["tests/browser"], ("browser",)),
        (["bench"], ("bench",)),
    ],
    ids=lambda value: value[0],
)
def test_what_is_imported_is_declared(folders: list[str], extras: tuple[str, ...]) -> None:
    known = declared(*extras) | set().union(*(BY_HAND.get(f, set()) for f in folders))
    missing = {name: at for name, at in imported(folders).items() if name not in known}
    assert not missing, f"not in {extras or 'dependencies'} of pyproject.toml: {missing}"


def test_importing_the_package_needs_the_base_installation_alone() -> None:
    folders = ["python/helip", "python/helip_view"]
    missing = {n: at for n, at in imported(folders, True).items() if n not in declared()}
    assert not missing, f"imported at import, not in dependencies: {missing}"


def test_every_extra_is_told_in_the_documents() -> None:
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    told = set(re.findall(r"(?m)^\| `(\w+)` \|", page)) | {
        "dev", "faults", "browser", "bench", "docs", "release",
    }  # fmt: skip
    assert told == set(PROJECT["optional-dependencies"])
    ours = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page + ours for name in told)


@pytest.mark.parametrize("extras", [(), ("demo",), ("faults",)])
def test_the_script_of_requirements_names_what_extras_declare(extras: tuple[str, ...]) -> None:
    script = ROOT / "scripts" / "requirements.py"
    done = subprocess.run(
        [sys.executable, script, *extras], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(set(lines))
    named = {re.split(r"[^\w.-]", line)[0] for line in lines}
    names = {re.sub(r"[-.]", "_", name).lower() for name in named}
    assert set().union(*(IMPORTS.get(name, {name}) for name in names)) == declared(*extras)
    assert "helip" not in named
