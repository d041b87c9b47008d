"""The options of a command, saved beside what it has written, so that `--config` repeats it.

A folder, also one at a URL, holds them as ``helip.yaml``; a file ``page.html`` has
``page.html.helip.yaml`` beside it. No manifest names the file, so no fingerprint or checksum
depends on it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from helip.cli.configuration import plain, read_options, yaml_lines
from helip.cli.messages import say
from helip.common.errors import Error, InvalidArgumentError
from helip.common.patterns import existing_paths, is_url
from helip.common.remote.urls import REDACTED, place_of, shown, url_of, without_secrets
from helip.data.options import OpenOptions

_NAME = "helip.yaml"


def place_beside(output: Path) -> Path:
    """Where the options of the command that wrote ``output`` lie."""
    return output / _NAME if output.is_dir() else output.with_name(f"{output.name}.{_NAME}")


def save_options(
    output: Path, command: str, options: Mapping[str, Any], given: Collection[str], version: str
) -> None:
    """Write them in one step. A failure is told and changes nothing: the output itself is there."""
    from helip.common.files import replace_file

    kept = {name: _without_secrets(value) for name, value in options.items()}
    asked = {name: value for name, value in kept.items() if name in given}
    text = f"# What was done here. helip {command} --config with this file does it again.\n"
    text += f"helip: {version}\ncommand: {command}\n"
    for title, group in (("given", asked), ("options", kept)):
        text += f"{title}:\n" if group else f"{title}: {{}}\n"
        text += "".join(f"  {line}\n" for line in yaml_lines(group))
    try:
        if (url := url_of(output)) is not None:
            from helip.common.remote.client import Remote

            Remote(place_of([url])).put(f"{url}/{_NAME}", text.encode())
        else:
            replace_file(place_beside(output), text)
    except (Error, OSError) as error:
        say(f"helip: {shown(output)} is written, and its options could not be saved: {error}")


def _without_secrets(value: Any) -> Any:
    """The value as YAML has it, with REDACTED for users, passwords and queries of URLs."""
    value = plain(value)
    if isinstance(value, list):
        return [_without_secrets(each) for each in value]
    return without_secrets(value) if isinstance(value, str) else value


def data_of(output: Path | None) -> dict[str, Any]:
    """The data that ``output`` was made of, with how they were opened, by what commands saved.

    A table leads to its store. ``DATA`` stands for data that nothing names or that are not here.
    """
    unknown = {"data": "DATA"}
    if output is None or url_of(output) is not None:
        return unknown
    try:
        options = {name: value for name, (value, _) in read_options(place_beside(output)).items()}
    except (Error, OSError):
        return unknown
    names = ("data", *OpenOptions().as_dict())
    found = {name: options[name] for name in names if options.get(name) is not None}
    if "data" not in found:
        sources = (options.get("store"), options.get("pairs"), *(options.get("parts") or ()))
        return next((data_of(Path(each)) for each in sources if each is not None), unknown)
    if any(REDACTED in str(value) for value in found.values()):
        return unknown
    if not is_url(found["data"]):
        try:
            existing_paths(found["data"], "")
        except InvalidArgumentError:
            return unknown
    return found
