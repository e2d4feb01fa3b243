"""API tokens: a file that holds their hashes, and who shows them.

A token is 32 random bytes behind a prefix that scanners for lost secrets can look for. So its plain
SHA-256 is enough: there is nothing to guess. The file holds no secret, but whoever may change it
decides who gets in; and no sentence from here holds what stands in it but for names.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
import time
import tomllib
from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from cqueue.config import EXIT_CONFIG
from cqueue.errors import Unusable
from cqueue.web.auth.principals import NAME_CHARS_MAX, Principal, Role, reach_of

PREFIX: Final = "cqueue_"
SECRET_BYTES: Final = 32
FILE_MODE: Final = 0o600
_OTHERS: Final = stat.S_IRWXO | stat.S_IWGRP
"""What nobody but the owner, and whom the group lets read, may do with the file."""
_VALUE: Final = re.compile(r"'[^']*'|`[^`]*`")


class TokenBody(Struct, forbid_unknown_fields=True):
    """One `[[token]]` of the file. queues: patterns. expires: with an offset; None: never."""

    name: str
    roles: Annotated[list[Role], Meta(min_length=1)]
    queues: list[str]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    expires: Annotated[datetime, Meta(tz=True)] | None = None


class FileBody(Struct, forbid_unknown_fields=True):
    """The whole file."""

    token: list[TokenBody] = []


class Token(Struct, frozen=True):
    """One token that may be shown. expires_s: seconds since the Unix epoch; None: never."""

    principal: Principal
    digest: bytes
    expires_s: float | None = None

    @property
    def has_expired(self) -> bool:
        """Whether it is too late to show it."""
        return self.expires_s is not None and self.expires_s <= time.time()


class Tokens:
    """The tokens of one file, by their digests."""

    def __init__(self, tokens: Iterable[Token] = ()) -> None:
        self._by_digest: Mapping[bytes, Token] = {token.digest: token for token in tokens}

    def __len__(self) -> int:
        return len(self._by_digest)

    def find(self, digest: bytes) -> Token | None:
        """Whose token this is the SHA-256 of; the same work, whether there is one or not."""
        token = self._by_digest.get(digest)
        is_it = hmac.compare_digest(digest if token is None else token.digest, digest)
        return token if is_it else None


def read(path: Path) -> list[Token]:
    """The tokens in the file.

    Raises:
        Unusable: it cannot be read, others may read or change it, or what stands in it is wrong.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & _OTHERS:
                raise _wrong(path, "others may read it, or its group may write it: chmod 600 it")
            data = file.read()
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}") from error
    return parse(data, path)


def parse(data: bytes, path: Path) -> list[Token]:
    """The tokens in the text of a file; `path` is for the sentence.

    Raises:
        Unusable: something is wrong; the sentence says where, but not what stands there.
    """
    try:
        bodies = msgspec.convert(tomllib.loads(data.decode()), FileBody).token
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(path, f"not TOML: {_VALUE.sub('...', str(error))}") from None
    except msgspec.ValidationError as error:
        raise _wrong(path, _without_values(str(error))) from None
    tokens: dict[bytes, Token] = {}
    names: set[str] = set()
    for body in bodies:
        token = _token(body, path)
        if body.name in names or token.digest in tokens:
            raise _wrong(path, f"the token {body.name!r} is there twice, by its name or by its sha256")
        names.add(body.name)
        tokens[token.digest] = token
    return list(tokens.values())


def new(name: str, roles: list[Role], queues: list[str], expires: datetime | None) -> tuple[str, TokenBody]:
    """A new token: the secret, which nobody keeps, and what the file has of it.

    Raises:
        ValueError: there can be no such token.
    """
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    body = TokenBody(name, list(dict.fromkeys(roles)), queues, digest_of(secret).hex(), expires)
    _principal(body)
    return secret, body


def stanza(body: TokenBody) -> str:
    """How it stands in the file."""
    lines = [
        "[[token]]",
        f"name = {_text(body.name)}",
        f"roles = [{', '.join(map(_text, body.roles))}]",
        f"queues = [{', '.join(map(_text, body.queues))}]",
        f"sha256 = {_text(body.sha256)}",
    ]
    if body.expires is not None:
        lines.append(f"expires = {body.expires.isoformat()}")
    return "\n".join(lines) + "\n"


def append(path: Path, body: TokenBody) -> None:
    """Add a token to a file, which is made if it is missing.

    Raises:
        Unusable: others may read the file, it is wrong already, or it has a token of this name.
    """
    addition = stanza(body).encode()
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        with os.fdopen(file, "r+b") as opened:
            if os.fstat(file).st_mode & 0o777 != FILE_MODE:
                raise _wrong(path, "its mode is not 600: chmod 600 it")
            before = opened.read()
            addition = (b"\n" if before else b"") + addition
            if before and not before.endswith(b"\n"):
                addition = b"\n" + addition
            parse(before + addition, path)
            opened.write(addition)
    except OSError as error:
        raise _wrong(path, f"cannot be written: {error.strerror}") from error


def digest_of(secret: str) -> bytes:
    """What a token is known by. WSGI hands headers over as Latin-1."""
    return sha256(secret.encode("latin-1", "replace")).digest()


def _token(body: TokenBody, path: Path) -> Token:
    try:
        principal = _principal(body)
    except ValueError as error:
        raise _wrong(path, f"the token {body.name!r}: {error}") from error
    return Token(principal, bytes.fromhex(body.sha256), None if body.expires is None else body.expires.timestamp())


def _principal(body: TokenBody) -> Principal:
    if not 1 <= len(body.name) <= NAME_CHARS_MAX or not body.name.isprintable():
        raise ValueError(f"a name is of 1 to {NAME_CHARS_MAX} printable characters")
    roles = frozenset(body.roles)
    return Principal(body.name, roles, reach_of(body.queues, roles))


def _text(text: str) -> str:
    """A TOML string: for printable characters its escapes are those of JSON."""
    return msgspec.json.encode(text).decode()


def _without_values(message: str) -> str:
    """A sentence of msgspec's. It names places and types, and of a value that is none of several the value, too."""
    return re.sub(r"Invalid enum value '.*?' - at", "not one of the roles - at", message, flags=re.DOTALL)


def _wrong(path: Path, why: str) -> Unusable:
    return Unusable(f"--tokens: {path}: {why}", exit_code=EXIT_CONFIG)
