"""Exported graphs, kept between runs: exporting one takes longer than computing many pictures.

They lie in ``$HELIP_CACHE/graphs``, by default ``~/.cache/helip/graphs``, a folder for each encoder
and engine. A folder is used if the versions that it was made with are those of today and its files
are as they were written; otherwise it is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from helip.common.errors import CorruptError, InvalidArgumentError, StorageError
from helip.common.files import (
    discard_directory,
    own_cache,
    publish_directory,
    read_json,
    remove_leftovers,
    sha256_of,
    write_json,
)

_FACTS = "graph.json"


def cache_folder() -> Path:
    """Where graphs are kept; it need not exist."""
    return own_cache() / "graphs"


@contextlib.contextmanager
def kept_graph(
    of: Mapping[str, Any],
    versions: Mapping[str, str],
    make: Callable[[Path], Path],
    is_right: Callable[[Path], bool] = lambda path: True,
) -> Iterator[Path]:
    """The file of the graph that ``make(folder)`` writes, made now if it is not there.

    ``of``: what the graph is of; another value has a folder of its own. ``versions``: of all that
    makes it. ``is_right``: whether a graph that was kept is still that of the network. Where
    nothing can be kept, a warning says so and the graph is gone after the block.
    """

    def kept() -> Path | None:
        found = _found(place, versions)
        return found if found is not None and is_right(found) else None

    digest = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()
    try:
        place = cache_folder() / digest[:32]
    except RuntimeError:  # there is no home
        place = Path(os.devnull) / digest[:32]
    found = kept()
    if found is not None:
        yield found
        return
    try:
        remove_leftovers(place.parent)
        found = _published(place, of, versions, make)
    except (StorageError, InvalidArgumentError) as error:
        # InvalidArgumentError: another process was quicker.
        found = kept()
        if found is None:
            warnings.warn(
                f"the graph of {of.get('encoder')} is not kept for the next run: {error}. Set "
                "HELIP_CACHE to a folder that can be written",
                RuntimeWarning,
                stacklevel=2,
            )
            with tempfile.TemporaryDirectory(prefix="helip-graph-") as folder:
                yield make(Path(folder))
            return
    yield found


def _published(
    place: Path, of: Mapping[str, Any], versions: Mapping[str, str], make: Callable[[Path], Path]
) -> Path:
    if place.exists():
        discard_directory(place)
    with publish_directory(place) as folder:
        file = make(folder)
        digests = {each.name: sha256_of(each) for each in sorted(folder.iterdir())}
        facts = {"of": of, "versions": versions, "graph": file.name, "files": digests}
        write_json(folder / _FACTS, facts)
    return place / file.name


def _found(place: Path, versions: Mapping[str, str]) -> Path | None:
    """The graph in ``place``; None where it is absent, of other versions, or damaged."""
    try:
        facts = read_json(place / _FACTS)
        if facts["versions"] != dict(versions):
            return None
        whole = all(sha256_of(place / name) == sha for name, sha in facts["files"].items())
        return place / str(facts["graph"]) if whole else None
    except (StorageError, CorruptError, KeyError, TypeError, AttributeError):
        return None
