"""Serves a viewer on this machine until it is told to end."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import secrets
import socket
import tempfile
import webbrowser
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

from helip import InvalidArgumentError, StorageError
from helip.common.errors import needed
from helip.common.files import storage_errors
from helip_view.app import make_app
from helip_view.viewing import ViewCall, asking, viewing

_TRIED = 50  # ports after the one that was asked for
_EVERYWHERE = ("", "0.0.0.0", "::")
_TAKEN = (errno.EADDRINUSE, errno.EACCES)


def serve(call: ViewCall, tell: Callable[[str], None]) -> None:
    """Serve the viewer until Ctrl-C or SIGTERM; ``tell`` is given lines for people.

    Raises:
        UnsupportedError: starlette or uvicorn is absent. StorageError: no port is free, or
        no temporary file can be written.
        InvalidArgumentError: a host that is none of this machine. And as `viewing` or `asking`.
    """
    require_extra()
    import uvicorn

    with (
        listening(call.host, call.port) as listener,
        (viewing if call.study is None else asking)(call) as pages,
        contextlib.ExitStack() as ending,
    ):
        port = int(listener.getsockname()[1])
        if call.port not in (0, port):
            tell(f"port {call.port} is taken; this is {port}")
        token = secrets.token_urlsafe(24)
        app = make_app(pages, token=token, hosts=names_of(call.host, port), cookie=f"helip-{port}")
        host = socket.gethostname() if call.host in _EVERYWHERE else call.host
        address = f"http://{_in_url(host)}:{port}/?token={token}"
        if not _is_loopback(call.host):
            tell(
                f"{call.host} is not loopback: whoever reaches this machine and knows the token "
                "sees the data, unencrypted on its way"
            )
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, lifespan="off",
            ws="none", timeout_graceful_shutdown=2, proxy_headers=False,
        )  # fmt: skip
        tell(f"open {address}")
        tell("Ctrl-C ends it")
        if call.browser and not _opened_in_browser(ending.enter_context(leading_to(address))):
            tell("no browser was found here; open that address yourself")
        # uvicorn ends tidily, and then raises the signal that ended it anew.
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def require_extra() -> None:
    """UnsupportedError where starlette or uvicorn is absent."""
    with needed("the viewer needs the extra view", "'helip[view]'"):
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens on the port, or where it is taken on the next that is free."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise InvalidArgumentError(
            f"host is {host!r}, must be a name or an address of this machine ({error})"
        ) from error
    last: OSError | None = None
    for each in range(port, min(port + _TRIED, 65_536)) if port else (0,):
        listener = socket.socket(found[0], socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((found[4][0], each, *found[4][2:]))
            listener.listen(128)
            return listener
        except OSError as error:
            listener.close()
            last = error
            if error.errno == errno.EADDRNOTAVAIL:
                raise InvalidArgumentError(
                    f"host is {host!r}, must be an address of this machine ({error.strerror})"
                ) from error
            if error.errno not in _TAKEN:
                break
    assert last is not None
    raise StorageError(
        last.errno, f"no port from {port} on can be listened on: {last.strerror}; name another"
    )


def names_of(host: str, port: int) -> frozenset[str]:
    """What a request may call this server."""
    names = {host.lower(), "localhost"}
    if _is_loopback(host):
        names |= {"127.0.0.1", "::1"}
    elif host in _EVERYWHERE:
        own = {socket.gethostname(), socket.getfqdn(), "127.0.0.1", "::1"}
        for name in list(own):
            with contextlib.suppress(OSError):
                own |= {str(each[4][0]) for each in socket.getaddrinfo(name, None)}
        names |= {name.lower() for name in own}
    found = {f"{_in_url(name)}:{port}" for name in names}
    return frozenset(found | {_in_url(name) for name in names if port == 80})


@contextlib.contextmanager
def leading_to(address: str) -> Iterator[str]:
    """The address of a file that leads to ``address``, for this user alone; gone at the end.

    All users of a machine see what a program is started with, and a browser is started with the
    address that it opens: it must not have the token.
    """
    with contextlib.ExitStack() as stack:
        with storage_errors("write", tempfile.gettempdir()):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="helip-view-"))
            page = Path(folder, "open.html")
            text = f'<!doctype html><meta http-equiv="refresh" content="0;url={escape(address)}">'
            page.write_text(text, encoding="utf-8")
        yield page.as_uri()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _opened_in_browser(address: str) -> bool:
    """Whether a browser was there to open the page in."""
    try:
        browser: Any = webbrowser.get()
    except webbrowser.Error:
        return False
    # One in a terminal would take it over.
    if isinstance(browser, webbrowser.GenericBrowser) and not isinstance(
        browser, webbrowser.BackgroundBrowser
    ):
        return False
    with contextlib.suppress(Exception):
        return bool(browser.open(address))
    return False
