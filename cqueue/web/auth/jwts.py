"""Tokens of an identity provider: JSON Web Tokens (RFC 7519), signed with a key of a JWKS file (RFC 7517).

A key is used with its own algorithm and no other, whatever a token says of itself, and no key is
symmetric: so neither `none` nor a public key taken for a shared secret gets anybody in. PyJWT does the
checking. It is loaded by whoever checks a token and by nobody else: it brings modules along that gevent
wants to patch before anyone has them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec
from msgspec import Struct

from cqueue.config import EXIT_CONFIG
from cqueue.errors import Unusable
from cqueue.web.auth.principals import NAME_CHARS_MAX, Principal, Role, reach_of

if TYPE_CHECKING:
    from jwt import PyJWK

ALGORITHMS: Final = frozenset(
    ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
)
LEEWAY_S: Final = 30
"""By how much the clocks of the provider and of this node may differ."""
CACHE_TOKENS_MAX: Final = 10_000
"""Checked tokens that are remembered until they expire."""

_ROLES: Final = frozenset(get_args(Role))


class InvalidToken(Exception):
    """Nobody is let in with it; the sentence says why, and nothing of what is in it."""


class Provider(Struct, frozen=True):
    """Whose tokens are taken, and what is read of them. jwks: the path of the file."""

    issuer: str
    audience: str
    jwks: str
    role_claim: str
    queues_claim: str


class Jwts:
    """The tokens of one provider.

    checked: {SHA-256 of a token: (its caller, when it expires)}, oldest first.

    Args:
        provider: whose they are.

    Raises:
        Unusable: the file cannot be read.
    """

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        try:
            self._data = Path(provider.jwks).read_bytes()
        except OSError as error:
            raise _wrong(provider, f"cannot be read: {error.strerror}") from error
        self._keys: Mapping[str | None, PyJWK] = {}
        self._checked: dict[bytes, tuple[Principal, float]] = {}

    def load_keys(self) -> None:
        """Make keys of what the file says. Only where tokens are to be checked; see above.

        Raises:
            Unusable: it is no JWKS file, or has no key to check signatures with.
        """
        from jwt import PyJWK  # noqa: PLC0415
        from jwt.exceptions import InvalidKeyError, PyJWKError  # noqa: PLC0415

        keys: dict[str | None, PyJWK] = {}
        try:
            for said in msgspec.json.decode(self._data, type=dict[str, Any])["keys"]:
                if said.get("use", "sig") != "sig":
                    continue
                key = PyJWK(said)
                if key.algorithm_name not in ALGORITHMS:
                    raise _wrong(self._provider, "a key is for an algorithm that is none of those that are taken")
                if key.key_id in keys:
                    raise _wrong(self._provider, "two keys have the same kid, or none has one")
                keys[key.key_id] = key
        except (msgspec.MsgspecError, KeyError, TypeError, AttributeError, InvalidKeyError, PyJWKError):
            raise _wrong(self._provider, "no JWKS file, or a key in it is broken or of an unknown kind") from None
        if not keys:
            raise _wrong(self._provider, "there is no key in it to check signatures with")
        self._keys = keys

    def recall(self, digest: bytes) -> Principal | None:
        """The caller of a token that was checked before and has not expired."""
        known = self._checked.get(digest)
        if known is None:
            return None
        if known[1] <= time.time():
            del self._checked[digest]
            return None
        return known[0]

    def check(self, token: str) -> Principal:
        """The caller of a token.

        Raises:
            InvalidToken: it is none, or none of the provider's for us, or its time is over or yet to come.
        """
        import jwt  # noqa: PLC0415

        try:
            header = jwt.get_unverified_header(token)
            key = self._key_for(header.get("kid"))
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._provider.audience,
                issuer=self._provider.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "sub"]},
            )
        except jwt.InvalidTokenError as error:
            raise InvalidToken(_WHY.get(type(error).__name__, "it is not a token that is taken here")) from None
        principal = self._principal(claims)
        while len(self._checked) >= CACHE_TOKENS_MAX:
            del self._checked[next(iter(self._checked))]
        self._checked[sha256(token.encode()).digest()] = principal, float(claims["exp"])
        return principal

    def _key_for(self, key_id: object) -> PyJWK:
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        key = self._keys.get(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise InvalidToken("its key is not in the JWKS file")
        return key

    def _principal(self, claims: dict[str, Any]) -> Principal:
        said = _texts(claims.get(self._provider.role_claim))
        roles: frozenset[Any] = frozenset(word for text in said for word in text.split()) & _ROLES
        try:
            reach = reach_of(_texts(claims.get(self._provider.queues_claim)), roles)
        except ValueError as error:
            raise InvalidToken(f"its claim {self._provider.queues_claim}: {error}") from None
        return Principal(claims["sub"][:NAME_CHARS_MAX], roles, reach)


def _texts(claim: object) -> list[str]:
    """A claim that is a text, or an array of them; whatever else it is says nothing."""
    items = claim if isinstance(claim, list) else [claim]
    return [item for item in items if isinstance(item, str)]


_WHY: Final = {
    "ExpiredSignatureError": "it has expired",
    "ImmatureSignatureError": "it is not valid yet",
    "InvalidAudienceError": "it is for another audience",
    "InvalidIssuerError": "it is of another issuer",
    "InvalidSignatureError": "its signature is wrong",
    "InvalidAlgorithmError": "it is signed with another algorithm than its key is for",
    "MissingRequiredClaimError": "it lacks one of the claims exp, sub, aud and iss",
}


def _wrong(provider: Provider, why: str) -> Unusable:
    return Unusable(f"--jwt-jwks: {provider.jwks}: {why}", exit_code=EXIT_CONFIG)
