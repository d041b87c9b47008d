"""The viewer cannot be used from another site, nor without its token."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from helip_view.access import POLICY, AccessControl

HOST = "127.0.0.1:8765"
COOKIE = ("cookie", "own=secret")


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"inside"})


def asked(
    *headers: tuple[str, str], method: str = "GET", path: str = "/", query: str = ""
) -> tuple[int, dict[str, str], str]:
    """(status, headers, body) of a request with a right host, unless one is given."""
    if not any(name == "host" for name, _ in headers):
        headers = (("host", HOST), *headers)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(n.encode(), v.encode("latin-1")) for n, v in headers],
    }
    guard = AccessControl(app, token="secret", hosts=frozenset({HOST}), cookie="own")
    asyncio.run(guard(scope, receive, send))
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], told, sent[1]["body"].decode()


def test_the_token_becomes_a_cookie_and_leaves_the_address() -> None:
    status, headers, _ = asked(query="way=hubs&token=secret&at=3", path="/")
    assert (status, headers["location"]) == (303, "/?way=hubs&at=3")
    assert headers["set-cookie"] == "own=secret; Path=/; HttpOnly; SameSite=Strict"
    assert asked(COOKIE)[::2] == (200, "inside")


def test_a_link_on_another_site_that_knows_the_token_leads_here() -> None:
    cross = (("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"))
    status, headers, body = asked(*cross, query="token=secret&way=hubs&q=%22%3E%3Cb%3E")
    assert status == 200 and "set-cookie" in headers
    assert 'content="0;url=/?way=hubs&amp;q=%22%3E%3Cb%3E"' in body


def test_no_address_leads_elsewhere() -> None:
    for path in ("//evil.example/x", "/\\evil.example"):
        _, headers, _ = asked(query="token=secret", path=path)
        assert not headers["location"].startswith(("//", "/\\"))


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([], "missing"),
        ([("cookie", "own=other")], "missing"),
        ([("cookie", "own=")], "missing"),
        ([("cookie", "\x80=;own")], "missing"),
        ([COOKIE, ("host", "evil.example:8765")], "not this server"),
        ([COOKIE, ("host", "127.0.0.1:80")], "not this server"),
        ([COOKIE, ("host", HOST), ("host", "evil.example")], "not this server"),
        ([COOKIE, ("origin", "http://evil.example")], "another site"),
        ([COOKIE, ("origin", "null")], "another site"),
        ([COOKIE, ("origin", f"https://{HOST}")], "another site"),
        ([COOKIE, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")], "another site"),
        ([COOKIE, ("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")], "another site"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(len(value)),
)
def test_what_does_not_belong_is_refused(headers: list[tuple[str, str]], words: str) -> None:
    status, told, body = asked(*headers)
    assert status == 403 and words in body
    assert told["content-security-policy"] == POLICY


@pytest.mark.parametrize(
    "foreign", ["a b=1", "x", "[]={}", 'q="open', "own", "own=other", "\xe9=1"]
)
def test_cookies_of_other_servers_of_the_host_do_not_lock_it(foreign: str) -> None:
    assert asked(("cookie", f"{foreign}; own=secret; {foreign}"))[0] == 200


def test_a_wrong_token_is_refused_and_not_repeated() -> None:
    status, _, body = asked(query="token=guess<script>")
    assert status == 403 and "wrong" in body and "guess" not in body


def test_a_change_must_name_its_origin() -> None:
    assert asked(COOKIE, method="POST")[0] == 403
    assert asked(COOKIE, ("origin", "http://evil.example"), method="POST")[0] == 403
    assert asked(COOKIE, ("origin", f"http://{HOST}"), method="POST")[0] == 200
    # A token in the address is for opening the page alone.
    assert asked(("origin", f"http://{HOST}"), method="POST", query="token=secret")[0] == 403


def test_scripts_and_styles_come_from_this_server_alone() -> None:
    _, headers, _ = asked(COOKIE)
    assert "unsafe" not in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"
