"""The web app: routes to pages, bounds on what a request may send, errors as pages."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from helip import Error, InvalidArgumentError, SampleError, StorageError
from helip.common.errors import needed
from helip.reporting import environment
from helip_view.access import AccessControl
from helip_view.pages import Answer, Asked, Pages, go
from helip_view.search import PICTURE_BYTES
from helip_view.study_pages import StudyPages

_LOG = logging.getLogger(__name__)
FORM_BYTES = 64 << 10
_YEAR = 365 * 24 * 3600
#: What is served of the package, by its whole path: no part of a request is a path of a file.
STATIC = {
    "/static/style.css": ("style.css", "text/css; charset=utf-8"),
    "/static/study.css": ("study.css", "text/css; charset=utf-8"),
    "/static/card.css": ("card.css", "text/css; charset=utf-8"),
    "/static/viewer.css": ("viewer.css", "text/css; charset=utf-8"),
    "/static/icon.svg": ("icon.svg", "image/svg+xml"),
    "/static/map.js": ("map.js", "text/javascript; charset=utf-8"),
    "/static/viewer.js": ("viewer.js", "text/javascript; charset=utf-8"),
}

Page = Callable[[Asked], Answer]


def make_app(pages: Pages | StudyPages, *, token: str, hosts: frozenset[str], cookie: str) -> Any:
    """The ASGI app behind its guard; ``cookie`` begins the names of its cookies.

    UnsupportedError where starlette is absent.
    """
    with needed("the viewer needs the extra view", "'helip[view]'"):
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.requests import Request
        from starlette.responses import Response
        from starlette.routing import Route

    person = f"{cookie}-person"

    def response(answer: Answer) -> Response:
        kept = f"private, max-age={answer.seconds}" if answer.seconds else "no-store"
        headers = {"cache-control": kept}
        if answer.place:
            headers["location"] = answer.place
        made = Response(answer.body, answer.status, headers, answer.kind)
        if answer.person is not None:
            made.set_cookie(
                person, quote(answer.person), max_age=_YEAR, httponly=True, samesite="strict"
            )
        return made

    def endpoint(page: Page, most: int) -> Any:
        async def called(request: Request) -> Response:
            body = await _body(request, most)
            if body is None:
                error = InvalidArgumentError(f"the request has more than {most:,} bytes")
                return response(pages.refusal(error, 413))
            asked = Asked(
                {name: str(value) for name, value in request.path_params.items()},
                dict(request.query_params),
                _form(request.headers.get("content-type", ""), body),
                unquote(request.cookies.get(person, "")),
                body,
            )
            return response(await run_in_threadpool(_answered, pages, page, asked))

        return called

    def static(path: str, kind: str) -> Any:
        body = _file(path)

        async def called(_: Request) -> Response:
            return Response(body, 200, {"cache-control": "no-cache"}, kind)

        return called

    async def missing(request: Request, _: Exception) -> Response:
        return response(pages.refusal(InvalidArgumentError("There is no such page."), 404))

    def guarded(routes: list[Route]) -> AccessControl:
        app = Starlette(routes=routes, exception_handlers={404: missing, 405: missing})
        app.router.redirect_slashes = False
        return AccessControl(app, token=token, hosts=hosts, cookie=cookie)

    routes = [Route(path, static(*what)) for path, what in STATIC.items()]
    if isinstance(pages, StudyPages):  # and no page that shows what made a pool
        return guarded([
            *routes,
            Route("/", endpoint(pages.question, 0)),
            Route("/picture/{row}", endpoint(pages.picture, 0)),
            Route("/answer", endpoint(lambda _: go("/"), 0)),
            Route("/answer", endpoint(pages.answer, FORM_BYTES), methods=["POST"]),
            Route("/undo", endpoint(pages.undo, FORM_BYTES), methods=["POST"]),
            Route("/name", endpoint(pages.name, FORM_BYTES), methods=["POST"]),
        ])  # fmt: skip
    routes += [
        Route("/", endpoint(pages.card, 0)),
        Route("/picture/{row}", endpoint(pages.picture, 0)),
        Route("/seek", endpoint(pages.seek, 0)),
        Route("/seek", endpoint(pages.send, PICTURE_BYTES), methods=["POST"]),
        Route("/pools", endpoint(pages.pools, 0)),
        Route("/map", endpoint(pages.map, 0)),
        Route("/map/points/{of}", endpoint(pages.points, 0)),
        Route("/map/shades/{by}", endpoint(pages.shades, 0)),
        Route("/go", endpoint(pages.go_to, 0)),
        Route("/verdict", endpoint(lambda _: go("/"), 0)),  # where a name was asked, loaded anew
        Route("/verdict", endpoint(pages.verdict, FORM_BYTES), methods=["POST"]),
        Route("/undo", endpoint(pages.undo, FORM_BYTES), methods=["POST"]),
        Route("/name", endpoint(pages.name, FORM_BYTES), methods=["POST"]),
    ]
    return guarded(routes)


def _file(name: str) -> bytes:
    """A file of the viewer, or a style that its pages share with the report."""
    place = resources.files("helip_view") / "static" / name
    if place.is_file():
        return place.read_bytes()
    loader = environment().loader
    assert loader is not None
    return loader.get_source(environment(), name)[0].encode()


def _answered(pages: Pages | StudyPages, page: Page, asked: Asked) -> Answer:
    try:
        return page(asked)
    except (InvalidArgumentError, SampleError) as error:
        return pages.refusal(error, 400)
    except StorageError as error:  # such as a file of verdicts that another program has locked
        return pages.refusal(error, 503)
    except Error as error:
        return pages.refusal(error, 409)
    except Exception:
        _LOG.exception("a page of the viewer failed")
        return pages.refusal(RuntimeError("The page failed; the log of helip view says why."), 500)


async def _body(request: Any, most: int) -> bytes | None:
    """The body of a request; None where it is longer than ``most``."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            return None
        parts.append(part)
    return b"".join(parts)


def _form(kind: str, body: bytes) -> dict[str, str]:
    if kind.partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return {}
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=20))
    except ValueError:  # no UTF-8, or too many fields
        return {}
