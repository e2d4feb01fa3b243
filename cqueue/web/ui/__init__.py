"""`GET /ui`: a page to look at the queue and run it, without anything from elsewhere.

It is a client like any other: it calls the routes of docs/protocol.md, and may do what its caller
may. This module serves its files (`static/`) and tells it where the nodes are; it knows nothing of
jobs. No file here is made or changed at run time, but for that one line of the page.
"""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Annotated, Final

from flask import Response, request, send_from_directory
from msgspec import Meta
from werkzeug.exceptions import NotFound

from cqueue.web.contract import Call, Gives, promises

if TYPE_CHECKING:
    from flask import Flask

_STATIC: Final = files(__name__) / "static"
_PAGE: Final = "index.html"
_NODES: Final = "{{ nodes }}"
"""Where the page has the URLs of the nodes, with spaces between."""

FILES: Final = frozenset(file.name for file in _STATIC.iterdir() if file.name != _PAGE)
"""What the page is made of."""
UiFile = Annotated[str, Meta(examples=["app.js"], extra_json_schema={"enum": sorted(FILES)})]

PAGE: Final = Call(
    "get_ui", "A page to look at the queue and run it.", {200: Gives("the page", (), (), media=("text/html",))}
)
PART: Final = Call(
    "get_ui_file",
    "A part of that page.",
    {
        200: Gives("the part", (), (), media=("text/css", "text/javascript", "image/svg+xml", "text/plain")),
        304: Gives("it is the one you have", (), ()),
    },
    ("not_found",),
)


def add_routes(app: Flask, node_urls: tuple[str, ...]) -> None:
    """Add the routes to `app`. node_urls: origins of the nodes, as browsers reach them."""
    headers = headers_of(node_urls)

    @app.get("/ui")
    @promises(PAGE)
    def ui_page() -> Response:
        return Response(_page().replace(_NODES, escape(" ".join(node_urls))), headers=headers, mimetype="text/html")

    @app.get("/ui/<file>")
    @promises(PART)
    def ui_part(file: str) -> Response:
        if file not in FILES:
            raise NotFound
        with as_file(_STATIC) as directory:
            # Whole, or not at all: nobody needs a range of it.
            response = send_from_directory(directory, file, conditional=False)
        response.headers.update(headers)
        response.make_conditional(request)
        return response


def headers_of(node_urls: tuple[str, ...]) -> dict[str, str]:
    """What a browser is told of the page: no script, style or icon but its own, and whom it may ask."""
    sources = " ".join(("'self'", *node_urls))
    return {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            f"connect-src {sources}; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
        ),
        "Referrer-Policy": "no-referrer",
    }


@cache
def _page() -> str:
    return (_STATIC / _PAGE).read_text(encoding="utf-8")
