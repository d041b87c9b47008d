"""Options of what goes to a hub and comes from one."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from helip.common.options import Options, ProgressOptions


@dataclass(frozen=True, kw_only=True)
class HubOptions(ProgressOptions):
    """Which hub, and as whom."""

    token: str | None = field(default=None, repr=False)
    """Of access; None: that of HF_TOKEN, or of `hf auth login`."""
    revision: str | None = None
    """A branch, which a push makes where it is absent; to read, also a tag or a commit. None: the
    main branch."""
    endpoint: str | None = None
    """Address of the hub; None: that of HF_ENDPOINT, or https://huggingface.co."""


@dataclass(frozen=True, kw_only=True)
class PullOptions(HubOptions):
    """What is read from a hub, and where it is kept."""

    cache_dir: str | os.PathLike[str] | None = None
    """Keeps what was downloaded; None: that of HF_HUB_CACHE."""


@dataclass(frozen=True, kw_only=True)
class PushOptions(HubOptions):
    """How a repository is made and changed."""

    private: bool | None = None
    """Whether a new repository is private; None: as its owner has it. One that is there stays as it
    is."""
    commit_message: str | None = None
    """First line of the commit; None: it names helip and its version."""
    card: bool = True
    """Write README.md; False leaves that of the repository as it is."""


@dataclass(frozen=True, kw_only=True)
class PushCall(PushOptions):
    """What a push is asked."""

    repo_id: str = field(kw_only=False)
    """NAME or OWNER/NAME, of a model or, for a table, of a data set."""


@dataclass(frozen=True, kw_only=True)
class SaveCall(Options):
    """What `save_pretrained` is asked."""

    folder: str | os.PathLike[str] = field(kw_only=False)
    """The new directory."""


@dataclass(frozen=True, kw_only=True)
class CardOptions(Options):
    """What a card says beside what is known anyway."""

    license: str | None = None
    """The hub's name of a licence, such as apache-2.0, cc-by-4.0 or other; None: the card says that
    none was given."""
    data: str | None = None
    """Words about the data, in Markdown; None: the card says that nothing was told of it."""
    results: str | None = None
    """What was measured, in Markdown, as helip.evaluation.results_as_markdown gives it; None: the
    card says that nothing was measured."""
