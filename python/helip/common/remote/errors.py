"""What object storage refuses, and what a connection does, as one clear error each."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from typing import Any, TypeVar

from helip.common.errors import StorageError
from helip.common.remote.urls import without_secrets

T = TypeVar("T")


class PastEnd(StorageError):
    """A range that ends, or begins, behind the end of its file."""


class TakenError(StorageError):
    """Something is there already, where nothing was to be."""


_CAUSES = {
    "Connect": ("no connection", errno.ECONNREFUSED),
    "Timeout": ("no answer in time", errno.ETIMEDOUT),
    "Interrupted": ("the connection broke off", errno.ECONNRESET),
    "Request": ("the connection failed", errno.ECONNRESET),
    "Decode": ("the answer broke off", errno.ECONNRESET),
}
_CREDENTIALS = "give credentials by the variables that obstore reads, such as AWS_ACCESS_KEY_ID"
_CHECK = "check its address and the variables that obstore reads"
_STATUS = {
    400: (_CHECK, errno.EINVAL),
    401: (_CREDENTIALS, errno.EACCES),
    403: (f"{_CREDENTIALS}, or let them {{action}} it", errno.EACCES),
    404: ("check its address", errno.ENOENT),
    412: ("try again later", errno.EAGAIN),
    416: ("it is shorter than it was: open or index it again", errno.EINVAL),
    429: ("wait, and do the same again", errno.EAGAIN),
    501: ("try again later", errno.ENOSYS),
    503: ("try again later", errno.EAGAIN),
}
# What services say in the <Code> of an answer → cause, mend, errno.
_CODES = {
    "ExpiredToken|ExpiredTokenException|TokenRefreshRequired": (
        "the credentials have expired",
        "renew them, such as AWS_SESSION_TOKEN",
        errno.EACCES,
    ),
    "InvalidAccessKeyId|InvalidToken|InvalidClientTokenId|SignatureDoesNotMatch|AuthFailure"
    "|AuthenticationFailed": (
        "the credentials are refused",
        "check the variables that obstore reads, such as AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY",
        errno.EACCES,
    ),
    "NoSuchBucket|ContainerNotFound": (
        "there is no such bucket",
        "check its name, and AWS_REGION and AWS_ENDPOINT",
        errno.ENOENT,
    ),
    "RequestTimeTooSkewed|RequestExpired": (
        "the clock of this machine and the service's are more than some 15 minutes apart",
        "set the clock, such as by NTP",
        errno.EACCES,
    ),
    "PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraintException": (
        "the bucket lies in another region",
        "set AWS_REGION to its region",
        errno.EINVAL,
    ),
}
_SHORT = re.compile(r"Requested (\d+\.\.\d+), got (\d+\.\.\d+)")
# Where cloud machines are asked who they are, once no variable tells.
_METADATA = ("169.254.169.254", "metadata.google.internal")


def storage_error(action: str, url: str, error: Exception) -> StorageError:
    """What to raise for what obstore raised; ``action`` such as "read", a verb before the URL.

    Nothing of the answer's text is told but its status and code: it may repeat what was signed.
    """
    url, text = without_secrets(url), str(error)
    if type(error).__name__ == "AlreadyExistsError":
        return taken(url)
    status = re.search(r"status code: ((\d{3})[^:\n]*)", text)
    kind = re.search(r"kind: (\w+)", text)
    code = re.search(r"<Code>(\w+)</Code>", text)
    tries = re.search(r"after (\d+) retries", text)
    again = f" after {tries[1]} more tries" if tries and tries[1] != "0" else ""
    if any(place in text for place in _METADATA):
        what, mend, number = "there are no credentials", _CREDENTIALS, errno.EACCES
    elif "Range request not supported" in text or "Received non-partial response" in text:
        # As obstore says it of plain servers and of buckets.
        what = "its server sends the whole file where a range was asked for"
        if "non-partial" in text:
            what += ", or a range without status 206"
        mend, number = "serve it where HTTP range requests are answered", errno.ENOTSUP
    elif code and (known := _known(code[1])) is not None:
        what, mend, number = known
        what += f" ({code[1]})"
    elif status:
        what = status[1].strip() + (f" ({code[1]})" if code else "")
        mend, number = _STATUS.get(int(status[2]), ("try again later", errno.EIO))
        mend = mend.format(action=action)
    elif kind and kind[1] in _CAUSES:
        what, number = _CAUSES[kind[1]]
        mend = "look whether its server can be reached"
    else:
        what, mend = without_secrets(first_line(error)), _CHECK
        kinds = {FileNotFoundError: errno.ENOENT, NotImplementedError: errno.ENOSYS}
        number = next((n for each, n in kinds.items() if isinstance(error, each)), errno.EIO)
    short = _SHORT.search(text)
    if short:
        what, number = f"bytes {short[1]} were asked for, and {short[2]} came", errno.EIO
    past = short or (status and status[2] == "416")
    raised = PastEnd if past else StorageError
    return raised(number, f"cannot {action} {url}: {what}{again}; {mend}")


def _known(code: str) -> tuple[str, str, int] | None:
    return next((words for codes, words in _CODES.items() if code in codes.split("|")), None)


def unless_absent(ask: Callable[..., T], *args: Any) -> T | None:
    """What ``ask`` returns of ``args``; None where the file that it asks for is not there."""
    try:
        return ask(*args)
    except StorageError as error:
        if error.errno != errno.ENOENT or "no such bucket" in str(error):
            raise
        return None


def taken(url: str) -> TakenError:
    """The error of a file that was to be new."""
    return TakenError(errno.EEXIST, f"cannot write {without_secrets(url)}: it is there already")


def first_line(error: BaseException) -> str:
    """The first line of what it says."""
    return str(error).partition("\n")[0].strip()
