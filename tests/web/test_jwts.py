"""Tokens of an identity provider: whose are taken, with which keys, and what is read of them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from cqueue.config import EXIT_CONFIG, Settings
from cqueue.errors import Unusable
from cqueue.web.auth import jwts
from cqueue.web.auth.access import Access
from cqueue.web.auth.jwts import InvalidToken, Jwts, Provider
from cqueue.web.auth.principals import Principal
from tests.web.callers import Callers, given_open_door
from tests.web.replica import StandInReplica

RSA: Final = rsa.generate_private_key(65537, 2048)
OTHER_RSA: Final = rsa.generate_private_key(65537, 2048)
EC: Final = ec.generate_private_key(ec.SECP256R1())
ED: Final = ed25519.Ed25519PrivateKey.generate()
KEYS: Final[dict[str, tuple[Any, str]]] = {"rsa": (RSA, "RS256"), "ec": (EC, "ES256"), "ed": (ED, "EdDSA")}
JWKS: Final[list[dict[str, Any]]] = [
    {**RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "rsa", "use": "sig", "alg": "RS256"},
    {**ECAlgorithm.to_jwk(EC.public_key(), as_dict=True), "kid": "ec"},
    {**OKPAlgorithm.to_jwk(ED.public_key(), as_dict=True), "kid": "ed"},
    {**RSAAlgorithm.to_jwk(OTHER_RSA.public_key(), as_dict=True), "kid": "other", "use": "enc"},
]
ISSUER: Final = "https://id.example.org"
AUDIENCE: Final = "cqueue"
PUBLIC_PEM: Final = RSA.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def given_jwks(directory: Path, keys: object = JWKS) -> str:
    """The path of a JWKS file with these keys."""
    path = directory / "jwks.json"
    path.write_text(json.dumps({"keys": keys}))
    return str(path)


def given_provider(directory: Path, keys: object = JWKS) -> Jwts:
    """The provider's tokens, ready to be checked."""
    found = Jwts(Provider(ISSUER, AUDIENCE, given_jwks(directory, keys), "cqueue_roles", "cqueue_queues"))
    found.load_keys()
    return found


def claims(**changed: Any) -> dict[str, Any]:
    """What a good token says, with some of it changed; None: not said."""
    said = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ann",
        "exp": int(time.time()) + 600,
        "cqueue_roles": ["viewer", "somebody else's role"],
        "cqueue_queues": ["mail-*"],
        **changed,
    }
    return {name: value for name, value in said.items() if value is not None}


def signed(kid: str | None = "rsa", *, header: dict[str, Any] | None = None, **changed: Any) -> str:
    """A token with such claims, signed with that key."""
    key, algorithm = KEYS[kid or "rsa"]
    said = {**({} if kid is None else {"kid": kid}), **(header or {})}
    return jwt.encode(claims(**changed), key, algorithm, headers=said)


def unsigned(header: dict[str, Any], signature: bytes = b"") -> str:
    """A token put together by hand."""
    parts = (json.dumps(header).encode(), json.dumps(claims()).encode(), signature)
    return ".".join(jwt.utils.base64url_encode(part).decode() for part in parts)


@pytest.mark.parametrize("kid", KEYS)
def test_a_token_of_the_provider_says_who_calls(tmp_path: Path, kid: str) -> None:
    """With each kind of key; roles it does not know are for others."""
    assert given_provider(tmp_path).check(signed(kid)) == Principal("ann", frozenset(("viewer",)), ("mail-*",))


@pytest.mark.parametrize(
    ("changed", "roles", "reach"),
    [
        ({"cqueue_roles": "viewer consumer"}, {"viewer", "consumer"}, ("mail-*",)),
        ({"cqueue_roles": ["admin"], "cqueue_queues": "*"}, {"admin"}, None),
        ({"cqueue_roles": None}, set(), ("mail-*",)),
        ({"cqueue_roles": {"viewer": True}}, set(), ("mail-*",)),
        ({"cqueue_queues": None}, {"viewer"}, ()),
        ({"cqueue_queues": 7}, {"viewer"}, ()),
        ({"cqueue_queues": "two words"}, {"viewer"}, ("two words",)),
    ],
)
def test_what_a_token_does_not_say_it_does_not_give(tmp_path: Path, changed: Any, roles: Any, reach: Any) -> None:
    """No claim, no role and no queue."""
    principal = given_provider(tmp_path).check(signed(**changed))
    assert (principal.roles, principal.reach) == (roles, reach)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"exp": int(time.time()) - 60}, "expired"),
        ({"nbf": int(time.time()) + 600}, "not valid yet"),
        ({"aud": "another"}, "another audience"),
        ({"aud": None}, "lacks"),
        ({"iss": ISSUER + "/"}, "another issuer"),
        ({"iss": None}, "lacks"),
        ({"exp": None}, "lacks"),
        ({"sub": None}, "lacks"),
        ({"cqueue_roles": "admin"}, "an admin is for all queues"),
    ],
)
def test_a_token_for_another_place_or_time_is_refused(tmp_path: Path, changed: Any, words: str) -> None:
    """In words that say nothing of what is in it."""
    with pytest.raises(InvalidToken, match=words):
        given_provider(tmp_path).check(signed(**changed))


def test_a_token_that_expired_a_moment_ago_is_taken(tmp_path: Path) -> None:
    """Clocks differ a little."""
    assert given_provider(tmp_path).check(signed(exp=int(time.time()) - 1)).name == "ann"


@pytest.mark.parametrize(
    "token",
    [
        unsigned({"alg": "none", "kid": "rsa"}),
        unsigned({"alg": "None", "kid": "rsa"}),
        unsigned({"alg": "RS256", "kid": "rsa"}),
        jwt.encode(claims(), OTHER_RSA, "RS256", headers={"kid": "rsa"}),
        jwt.encode(claims(), RSA, "RS512", headers={"kid": "rsa"}),
        jwt.encode(claims(), EC, "ES256", headers={"kid": "rsa"}),
        jwt.encode(claims(), OTHER_RSA, "RS256", headers={"kid": "other"}),
        signed(header={"kid": "unknown"}),
        signed(header={"crit": ["exp"]}),
        signed(header={"jku": "https://evil.example.org/jwks.json", "kid": "evil"}),
        signed(None),
        "a.b.c",
        "..",
        "not a token",
        "é.é.é",
    ],
)
def test_no_trick_with_keys_and_algorithms_gets_anybody_in(tmp_path: Path, token: str) -> None:
    """`none`, another key, another algorithm of the right key, a key for something else, one that is not there."""
    provider = given_provider(tmp_path)
    with pytest.raises(InvalidToken):
        provider.check(token)


def test_a_public_key_is_no_shared_secret(tmp_path: Path) -> None:
    """The old trick: HS256 with what everybody knows."""
    import hashlib  # noqa: PLC0415 - for this forgery alone
    import hmac  # noqa: PLC0415

    head = unsigned({"alg": "HS256", "kid": "rsa"}).rpartition(".")[0]
    mac = jwt.utils.base64url_encode(hmac.digest(PUBLIC_PEM, head.encode(), hashlib.sha256)).decode()
    with pytest.raises(InvalidToken):
        given_provider(tmp_path).check(f"{head}.{mac}")


def test_a_key_without_a_name_is_for_tokens_without_one(tmp_path: Path) -> None:
    """If it is the only one."""
    alone = {name: value for name, value in JWKS[0].items() if name != "kid"}
    assert given_provider(tmp_path, [alone]).check(signed(None)).name == "ann"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ([], "no key"),
        ([JWKS[3]], "no key"),
        ([JWKS[0], JWKS[0]], "same kid"),
        ([{"kty": "oct", "k": "c2VjcmV0", "kid": "x"}], "none of those"),
        ([{**JWKS[0], "alg": "HS256"}], "no JWKS file|none of those"),
        ([{**JWKS[0], "n": "!"}], "no JWKS file"),
        ([{"kty": "EC", "crv": "secp256k1", "kid": "x"}], "no JWKS file|none of those"),
        ([{}], "no JWKS file"),
        ([7], "no JWKS file"),
        (7, "no JWKS file"),
    ],
)
def test_a_jwks_file_that_cannot_be_used_is_refused(tmp_path: Path, keys: object, words: str) -> None:
    """Symmetric keys are no keys here."""
    with pytest.raises(Unusable, match=words) as caught:
        given_provider(tmp_path, keys)
    assert caught.value.exit_code == EXIT_CONFIG
    assert "c2VjcmV0" not in caught.value.detail


def test_a_jwks_file_that_is_not_there_or_no_json_is_refused(tmp_path: Path) -> None:
    """At the start, with the flag and the path."""
    with pytest.raises(Unusable, match="--jwt-jwks: nowhere: cannot be read"):
        Jwts(Provider(ISSUER, AUDIENCE, "nowhere", "r", "q"))
    path = tmp_path / "jwks.json"
    path.write_text("{")
    with pytest.raises(Unusable, match="no JWKS file"):
        Jwts(Provider(ISSUER, AUDIENCE, str(path), "r", "q")).load_keys()


def test_a_token_that_was_checked_is_remembered_until_it_expires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no more than so many are."""
    monkeypatch.setattr(jwts, "CACHE_TOKENS_MAX", 2)
    provider = given_provider(tmp_path)
    made = [signed(sub=f"ann {number}") for number in range(3)]
    digests = [jwts.sha256(token.encode()).digest() for token in made]
    for token in made:
        provider.check(token)
    assert [getattr(provider.recall(digest), "name", None) for digest in digests] == [None, "ann 1", "ann 2"]

    over = signed(exp=int(time.time()) - 1)
    provider.check(over)
    assert provider.recall(jwts.sha256(over.encode()).digest()) is None


def test_both_kinds_of_tokens_are_taken_side_by_side(own_replica: StandInReplica, tmp_path: Path) -> None:
    """The same gate, the same rules."""
    callers = Callers(tmp_path)
    callers.add("bob", "producer")
    settings = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks": given_jwks(tmp_path)}
    with given_open_door(callers, own_replica, **settings) as door:
        callers.secrets["ann"] = signed()
        assert door.call("bob", "PUT", "/jobs/enqueue", {"queue": "mail-1"}).status_code == 201
        for _ in range(2):
            counts = door.call("ann", "GET", "/jobs/stats").json
            assert counts is not None
            assert list(counts["queues"]) == ["mail-1"]
        assert door.call("ann", "PUT", "/jobs/enqueue", {"queue": "mail-1"}).status_code == 403
        callers.secrets["eve"] = signed(exp=1)
        reply = door.call("eve", "GET", "/jobs/stats").json
        assert reply is not None
        assert reply["code"] == "invalid_token"


def test_a_file_that_is_broken_later_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The keys that were read before stay in use, and one line says why."""
    settings = Settings(jwt_issuer=ISSUER, jwt_audience=AUDIENCE, jwt_jwks=given_jwks(tmp_path))
    access = Access(settings)
    access.load_keys()
    assert access.renew(with_keys=True)
    given_jwks(tmp_path, [])

    assert not access.renew(with_keys=True)

    assert access.check(signed()).name == "ann"
    assert [record.getMessage().split()[0] for record in caplog.records] == ["access_kept"]
