"""`GET /docs`: the contract as a page to try it on, without anything from elsewhere.

The page is Swagger UI, whose files the package flask-swagger-ui ships. That package's own view is
not used: it writes a script into the page, and this page allows none but those in files of this node.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal, get_args

from flask import Response, request, send_from_directory
from werkzeug.exceptions import NotFound

from cqueue.web.contract import Call, Gives, promises

if TYPE_CHECKING:
    from flask import Flask

Asset = Literal["swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png", "start.js"]
"""What the page is made of; `start.js` is ours."""

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>cqueue: the HTTP API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""

# No validator: Swagger UI would ask one of its makers' about a document that it can reach.
_START: Final = """\
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  validatorUrl: null,
});
"""

HEADERS: Final = {
    # Swagger UI sets styles on elements and has its icons in data URLs; scripts come from this node alone,
    # and so does what they fetch.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}

PAGE: Final = Call(
    "get_docs", "The contract as a page to try it on.", {200: Gives("the page", (), (), media=("text/html",))}
)
PART: Final = Call(
    "get_docs_asset",
    "A part of that page.",
    {
        200: Gives("the part", (), (), media=("text/css", "text/javascript", "image/png")),
        304: Gives("it is the one you have", (), ()),
    },
    ("not_found",),
)


def add_routes(app: Flask) -> None:
    """Add the routes to `app`."""

    @app.get("/docs")
    @promises(PAGE)
    def page() -> Response:
        return Response(_PAGE, headers=HEADERS, mimetype="text/html")

    @app.get("/docs/<asset>")
    @promises(PART)
    def part(asset: str) -> Response:
        if asset not in get_args(Asset):
            raise NotFound
        if asset == "start.js":
            return Response(_START, headers=HEADERS, mimetype="text/javascript")
        # Whole, or not at all: nobody needs a range of it.
        response = send_from_directory(_directory(), asset, conditional=False)
        response.headers.update(HEADERS)
        response.make_conditional(request)
        return response


@cache
def _directory() -> str:
    """Where Swagger UI's files are; found when they are first asked for, not while the node starts."""
    return str(files("flask_swagger_ui") / "dist")
