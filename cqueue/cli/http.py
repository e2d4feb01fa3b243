"""Calls of the command line to a node over HTTP; what goes wrong with one is a sentence and an exit code.

It knows no route. A call is made once: whether it is safe to make it again is for whoever typed it.
Commands import this when they run: its HTTP client must not be in a process that serves, where
gevent wants to patch what it uses before anyone imports it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click
import msgspec
import urllib3

from cqueue.cli import exits
from cqueue.cli.options import CA_VARIABLE, NODE_DEFAULT, NODE_VARIABLE, TOKEN_VARIABLE, At
from cqueue.errors import Unusable

CONNECT_S_MAX: Final = 5.0
ANSWER_S_MAX: Final = 60.0
"""Silence of a node after which a call is given up; longer than any request's own time limit by default."""
_UNKNOWN_CA: Final = frozenset({18, 19, 20, 21})
"""It is self-signed, or its issuer is not known (X509_V_ERR_... of OpenSSL)."""
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
"""What OpenSSL calls an answer that is no TLS."""
_BAD_REQUEST: Final = 400
_UNAUTHORIZED: Final = 401
_SERVICE_UNAVAILABLE: Final = 503
_GATEWAY_TIMEOUT: Final = 504


class CallFailed(Unusable):
    """A call that did not do what was asked. code: the problem's, "" where no node answered with one."""

    def __init__(self, detail: str, *, exit_code: int, code: str = "") -> None:
        super().__init__(detail, exit_code=exit_code)
        self.code = code


class Node:
    """One node, by its URL, and what to show it; `localhost:3000` is short for `http://localhost:3000`.

    Raises:
        click.BadParameter: that is no URL of a node, or a file for TLS cannot be used.
    """

    def __init__(self, at: At) -> None:
        if len(at.urls) != 1:
            raise click.BadParameter("this is about one node: name one", param_hint="--node")
        url = at.urls[0]
        try:
            parsed = urllib3.util.parse_url(url if "://" in url else f"http://{url}")
        except urllib3.exceptions.LocationParseError as error:
            raise _no_url(url) from error
        if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.query or parsed.path not in {None, "/"}:
            raise _no_url(url)
        self.url = f"{parsed.scheme}://{parsed.netloc}"
        self._headers = {} if at.token is None else {"Authorization": f"Bearer {at.token}"}
        self._pool = urllib3.PoolManager(retries=False, ssl_context=tls(at) if parsed.scheme == "https" else None)

    def call(self, method: str, path: str, body: object = None, *, answer_s_max: float = ANSWER_S_MAX) -> Any:
        """Send `body` as JSON, None for no body; return the decoded JSON of the answer, None where it has none.

        Raises:
            CallFailed: there was no answer, or not a good one.
        """
        data = None if body is None else msgspec.json.encode(body)
        with self.stream(method, path, data, content_type="application/json", answer_s_max=answer_s_max) as answer:
            try:
                content = answer.read()
                return msgspec.json.decode(content) if content else None
            except urllib3.exceptions.HTTPError as error:
                raise self._broken(method, error) from error
            except msgspec.DecodeError as error:
                raise CallFailed(f"{self.url} is no cqueue node: it answered with no JSON", exit_code=1) from error

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        data: Any = None,
        *,
        content_type: str = "application/octet-stream",
        answer_s_max: float = ANSWER_S_MAX,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """Send `data` (bytes, a file, or an iterable of bytes); yield the answer, its body not read yet.

        Raises:
            CallFailed: there was no answer, or not a good one. What breaks while the body is read is
                urllib3's own exception.
        """
        try:
            answer = self._pool.request(
                method,
                self.url + path,
                body=data,
                headers=self._headers if data is None else {"Content-Type": content_type, **self._headers},
                timeout=urllib3.Timeout(connect=CONNECT_S_MAX, read=answer_s_max),
                preload_content=False,
                redirect=False,
            )
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as error:
            why = "nobody answers there within the time allowed"
            if isinstance(error, urllib3.exceptions.NewConnectionError):
                why = str(error).rpartition("] ")[2]
            raise CallFailed(
                f"no node can be reached at {self.url}: {why}; say where one is with --node URL or {NODE_VARIABLE}",
                exit_code=exits.UNAVAILABLE,
            ) from error
        except urllib3.exceptions.HTTPError as error:
            if isinstance(error, urllib3.exceptions.SSLError) and (refusal := _why_no_tls(error.args[0])):
                raise CallFailed(f"{self.url}: {refusal}", exit_code=exits.REFUSED) from error
            raise self._broken(method, error) from error
        try:
            if answer.status >= 300:  # noqa: PLR2004 - redirects, too, are none of a node's answers
                raise self._failure(answer)
            yield answer
        finally:
            answer.close()

    def _broken(self, method: str, error: Exception) -> CallFailed:
        done = "" if method == "GET" else "; it may or may not have been done"
        return CallFailed(f"{self.url} did not answer to the end: {error}{done}", exit_code=exits.UNKNOWN)

    def _failure(self, answer: urllib3.BaseHTTPResponse) -> CallFailed:
        try:
            problem = msgspec.json.decode(answer.read())
            detail, code = str(problem["detail"]), str(problem["code"])
        except (urllib3.exceptions.HTTPError, msgspec.DecodeError, KeyError, TypeError):
            hint = "; is it at https://?" if answer.status == _BAD_REQUEST and self.url.startswith("http:") else ""
            return CallFailed(
                f"{self.url} is no cqueue node: it answered with status {answer.status}{hint}", exit_code=exits.REFUSED
            )
        if answer.status == _UNAUTHORIZED:
            detail += f"; say --token-file FILE, or put the token into {TOKEN_VARIABLE}"
        codes = {_SERVICE_UNAVAILABLE: exits.UNAVAILABLE, _GATEWAY_TIMEOUT: exits.UNKNOWN}
        return CallFailed(f"{detail} ({code})", exit_code=codes.get(answer.status, exits.REFUSED), code=code)


def tls(at: At) -> ssl.SSLContext:
    """How to speak TLS: whom to trust, and what to prove oneself with.

    Raises:
        click.BadParameter: a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=at.ca)
    except OSError as error:
        raise click.BadParameter(f"{at.ca}: cannot be used: {error}", param_hint="--ca") from error
    if at.cert is not None:
        try:
            context.load_cert_chain(at.cert, at.key, password=str)  # never asks a terminal
        except OSError as error:
            raise click.BadParameter(f"{at.cert}: cannot be used: {error}", param_hint="--cert") from error
    return context


def _why_no_tls(error: object) -> str | None:
    """Why the two ends do not get to talk, if that is what is wrong: nothing was done then."""
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = f"; name its CA with --ca FILE or {CA_VARIABLE}" if error.verify_code in _UNKNOWN_CA else ""
        return f"its certificate cannot be trusted: {error.verify_message}{hint}"
    reason = str(getattr(error, "reason", None) or "")
    if reason in _NO_TLS:
        return "there is something that does not speak TLS; a node without --tls-cert is at http://"
    if "ALERT" in reason:
        words = reason.lower().replace("_", " ")
        return f"it does not let this end in: {words}; a node with --tls-client-ca wants --cert FILE and --key FILE"
    return None


def _no_url(url: str) -> click.BadParameter:
    return click.BadParameter(f"{url!r} is no URL of a node, such as {NODE_DEFAULT}", param_hint="--node")
