"""HTTP requests: valid ones, as the contract (docs/openapi.json) describes them, and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import quote

from tests.fuzz.mutations import BYTES, NASTY, Schemas, as_json, changed_bytes, changed_value

DOCUMENT: Final[Mapping[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "docs" / "openapi.json").read_text(encoding="utf-8")
)
NOT_ASKED: Final = frozenset(("/cluster/bootstrap",))
"""What is valid there makes a cluster of one: the other nodes would have nothing to agree with any more."""
RARE: Final = frozenset(
    ("/cluster/backup", "/cluster/verify", "/cluster/transfer", "/cluster/members", "/docs/{asset}")
)
"""What takes long, one in so many."""
RARE_SHARE: Final = 0.01
PATIENT: Final[Mapping[str, Any]] = {"wait": 0.01, "min_index": 1}
PATIENT_SHARE: Final = 0.995
"""What may wait does so rarely, or nothing else would be done."""

HEADERS: Final = (
    b"Content-Length: 0",
    b"Content-Length: -1",
    b"Content-Length: 99999999999",
    b"Content-Length: 1, 2",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: identity",
    b"Expect: 100-continue",
    b"Expect: the unexpected",
    b"Connection: close",
    b"Connection: upgrade, keep-alive",
    b"Upgrade: websocket",
    b"Upgrade: h2c",
    b"Host: a\r\nHost: b",
    b"Content-Type: text/plain",
    b'Content-Type: application/json; charset="utf-16"',
    b"Content-Encoding: gzip",
    b"Origin: https://elsewhere.example",
    b"Sec-Fetch-Site: cross-site",
    b'Idempotency-Key: ""',
    b"Idempotency-Key: a, b",
    b"Idempotency-Key: k1",
    b"Consumer-Id: \xff\xfe",
    b"Consumer-Id: " + b"c" * 129,
    b"Prefer: wait=99999999999999999999",
    b"Prefer: wait=0;wait=0",
    b"Last-Event-ID: 1.2.3",
    b"Authorization: Bearer " + b"a" * 4_000,
    b"Authorization: Basic",
    b"Range: bytes=0-1",
    b"If-None-Match: *",
    b"X-Request-Id: \x01",
    b"X-Request-Id: ok-1",
    b"X_Request_Id: under",
    b"Accept: text/event-stream",
    b" folded: line",
    b"no colon",
    b": no name",
    b"Nul: \0",
    b"Long: " + b"x" * 9_000,
    b"\r\n".join(b"Many-%d: 1" % number for number in range(120)),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One request. is_framed: whether it is certain where it ends."""

    data: bytes
    is_framed: bool


class Calls:
    """An endless supply."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._schemas = Schemas(DOCUMENT)
        self._calls = [
            (path, method.upper(), call)
            for path, methods in DOCUMENT["paths"].items()
            for method, call in methods.items()
            if method != "parameters" and path not in NOT_ASKED
        ]

    def next(self) -> Sent:
        """One more request."""
        rng = self._rng
        path, method, call = rng.choice(self._calls)
        while path in RARE and rng.random() > RARE_SHARE:
            path, method, call = rng.choice(self._calls)
        line, lines = self._head(path, method, call)
        body = self._body(call)
        is_framed = True
        for _ in range(rng.choice((0, 1, 1, 1, 2))):
            match rng.randrange(8):
                case 0:
                    line = self._changed_line(line)
                    is_framed = False
                case 1:
                    lines.append(rng.choice(HEADERS))
                    is_framed = False
                case 2 if body:
                    body = changed_bytes(rng, body)
                case 3:
                    body += rng.choice(BYTES)
        data = _whole(line, lines, body)
        match rng.randrange(20):
            case 0:
                return Sent(changed_bytes(rng, data), is_framed=False)
            case 1:
                return Sent(data + data, is_framed=False)
            case 2:
                return Sent(data[: rng.randrange(len(data))], is_framed=False)
        return Sent(data, is_framed)

    def _head(self, path: str, method: str, call: Mapping[str, Any]) -> tuple[bytes, list[bytes]]:
        rng = self._rng
        lines = []
        query = []
        for parameter in call.get("parameters", ()):
            value = self._schemas.sample(rng, parameter.get("schema", {}))
            if rng.random() < 0.2:
                value = rng.choice(NASTY)
            if parameter["name"] in PATIENT and rng.random() < PATIENT_SHARE:
                value = PATIENT[parameter["name"]]
            text = value if isinstance(value, str) else json.dumps(value)
            if parameter["in"] == "path":
                shown = str(rng.randint(1, 60)) if parameter["schema"].get("type") == "integer" else text
                path = path.replace(f"{{{parameter['name']}}}", quote(shown[:3_000], safe="", errors="replace"))
            elif parameter["in"] == "query" and rng.random() < 0.4:
                query.append(f"{parameter['name']}={quote(text[:3_000], safe='', errors='replace')}")
            elif parameter["in"] == "header" and rng.random() < 0.3 and parameter["name"] != "Prefer":
                shown = "".join(c for c in text[:300] if c.isprintable())
                lines.append(f"{parameter['name']}: {shown}".encode(errors="replace"))
        return f"{method} {path}{'?' if query else ''}{'&'.join(query)} HTTP/1.1".encode(), lines

    def _body(self, call: Mapping[str, Any]) -> bytes:
        rng = self._rng
        said = call.get("requestBody")
        if said is None or rng.random() < 0.1:
            return b""
        value = self._schemas.sample(rng, said["content"]["application/json"]["schema"])
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            value = changed_value(rng, value)
        if isinstance(value, dict) and isinstance(value.get("wait"), int | float) and rng.random() < PATIENT_SHARE:
            value = {**value, "wait": PATIENT["wait"]}
        return as_json(rng, value)

    def _changed_line(self, line: bytes) -> bytes:
        rng = self._rng
        method, target, version = (*line.split(b" ", 2), b"", b"")[:3]
        match rng.randrange(6):
            case 0:
                return changed_bytes(rng, line)
            case 1:
                method = rng.choice((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"PRI", b"get", b"M" * 30))
            case 2:
                target = rng.choice((b"*", b"http://x/livez", b"//jobs", b"/jobs/../jobs", b"/%2e%2e/", b"/jobs/0"))
            case 3:
                target += rng.choice(
                    (b"/", b"%00", b"?a=%zz", b"#x", b"/" * 50, b"x" * 5_000, b"\xff", b"?wait=0&wait=1")
                )
            case 4:
                version = rng.choice((b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.1.1", b"", b"http/1.1"))
            case 5:
                target = b"/jobs/%d" % rng.choice((0, 1, 2**63 - 1, 2**63, 10**30)) + target[target.find(b"?") :][:50]
        return b" ".join((method, target, version))


def _whole(line: bytes, lines: list[bytes], body: bytes) -> bytes:
    head = [line, b"Host: x", *lines]
    if body:
        head += [b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
    return b"\r\n".join((*head, b"", body))
