"""The routes for the whole state at once: taking it along, and comparing it over all nodes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Annotated, Any, Final

import msgspec
from flask import Response, request
from msgspec import Meta, Struct

from cqueue.core.queries import GetStats
from cqueue.protocol import BACKUP, QUERY, RESULT, VERIFY, Verdict, decode_verdict, encode
from cqueue.web import body
from cqueue.web.answer import Answer
from cqueue.web.asking import kind_of_look
from cqueue.web.contract import BODY, INDEX, REPLICA, Call, Gives, looking, promises
from cqueue.web.link import ReplicaLink
from cqueue.web.parameters import LookParameters, read, refuse_all
from cqueue.web.problems import Problem

if TYPE_CHECKING:
    from flask import Flask

BACKUP_S_MAX: Final = 600
"""Making one; sending it may take any time."""
VERIFY_S_DEFAULT: Final = 30
VERIFY_S_MAX: Final = 600
STALLED_S_MAX: Final = 60
"""A client that takes nothing of a backup for this long is left."""
_PIECE_BYTES: Final = 256 * 1024


class VerifyBody(Struct, forbid_unknown_fields=True):
    """How many seconds the nodes have to compute their digests; may be fractional."""

    wait: Annotated[float, Meta(ge=0, le=VERIFY_S_MAX, examples=[30])] = VERIFY_S_DEFAULT


_decode_verify = msgspec.json.Decoder(VerifyBody).decode
_encode = msgspec.json.Encoder().encode


TAKE_BACKUP: Final = looking(
    "take_backup",
    "The whole state of the queue as of one index, as a file.",
    Gives("the state as of the index", (), (INDEX, "Content-Disposition"), ("application/octet-stream",)),
    "busy",
    "backup_failed",
)
COMPARE: Final = Call(
    "verify_cluster",
    "Compares the state of all members at one index of the log.",
    {200: Gives("the members were asked; look at `result`", (Verdict,))},
    (*BODY, *REPLICA, "no_leader", "busy"),
    (VerifyBody,),
)


def add_routes(app: Flask, link: ReplicaLink, *, body_bytes_max: int, spool_dir: str | None) -> None:
    """Add the routes to `app`; they ask the replica at the other end of `link`.

    Args:
        app: the application.
        link: the connection to this node's replica.
        body_bytes_max: larger request bodies get 413.
        spool_dir: where a backup is until it is sent; None: where temporary files are.
    """

    def ask(kind: int, asked: bytes = b"", wait_s: float = 0.0) -> tuple[bytes, int]:
        _, outcome, index, data = link.ask(kind, asked, int(wait_s * 1000))
        if outcome != RESULT:
            raise Problem.of_failure(data, index)
        return data, index

    @app.get("/cluster/backup")
    @promises(TAKE_BACKUP)
    def backup() -> Response:
        if kind_of_look(link, read(request.environ, LookParameters)) == QUERY:
            # Once this is answered, the state here has everything that was acknowledged before.
            ask(QUERY, encode(GetStats()))
        try:
            file = tempfile.TemporaryFile(dir=spool_dir)  # noqa: SIM115 - it is open until it is sent
        except OSError as error:
            raise Problem("backup_failed", f"there is no place for it: {error.strerror}") from error
        try:
            # The replica's child writes through this process's descriptor (proc_pid_fd(5)): the file
            # has no name, and is gone with whoever needs it.
            _, index = ask(BACKUP, f"/proc/{os.getpid()}/fd/{file.fileno()}".encode(), BACKUP_S_MAX)
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        response = Response(_pieces(file, request.environ), 200, mimetype="application/octet-stream")
        response.call_on_close(file.close)
        response.headers["Content-Length"] = str(size)
        response.headers["Content-Disposition"] = f'attachment; filename="cqueue-{index}.backup"'
        response.headers["X-Cqueue-Index"] = str(index)
        return response

    @app.post("/cluster/verify")
    @promises(COMPARE)
    def verify() -> Response:
        refuse_all(request.environ)
        data = body.read(request.environ, body_bytes_max)
        wanted = body.decode(_decode_verify, data) if data else VerifyBody()
        verdict, index = ask(VERIFY, b"", wanted.wait)
        return Answer(200, _encode(decode_verdict(verdict)), index).response()


def _pieces(file: IO[bytes], environ: dict[str, Any]) -> Iterator[bytes]:
    """What is in `file`. While it is sent, the connection breaks if the client takes nothing for long."""
    connection = environ.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(STALLED_S_MAX)
    while piece := file.read(_PIECE_BYTES):
        yield piece
    if connection is not None:
        connection.settimeout(None)
