"""Uploading files into a repository of a hub, and downloading them, by huggingface_hub."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

from helip import _core
from helip.common.errors import InvalidArgumentError, StorageError
from helip.common.files import (
    make_directory,
    own_cache,
    publish_directory,
    publish_file,
    storage_errors,
)
from helip.common.hub.cards import NO_REPOSITORY, refuse_paths
from helip.common.hub.options import HubOptions, PullOptions, PushCall, SaveCall

Kind = Literal["model", "dataset"]

CARD = "README.md"
_VOCABULARIES = ("vocab.json", "tokenizer.json")  # pieces of words, by chance any
_LOG_IN = "set HF_TOKEN, run `hf auth login`, or give token= in Python"
_ERRNO = {401: errno.EACCES, 403: errno.EACCES, 404: errno.ENOENT}
_ERRNO |= {412: errno.EAGAIN, 429: errno.EAGAIN}
#: Why the hub is asked for nothing, within `asking_once`; "" where it is asked.
WHY_NOT_ASKED: ContextVar[str] = ContextVar("WHY_NOT_ASKED", default="")
_ANSWERS_WITHIN = 5.0  # seconds: a hub that has not answered by then is not asked
# Libraries that let their own errors of transport through.
_TRANSPORT = ("httpx", "httpx2", "httpcore", "huggingface_hub", "requests", "urllib3", "urllib")


#: Writes files into an empty directory, and gives the card of them in the repository of a name.
Write = Callable[[Path], Callable[[str], str]]


def save(call: SaveCall, write: Write) -> Path:
    """Write the new directory of the call, with a card, all or nothing."""
    path = Path(call.folder)
    with publish_directory(path) as directory:
        card = write(directory)
        (directory / CARD).write_text(card(NO_REPOSITORY), encoding="utf-8")
    return path


def push(call: PushCall, kind: Kind, owned: Collection[str], write: Write) -> str:
    """Upload what `save` writes; raises and returns as `push_folder`."""
    require_ready(call.repo_id, call.token)
    with (
        storage_errors("write", tempfile.gettempdir()),
        tempfile.TemporaryDirectory(prefix="helip-") as made,
    ):
        card = write(Path(made))
        return push_folder(Path(made), call, kind, owned, card=card)


def push_folder(
    folder: Path,
    call: PushCall,
    kind: Kind,
    owned: Collection[str],
    *,
    card: Callable[[str], str] | None = None,
) -> str:
    """Commit files of ``folder`` to a repository, which is made where there is none.

    owned: patterns of names that helip writes, none in a subfolder. What the repository has of
        these and the folder has not is deleted in that commit, since somebody would open old
        weights beside new ones.
    card: makes README.md, from OWNER/NAME; None: it is there. Where the call wants none, neither
        goes.

    Returns the address of the commit. Raises InvalidArgumentError for a ``repo_id`` that is none
    and for a text that names a path of this machine, StorageError for what the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    repo_id = call.repo_id
    require_ready(repo_id, call.token)
    names = (*owned, CARD) if call.card else owned
    card = card if call.card else None
    with storage_errors("read", folder):
        contents: dict[str, Any] = {
            path.name: path
            for path in sorted(folder.iterdir())
            if path.is_file() and _matches(path.name, names)
        }
        for name, path in contents.items():
            if name.endswith((".json", CARD)) and name not in _VOCABULARIES:
                refuse_paths(name, path.read_text("utf-8", errors="replace"))
    if card is not None:  # what is refused here leaves no empty repository behind
        refuse_paths(CARD, card(repo_id))
    api, branch = _api(call), call.revision
    with _hub_errors("upload to", repo_id, api.endpoint):
        repo_id = api.create_repo(
            repo_id, repo_type=kind, private=call.private, exist_ok=True
        ).repo_id
        if branch not in (None, "main") and not branch.startswith("refs/"):
            api.create_branch(repo_id, branch=branch, repo_type=kind, exist_ok=True)
        there = api.list_repo_files(repo_id, repo_type=kind, revision=branch)
    if card is not None:
        contents[CARD] = card(repo_id).encode()
    stale = [name for name in there if _matches(name, owned) and name not in contents]
    with storage_errors("read", folder):
        operations = [
            *(CommitOperationAdd(name, what) for name, what in contents.items()),
            *(CommitOperationDelete(name, is_folder=False) for name in stale),
        ]
    # Not upload_folder: its patterns reach into subfolders, and it may make several commits.
    with _hub_errors("upload to", repo_id, api.endpoint), _bars(call.progress):
        commit = api.create_commit(
            repo_id,
            operations,
            repo_type=kind,
            revision=branch,
            commit_message=call.commit_message or f"Upload by helip {_core.__version__}",
        )
    return str(commit.commit_url)


def require_ready(repo_id: str, token: str | None) -> None:
    """What a push needs before anything is written for it; raises as `push` does."""
    _check_repo_id(repo_id)
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        words = f"HF_HUB_OFFLINE is set, so nothing can be uploaded to {repo_id}; unset it"
        raise StorageError(errno.ENETDOWN, words)
    if not (token or get_token()):
        words = f"there is no access token to upload to {repo_id} with; {_LOG_IN}"
        raise StorageError(errno.EACCES, words)


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
    _check_repo_id(text)
    api = _api(options)
    with _hub_errors("download", text, api.endpoint), _bars(options.progress):
        path = api.snapshot_download(
            text,
            repo_type=kind,
            revision=revision or options.revision,
            allow_patterns=list(patterns),
            cache_dir=options.cache_dir,
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
    make_directory(place)
    for name in names:
        if not (place / name).exists():
            _link_or_copy((snapshot / name).resolve(), place / name)
    return place


def _matches(name: str, patterns: Collection[str]) -> bool:
    """Whether it is the name of a file of these patterns, and not the path of one in a folder."""
    return "/" not in name and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _link_or_copy(source: Path, target: Path) -> None:
    """In one step: a reader of the directory sees no part of a file."""
    try:
        os.link(source, target)
    except FileExistsError:  # another process was first
        pass
    except OSError:
        with (
            contextlib.suppress(InvalidArgumentError),  # another process was first
            publish_file(target) as temporary,
        ):
            shutil.copyfile(source, temporary)


def _api(options: HubOptions) -> Any:
    from huggingface_hub import HfApi

    return HfApi(
        endpoint=options.endpoint,
        token=options.token,
        library_name="helip",
        library_version=_core.__version__,
    )


def _check_repo_id(repo_id: Any) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InvalidArgumentError(
            f"repo_id is {repo_id!r}, must be NAME or OWNER/NAME of letters, digits, '-', '_' and "
            f"'.', at most 96 of them: {_one_line(error)}"
        ) from error


@contextlib.contextmanager
def _hub_errors(action: str, repo_id: str, endpoint: str) -> Iterator[None]:
    """What the hub's library raises inside as one error with its words; it has asked again before.

    action: such as "upload to" or "download". Nothing but calls of the library may be inside.
    """
    try:
        yield
    except Exception as error:  # of three HTTP libraries, by its release
        from huggingface_hub import constants
        from huggingface_hub.errors import LocalEntryNotFoundError

        # Where a file is not in the cache, the reason why it could not be downloaded says more.
        wrapped = isinstance(error, LocalEntryNotFoundError) and error.__cause__
        cause = error.__cause__ if wrapped else error
        words = f"cannot {action} {repo_id} at {endpoint}: {_one_line(cause)}"
        if constants.HF_HUB_OFFLINE:
            words = (
                f"HF_HUB_OFFLINE is set, and {repo_id} is not whole in the cache; unset it, or "
                "download it before"
            )
            raise StorageError(errno.ENETDOWN, words) from error
        if getattr(cause, "response", None) is None and isinstance(cause, ValueError):
            raise InvalidArgumentError(words) from error
        if _status_of(cause) == 401:
            words += f"; {_LOG_IN}"
        raise StorageError(_number_of(cause), words) from error


def _status_of(error: BaseException | None) -> int:
    """Of the answer that led to it; 0 where there was none."""
    return getattr(getattr(error, "response", None), "status_code", 0)


def _number_of(error: BaseException | None) -> int:
    return _ERRNO.get(_status_of(error)) or getattr(error, "errno", None) or errno.EIO


@contextlib.contextmanager
def downloading(what: str, mend: str) -> Iterator[None]:
    """`asking_once`; what another library cannot download inside is one StorageError.

    what: such as "the weights 'openai' of ViT-B-32"; mend: what to do then. Errors that are not of
    a download pass.
    """
    with asking_once():
        try:
            yield
        except Exception as error:
            cause = failed_download(error)
            if cause is None:
                raise
            reason = WHY_NOT_ASKED.get() or _one_line(cause)
            raise StorageError(
                _number_of(cause), f"{what} could not be downloaded: {reason}; {mend}"
            ) from error


def of_download(error: BaseException) -> bool:
    """Whether it says that something is not to be had from here: an absent file, or the network."""
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError) or library in _TRANSPORT


def failed_download(error: BaseException | None) -> BaseException | None:
    """What led to ``error`` and is `of_download`: that of the hub's library which says most, or the
    first; None where there is none."""
    from huggingface_hub.errors import HfHubHTTPError

    found = None
    while error is not None and not isinstance(found, HfHubHTTPError):
        found = error if of_download(error) else found
        error = error.__cause__ or error.__context__
    return found


@contextlib.contextmanager
def asking_once() -> Iterator[None]:
    """Ask a hub that does not answer for no file: the block gets what the cache holds.

    huggingface_hub asks six times for each file, for half a minute, with a warning each time.
    """
    from huggingface_hub import constants, utils

    log, before = logging.getLogger("huggingface_hub"), constants.HF_HUB_OFFLINE
    level, reset = log.level, getattr(utils, "reset_sessions", lambda: None)  # until 1.0
    reason = "HF_HUB_OFFLINE is set" if before else _why_unreachable(constants.ENDPOINT)
    if reason and not before:
        constants.HF_HUB_OFFLINE = True
        reset()
    log.setLevel(logging.ERROR)
    why = WHY_NOT_ASKED.set(reason and f"{reason}, and the cache does not hold it")
    try:
        yield
    finally:
        WHY_NOT_ASKED.reset(why)
        log.setLevel(level)
        if reason and not before:
            constants.HF_HUB_OFFLINE = before
            reset()


def _why_unreachable(endpoint: str) -> str:
    """Why that hub does not answer; "" where it does, whatever it says."""
    from huggingface_hub.utils import get_session

    found: list[str] = []

    def ask() -> None:
        try:
            get_session().head(endpoint, timeout=_ANSWERS_WITHIN)
        except Exception as error:  # of three HTTP libraries
            found.append(f"{endpoint} cannot be reached ({_one_line(error)})")
        else:
            found.append("")

    # A time limit of the library is one for each address of the name, and none for finding them.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_ANSWERS_WITHIN)
    return found[0] if found else f"{endpoint} has not answered within {_ANSWERS_WITHIN:.0f} s"


def _one_line(error: BaseException | None) -> str:
    """What an error of the library says, on one line, without its link to a page about HTTP."""
    lines = [line for line in str(error).splitlines() if not line.startswith("For more info")]
    return " ".join(" ".join(lines).split()) or type(error).__name__


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
