"""Who may speak to the viewer: one token, one host, one origin; and what its pages may do.

A page of another site can send requests to this machine, and a name of another site can be made to
mean this machine. So a request needs the token (first in the address, then in a cookie that no
other site sends along), names this server as its host, and, where it changes something, comes from
a page of this server.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from html import escape
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_ALWAYS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Without any referrer a form would come from the origin "null".
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_SAFE = ("GET", "HEAD")


class AccessControl:
    """ASGI middleware around ``app``.

    Args:
        token: what a request must know.
        hosts: the names by which this server may be called, with its port.
        cookie: name of the cookie; cookies know no ports, so servers need names of their own.
    """

    def __init__(self, app: App, *, token: str, hosts: frozenset[str], cookie: str) -> None:
        self._app, self._token, self._hosts, self._cookie = app, token, hosts, cookie

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no WebSockets
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        sender = _with_headers(send)
        headers = [(name.decode("latin-1"), v.decode("latin-1")) for name, v in scope["headers"]]
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if refusal := self._refusal(scope["method"], headers):
            await _plain(sender, 403, refusal)
        elif given and self._fits(given[0]) and scope["method"] in _SAFE:
            rest = urlencode([each for each in query if each[0] != "token"])
            # Only the path of this server, never //elsewhere.
            path = "/" + quote(scope["path"].lstrip("/"))
            place = path + ("?" + rest if rest else "")
            kept = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
            if _cross_site(headers):
                # Such a cookie does not go along where another site's link leads to, also not after
                # a redirect; a page of this server asks by itself.
                page = f'<meta http-equiv="refresh" content="0;url={escape(place)}">'
                kind = "text/html; charset=utf-8"
                await _plain(sender, 200, page, {"content-type": kind, "set-cookie": kept})
            else:
                await _plain(sender, 303, "", {"location": place, "set-cookie": kept})
        elif self._knows(headers):
            await self._app(scope, receive, sender)
        else:
            await _plain(
                sender,
                403,
                f"The token is {'wrong' if given else 'missing'}. Open the address that helip view "
                "has printed; it ends with ?token=…",
            )

    def _refusal(self, method: str, headers: list[tuple[str, str]]) -> str:
        """Why a request is refused whatever it knows; empty where it is not."""
        hosts = [value.lower() for name, value in headers if name == "host"]
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return (
                f"The host {hosts[0][:80] if hosts else ''!r} is not this server. "
                "Open the address that helip view has printed."
            )
        own = f"http://{hosts[0]}"
        origins = [value for name, value in headers if name == "origin"]
        if origins and origins != [own]:
            return "This request comes from another site."
        opens = ("sec-fetch-mode", "navigate") in headers and method in _SAFE
        # A link may be followed from anywhere. Another port of this host is of the same site.
        if not opens and (_cross_site(headers) or ("sec-fetch-site", "same-site") in headers):
            return "This request comes from another site."
        if method not in _SAFE and not origins:
            return "A request that changes something must name its Origin."
        return ""

    def _knows(self, headers: list[tuple[str, str]]) -> bool:
        for name, value in headers:
            if name != "cookie":
                continue
            # Other servers of this host set cookies as well, and the parser of the standard library
            # stops at the first that it cannot read.
            for each in value.split(";"):
                key, _, given = each.partition("=")
                if key.strip() == self._cookie and self._fits(given.strip()):
                    return True
        return False

    def _fits(self, token: str) -> bool:
        return secrets.compare_digest(token.encode("utf-8", "replace"), self._token.encode())


def _cross_site(headers: list[tuple[str, str]]) -> bool:
    return ("sec-fetch-site", "cross-site") in headers


def _with_headers(send: Any) -> Any:
    async def sender(message: Any) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message["headers"]}
            extra = [
                (n.encode(), v.encode()) for n, v in _ALWAYS.items() if n.encode() not in there
            ]
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return sender


async def _plain(send: Any, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    body = text.encode("utf-8", "replace")
    told = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        **(headers or {}),
    }
    raw = [(name.encode(), value.encode("latin-1")) for name, value in told.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
