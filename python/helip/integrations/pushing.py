"""One door to a hub for all that helip writes: runs, models and tables of hard pairs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from helip.common.errors import InvalidArgumentError, StorageError
from helip.common.hub.client import CARD, push_folder
from helip.common.hub.options import PushCall, PushOptions
from helip.common.options import keywords
from helip.models import pretrained
from helip.models.bundle import create_model
from helip.models.options import ModelCardOptions
from helip.models.pretrained import PublishOptions, PushModelCall
from helip.pairs import hub
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.hub import PushTableCall
from helip.training.checkpoints import facts_of


@dataclass(frozen=True, kw_only=True)
class PushFolderCall(PublishOptions, PushOptions):
    """What `push_to_hub` is asked."""

    path: str | os.PathLike[str] = field(kw_only=False)
    """The folder of a run, one of its checkpoints, a model or a table of hard pairs."""
    repo_id: str = field(kw_only=False)
    """NAME or OWNER/NAME, of a model or, for a table, of a data set."""
    parquet: bool = False
    """A table: also write pairs.parquet, as HardPairs.save_pretrained does."""


@keywords(PushFolderCall)
def push_to_hub(call: PushFolderCall) -> str:
    """Upload what helip wrote into a folder, with a card; the address of the commit.

    A folder that has a README.md, as `save_pretrained` writes it, is uploaded with that, as it may
    have been edited. Of a run it is the newest checkpoint, and the card says how it was trained.

    Raises:
        InvalidArgumentError: no name of a repository; an option that the folder has no use for; a
            path of this machine in a card or a configuration.
        StorageError: no such folder, no token, one that may not write, a hub that is not reached.
    """
    path = Path(call.path)
    if not path.exists():
        raise StorageError(f"there is no {os.fspath(path)!r} to upload")
    table = (path / "manifest.json").is_file()
    if table:
        _refuse_options(call, ("layout", "base_model"), f"{path} is a table; leave it out")
    elif call.parquet:
        raise InvalidArgumentError(f"parquet is True, and {path} is no table of hard pairs")
    carded = pretrained.is_saved(path) or (table and (path / CARD).is_file())
    if carded:
        options = ("layout", "parquet", *ModelCardOptions().as_dict())
        reason = f"{path} has a card already; edit or remove its {CARD}, or leave it out"
        _refuse_options(call, options, reason)
    if table:
        pairs, card = HardPairs.open(path), None
        asked = PushTableCall.of(call)
        if carded:  # it is written anew all the same, without paths of this machine
            asked = replace(asked, parquet=(path / hub.PARQUET).is_file())
            card = (path / CARD).read_text("utf-8")
        return hub.push_table(pairs._core, pairs.stats(), asked, card)
    if carded:
        return push_folder(path, PushCall.of(call), "model", pretrained.FILES)
    return pretrained.push_model(create_model(path), PushModelCall.of(call), facts_of(path))


def _refuse_options(call: PushFolderCall, names: Iterable[str], reason: str) -> None:
    """InvalidArgumentError for an option that would be ignored."""
    for name in names:
        value = getattr(call, name)
        if value != getattr(PushFolderCall, name):
            raise InvalidArgumentError(f"{name} is {value!r}, and {reason}")
