"""Uploading files into a repository of a hub, and downloading them, by huggingface_hub."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from helip import _core
from helip.common.errors import InvalidArgumentError, StorageError
from helip.common.files import own_cache, publish_directory, publish_file, storage_errors
from helip.common.hub.errors import (
    check_repo_id,
    hub_errors,
    is_passing,
    require_online,
    require_token,
)
from helip.common.hub.options import HubOptions, PullOptions, PushOptions
from helip.common.hub.privacy import is_text, refuse_private

Kind = Literal["model", "dataset"]
R = TypeVar("R")

CARD = "README.md"
_WAITS = (1.0, 2.0)  # seconds before a call is made again


def push(
    files: Mapping[str, Path],
    repo_id: str,
    kind: Kind,
    options: PushOptions,
    *,
    card: Callable[[str], str] | None,
    owned: Collection[str],
) -> str:
    """Commit ``files``, name → path, to a repository, which is made where there is none.

    card: from OWNER/NAME to the text of README.md; None leaves that file to ``files``.
    owned: patterns of names that helip writes; what the repository has of these and is not among
        ``files`` is deleted in that commit, since somebody would open old weights beside new ones.

    Returns the address of the commit. Raises InvalidArgumentError for a ``repo_id`` that is none
    and for a file that names a path of this machine, StorageError for what the hub refuses.
    """
    require_ready(repo_id, options.token)
    for name, path in files.items():
        _check_file(name, path)
    if card is not None:  # what is refused here leaves no empty repository behind
        _rendered(card, repo_id)
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    api, branch = _api(options), options.revision
    with hub_errors("upload to", repo_id, api.endpoint, branch), _bars(options.progress):
        made = again(
            lambda: api.create_repo(repo_id, repo_type=kind, private=options.private, exist_ok=True)
        )
        repo_id = made.repo_id
        if branch not in (None, "main") and not branch.startswith("refs/"):
            again(lambda: api.create_branch(repo_id, branch=branch, repo_type=kind, exist_ok=True))
        there = again(lambda: api.list_repo_files(repo_id, repo_type=kind, revision=branch))
        contents: dict[str, Any] = dict(files)
        if card is not None:
            contents[CARD] = _rendered(card, repo_id)
        stale = [name for name in there if name not in contents and _matches(name, owned)]
        message = options.commit_message or f"Upload by helip {_core.__version__}"

        def commit() -> Any:
            operations = [
                *(CommitOperationAdd(name, what) for name, what in sorted(contents.items())),
                *(CommitOperationDelete(name) for name in stale),
            ]
            return api.create_commit(
                repo_id, operations, commit_message=message, repo_type=kind, revision=branch
            )

        return str(again(commit).commit_url)


def require_ready(repo_id: str, token: str | None) -> None:
    """What a push needs before anything is written for it; raises as `push` does."""
    check_repo_id(repo_id)
    require_online(repo_id)
    require_token(token, repo_id)


def _rendered(card: Callable[[str], str], repo_id: str) -> bytes:
    """README.md for that repository; InvalidArgumentError where it names a path."""
    contents = card(repo_id).encode()
    refuse_private(CARD, contents)
    return contents


def located(
    name: str | os.PathLike[str],
    kind: Kind,
    options: PullOptions,
    patterns: Collection[str],
    *,
    revision: str | None = None,
) -> Path:
    """The folder ``name``, or a snapshot of the repository ``name`` with files of ``patterns``.

    revision: in place of that of the options.

    Raises StorageError where there is neither, and for what the hub refuses.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise InvalidArgumentError(
            f"folder_or_repo is {name!r}, must be the path of a folder, NAME or OWNER/NAME"
        )
    text, folder = os.fspath(name), Path(name)
    if folder.is_dir():
        return folder
    if isinstance(name, os.PathLike) or text.startswith(("/", ".", "~")) or text.count("/") > 1:
        raise StorageError(
            errno.ENOENT, f"there is no folder {text!r}; a repository is NAME or OWNER/NAME"
        )
    check_repo_id(text)
    from huggingface_hub import snapshot_download

    api, revision = _api(options), revision or options.revision
    cache = None if options.cache_dir is None else os.fspath(options.cache_dir)
    with hub_errors("download", text, api.endpoint, revision), _bars(options.progress):
        path = again(
            lambda: snapshot_download(
                text,
                repo_type=kind,
                revision=revision,
                allow_patterns=list(patterns),
                token=options.token,
                endpoint=options.endpoint,
                cache_dir=cache,
                library_name="helip",
                library_version=_core.__version__,
            )
        )
    return Path(path)


def without_links(snapshot: Path, options: PullOptions, patterns: Collection[str]) -> Path:
    """Files of ``patterns`` in a directory of helip's cache where those of ``snapshot`` are links.

    The core opens no symbolic links. Files are shared with the library's cache where one file
    system holds both, and else copied. One commit of a repository has one directory; what it lacks,
    since the snapshot was not whole before, is added.
    """
    links = [path.name for path in snapshot.iterdir() if path.is_symlink()]
    names = [name for name in links if _matches(name, patterns)]
    if not names:
        return snapshot
    cache = own_cache() if options.cache_dir is None else Path(options.cache_dir) / "helip"
    place = cache / "hub" / snapshot.parent.parent.name / snapshot.name
    if not place.is_dir():
        try:
            with publish_directory(place) as directory:
                for name in names:
                    _share((snapshot / name).resolve(), directory / name)
        except (InvalidArgumentError, StorageError):  # another process was first
            if not place.is_dir():
                raise
    for name in names:
        if not (place / name).exists():
            with contextlib.suppress(InvalidArgumentError):  # another process was first
                _add((snapshot / name).resolve(), place / name)
    return place


def _share(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _add(source: Path, target: Path) -> None:
    """In one step: a reader of the directory sees no part of a file."""
    with publish_file(target) as temporary:
        shutil.copyfile(source, temporary)


def again(call: Callable[[], R]) -> R:
    """What ``call`` gives; it is made again, after a while, where it fails in passing."""
    for wait in _WAITS:
        try:
            return call()
        except Exception as error:
            if not is_passing(error):
                raise
            time.sleep(wait)
    return call()


def _api(options: HubOptions) -> Any:
    from huggingface_hub import HfApi

    return HfApi(
        endpoint=options.endpoint,
        token=options.token,
        library_name="helip",
        library_version=_core.__version__,
    )


def _matches(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _check_file(name: str, path: Path) -> None:
    with storage_errors("read", path):
        if is_text(name):
            refuse_private(name, path.read_bytes())
        elif not path.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


@contextlib.contextmanager
def _bars(shown: bool) -> Iterator[None]:
    """Without the progress bars of the library, unless they are asked for."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if shown or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
