"""Prints what helip and some of its extras need, one requirement a line, without helip itself.

python scripts/requirements.py [--alone] [EXTRA ...]

--alone: of the extras, without what the package itself needs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def requirements(project: dict[str, Any], extras: list[str]) -> list[str]:
    """Of the package and of ``extras``; an extra that names extras of its own gives theirs."""
    return list(dict.fromkeys([*project["dependencies"], *of_extras(project, extras)]))


def of_extras(project: dict[str, Any], extras: list[str]) -> list[str]:
    """Of ``extras`` alone."""
    found: list[str] = []
    for extra in extras:
        for line in project["optional-dependencies"][extra]:
            if line.startswith(f"{project['name']}["):
                inner = line[line.index("[") + 1 : line.index("]")].split(",")
                found += of_extras(project, inner)
            else:
                found.append(line)
    return list(dict.fromkeys(found))


def main() -> None:
    with PYPROJECT.open("rb") as file:
        project = tomllib.load(file)["project"]
    alone, extras = "--alone" in sys.argv[1:], [word for word in sys.argv[1:] if word != "--alone"]
    print("\n".join((of_extras if alone else requirements)(project, extras)))


if __name__ == "__main__":
    main()
