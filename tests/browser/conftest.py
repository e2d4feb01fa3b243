"""A browser, a site of another origin, and pages of it. Without Chromium every test here fails.

site       serves an empty page on a port of its own; it has two names, so pages of it can be of
           the node's site (127.0.0.1) or of another one (localhost), and never of its origin
open_page  opens a page with a profile of its own
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.cluster.fixtures import cleanup, ports, start_cluster, start_node

__all__ = ["cleanup", "ports", "start_cluster", "start_node"]

CHROMIUM: Final = "chromium"
ARGUMENTS: Final = [
    "--no-sandbox",  # Chromium's sandbox needs more than a container's root may do; only our own pages are opened
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS: Final = 30_000
_PAGE: Final = b"<!doctype html><title>a page</title>"

OpenPage = Callable[[str], Page]
"""Opens a page at an address."""


class Site:
    """A web site that is not the node's."""

    def __init__(self, port: int) -> None:
        self.near = f"http://127.0.0.1:{port}"
        self.far = f"http://localhost:{port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(_PAGE)))
        self.end_headers()
        self.wfile.write(_PAGE)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, without a window, with a profile that is thrown away."""
    path = shutil.which(CHROMIUM)
    if path is None:
        pytest.fail(f"no {CHROMIUM}: `make browser` installs it where it can", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, timeout=2 * PATIENCE_MS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """The site, on a free port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Site(server.server_address[1])
        server.shutdown()
        thread.join()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens pages, closed after the test."""
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)

        def open_at(address: str) -> Page:
            page = context.new_page()
            page.goto(address)
            return page

        yield open_at
