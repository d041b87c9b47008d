"""Refusals and failures of a hub as one clear error each."""

from __future__ import annotations

import contextlib
import errno
import json
import re
from collections.abc import Iterator

from helip.common.errors import Error, InvalidArgumentError, StorageError

# As hf_xet, which moves large files, says it.
_STATUS_IN_WORDS = re.compile(r"HTTP status (?:client|server) error \((\d{3})\b")
_LOG_IN = "set HF_TOKEN, run `hf auth login`, or give token= in Python"


def check_repo_id(repo_id: object) -> None:
    """InvalidArgumentError unless it is NAME or OWNER/NAME as a hub takes it."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        if not isinstance(repo_id, str):
            raise HFValidationError(f"it is a {type(repo_id).__name__}")
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InvalidArgumentError(
            f"repo_id is {repo_id!r}, must be NAME or OWNER/NAME of letters, digits, '-', '_' and "
            f"'.', at most 96 of them: {_first_line(error)}"
        ) from error


def require_online(repo_id: str) -> None:
    """StorageError where the hub's library is told to stay offline."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise StorageError(
            errno.ENETDOWN,
            f"HF_HUB_OFFLINE is set, so nothing can be uploaded to {repo_id}; unset it",
        )


def require_token(token: str | None, repo_id: str) -> None:
    """StorageError where there is no token to write with."""
    from huggingface_hub import get_token

    if not (token or get_token()):
        raise StorageError(
            errno.EACCES,
            f"there is no access token to upload to {repo_id} with; {_LOG_IN}",
        )


@contextlib.contextmanager
def hub_errors(action: str, repo_id: str, endpoint: str, revision: str | None) -> Iterator[None]:
    """Turn what the hub's library raises inside into a StorageError that says what can be done.

    action: such as "upload to" or "download".
    """
    failures: tuple[type[BaseException], ...] = (*connection_errors(), OSError, RuntimeError)
    try:
        yield
    except Error:
        raise
    except failures as error:
        number, words = _words(error, action, repo_id, endpoint, revision)
        raise StorageError(number, words) from error
    except json.JSONDecodeError as error:
        raise StorageError(
            errno.EPROTO, f"{endpoint} answered with what is no JSON; is it the address of a hub?"
        ) from error
    except ValueError as error:
        raise InvalidArgumentError(f"cannot {action} {repo_id}: {error}") from error


def is_passing(error: BaseException) -> bool:
    """Whether the same call may do after a while: the hub is too busy, or the line broke."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    cause = _cause(error)
    if isinstance(cause, HfHubHTTPError):
        return _status(cause) in (408, 429) or _status(cause) >= 500
    if isinstance(cause, OfflineModeIsEnabled):
        return False
    return isinstance(cause, connection_errors())


def _words(
    error: BaseException, action: str, repo_id: str, endpoint: str, revision: str | None
) -> tuple[int, str]:
    """(errno, message)."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RevisionNotFoundError,
    )

    cause = _cause(error)
    if isinstance(cause, OfflineModeIsEnabled):
        return errno.ENETDOWN, (
            f"HF_HUB_OFFLINE is set, and {_named(repo_id, revision)} is not whole in the cache; "
            "unset it, or download it before"
        )
    if isinstance(cause, RevisionNotFoundError):
        return errno.ENOENT, f"{repo_id} at {endpoint} has no branch, tag or commit {revision!r}"
    if isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError):
        return errno.ENOENT, f"{_named(repo_id, revision)} lacks a file: {_first_line(cause)}"
    status = _status(cause)
    if not status:
        number = getattr(cause, "errno", None) or errno.EIO
        return number, f"cannot {action} {repo_id} at {endpoint}: {_first_line(cause)}"
    told = getattr(cause, "server_message", None)
    told = f" ({told.splitlines()[0]})" if told else ""
    return _STATUS.get(status, errno.EIO if status >= 500 else errno.EINVAL), {
        401: f"{endpoint} takes the token for none, or {repo_id} needs one (401){told}; {_LOG_IN}",
        403: f"the token may not {action} {repo_id} at {endpoint} (403){told}; give one that may, "
        "or name a repository of its owner",
        404: f"{endpoint} has no repository {repo_id}, or the token may not see it (404){told}",
        412: f"{repo_id} was changed meanwhile (412){told}; push again",
        429: f"{endpoint} was asked too often (429){told}; wait, and do the same again",
    }.get(
        status,
        f"{endpoint} answered {status}, also when it was asked again{told}; try later"
        if status >= 500
        else f"{endpoint} answered {status} to the wish to {action} {repo_id}{told}",
    )


_STATUS = {
    401: errno.EACCES,
    403: errno.EACCES,
    404: errno.ENOENT,
    412: errno.EAGAIN,
    429: errno.EAGAIN,
}


def _cause(error: BaseException) -> BaseException:
    """What the hub or the connection said, where the library wrapped it."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    found: BaseException | None = error
    while found is not None:
        if isinstance(found, (*connection_errors(), OfflineModeIsEnabled)):
            return found
        found = found.__cause__
    return error


def connection_errors() -> tuple[type[BaseException], ...]:
    """What every failure of a connection is, of the HTTP library that the hub's is built on.

    Which one that is depends on the release of huggingface_hub (requests, httpx, httpx2), and none
    is a dependency of this package: the last base of its error that is not Python's own.
    """
    from huggingface_hub.errors import HfHubHTTPError

    foreign = [
        kind
        for kind in HfHubHTTPError.__mro__
        if kind.__module__.partition(".")[0] not in ("huggingface_hub", "builtins")
    ]
    return (foreign[-1],) if foreign else (HfHubHTTPError,)


def _status(error: BaseException) -> int:
    """Of HTTP, that an error is of; 0 for none."""
    response = getattr(error, "response", None)
    if response is not None:
        return int(response.status_code)
    found = _STATUS_IN_WORDS.search(str(error))
    return int(found[1]) if found else 0


def _named(repo_id: str, revision: str | None) -> str:
    return repo_id if revision is None else f"{repo_id} at revision {revision!r}"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
