"""What a service refuses is one error with its number, its reason and a mend, and no secret."""

from __future__ import annotations

import errno
import socket

import pytest

from helip.common.errors import StorageError
from helip.common.remote.client import Remote
from helip.common.remote.container import RemoteContainer
from helip.common.remote.errors import storage_error
from support.s3_server import S3Server

URL = "s3://bucket/a.store"


@pytest.mark.parametrize(
    ("status", "code", "number", "words"),
    [
        (400, "ExpiredToken", errno.EACCES, "credentials have expired.*renew.*AWS_SESSION_TOKEN"),
        (403, "InvalidAccessKeyId", errno.EACCES, "credentials are refused.*AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", errno.EACCES, "refused.*AWS_SECRET_ACCESS_KEY"),
        (403, "RequestTimeTooSkewed", errno.EACCES, "clock of this machine.*set the clock"),
        (403, "RequestExpired", errno.EACCES, "clock of this machine.*set the clock"),
        (403, "AccessDenied", errno.EACCES, r"403 \w+.*AccessDenied.*let them read it"),
        (404, "NoSuchBucket", errno.ENOENT, "no such bucket.*AWS_REGION"),
        (404, "NoSuchKey", errno.ENOENT, "nothing that helip wrote"),
        (400, "AuthorizationHeaderMalformed", errno.EINVAL, "another region.*AWS_REGION"),
        (429, "TooManyRequests", errno.EAGAIN, "429.*after 2 more tries; wait"),
        (503, "SlowDown", errno.EAGAIN, "503.*after 2 more tries; try again later"),
        (500, "InternalError", errno.EIO, "500.*after 2 more tries; try again later"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isalpha() else "",
)
def test_an_answer_is_told_in_words(status, code, number, words, s3: S3Server):
    s3.fault = lambda _: (status, code)
    with pytest.raises(StorageError, match=words) as caught:
        RemoteContainer(URL)
    assert caught.value.errno == number
    assert URL in str(caught.value)
    assert not any(secret in str(caught.value) for secret in ("hidden", "Signature=", "<"))


def test_what_may_not_be_written_is_told_as_such(s3: S3Server):
    s3.fault = lambda _: (403, "AccessDenied")
    with pytest.raises(StorageError, match=r"cannot write s3://bucket/x: 403.*let them write it"):
        Remote("s3://bucket").put("s3://bucket/x", b"")


def test_no_server_is_told(s3: S3Server, monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(StorageError, match=r"no connection.*server can be reached") as caught:
            RemoteContainer(URL)
    assert caught.value.errno == errno.ECONNREFUSED


def test_no_credentials_are_told():
    # A cloud machine would be asked, at this address.
    told = Exception("Error performing PUT http://169.254.169.254/latest/api/token in 1s")
    error = storage_error("read", URL, told)
    assert error.errno == errno.EACCES
    assert "there are no credentials; give credentials by the variables" in str(error)


def test_a_range_that_is_answered_as_a_whole_is_told():
    told = Exception("Generic S3 error: Received non-partial response when range requested")
    error = storage_error("read", URL, told)
    assert error.errno == errno.ENOTSUP
    assert "or a range without status 206; serve it where HTTP range requests" in str(error)


def test_what_was_signed_is_not_told():
    told = Exception("Generic error for https://host/a?X-Amz-Signature=hidden&b: it broke")
    assert "hidden" not in str(storage_error("read", "https://host/a?sig=hidden", told))
