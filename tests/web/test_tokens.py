"""The tokens file: what is taken from it, what is refused, and how a token is added."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqueue.config import EXIT_CONFIG
from cqueue.errors import Unusable
from cqueue.web.auth import tokens
from cqueue.web.auth.principals import EVERYTHING, Principal
from cqueue.web.auth.tokens import Tokens

DIGEST = "ab" * 32
GOOD = f'[[token]]\nname = "ann"\nroles = ["viewer"]\nqueues = ["*"]\nsha256 = "{DIGEST}"\n'
PATH = Path("tokens.toml")


def given_file(directory: Path, text: str, mode: int = 0o600) -> Path:
    """A tokens file with this text."""
    path = directory / "tokens.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def refusal(path: Path) -> str:
    """The sentence a file is refused with."""
    with pytest.raises(Unusable) as caught:
        tokens.read(path)
    assert caught.value.exit_code == EXIT_CONFIG
    assert str(path) in caught.value.detail
    return caught.value.detail


def test_a_file_says_who_shows_which_token(tmp_path: Path) -> None:
    """Known by the hash alone."""
    [token] = tokens.read(given_file(tmp_path, GOOD))
    assert token == tokens.Token(Principal("ann", frozenset(("viewer",))), bytes.fromhex(DIGEST))
    assert not token.has_expired


def test_a_file_without_tokens_lets_nobody_in(tmp_path: Path) -> None:
    """It is no mistake: a node may wait for its first caller."""
    assert tokens.read(given_file(tmp_path, "")) == []


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o620, 0o601])
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    """Whoever may change it decides who gets in."""
    assert "chmod 600" in refusal(given_file(tmp_path, GOOD, mode))


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_the_group_may_read_it(tmp_path: Path, mode: int) -> None:
    """As a secret that is mounted into a container is often readable by its group."""
    assert len(tokens.read(given_file(tmp_path, GOOD, mode))) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[token]", "not TOML"),
        ('[[token]]\nname = "ann"\n', "roles"),
        (GOOD.replace("viewer", "viewers"), "not one of the roles"),
        (GOOD.replace('["viewer"]', "[]"), "length >= 1"),
        (GOOD.replace('["viewer"]', '["admin"]').replace('"*"', '"mail"'), "an admin is for all queues"),
        (GOOD.replace(DIGEST, "cqueue_secret"), "sha256"),
        (GOOD.replace("ann", ""), "a name is of 1 to 128"),
        (GOOD.replace("ann", r"a\n"), "a name is of 1 to 128"),
        (GOOD + 'secret = "cqueue_secret"\n', "secret"),
        (GOOD + "expires = 2027-01-01T00:00:00\n", "expires"),
        (GOOD + GOOD, "twice"),
        (GOOD + GOOD.replace("ann", "bob"), "twice"),
        ("tokens = []\n", "tokens"),
    ],
)
def test_what_is_wrong_is_said_without_what_stands_there(tmp_path: Path, text: str, words: str) -> None:
    """Somebody may have put a secret where its hash belongs."""
    sentence = refusal(given_file(tmp_path, text))
    assert words in sentence
    assert "cqueue_secret" not in sentence


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """And one that is not text."""
    assert "No such file" in refusal(tmp_path / "nowhere")
    path = given_file(tmp_path, "")
    path.write_bytes(b"\xff")
    assert "not TOML" in refusal(path)


def test_an_expiry_is_a_time_with_an_offset(tmp_path: Path) -> None:
    """Before it the token is taken, from then on not."""
    [early] = tokens.read(given_file(tmp_path, GOOD + "expires = 2001-01-01T01:00:00+01:00\n"))
    [late] = tokens.read(given_file(tmp_path, GOOD + "expires = 2999-01-01T00:00:00Z\n"))
    assert early.expires_s == datetime(2001, 1, 1, tzinfo=UTC).timestamp()
    assert (early.has_expired, late.has_expired) == (True, False)


@given(
    name=st.text(min_size=1, max_size=20).filter(str.isprintable),
    queues=st.lists(st.text(min_size=1, max_size=9).filter(str.isprintable), min_size=1, max_size=4),
    expires=st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_a_new_token_stands_in_the_file_as_it_was_made(name: str, queues: list[str], expires: datetime | None) -> None:
    """Whatever characters there are in it."""
    secret, body = tokens.new(name, ["viewer", "consumer"], queues, expires)

    [token] = tokens.parse(tokens.stanza(body).encode(), PATH)

    assert token.digest == tokens.digest_of(secret)
    assert (token.principal.name, token.principal.roles) == (name, {"viewer", "consumer"})
    assert token.principal.reach == (None if EVERYTHING in queues else tuple(dict.fromkeys(queues)))
    assert token.expires_s == (None if expires is None else expires.timestamp())


def test_secrets_differ_and_can_be_recognised() -> None:
    """43 characters of chance behind a prefix that scanners can look for."""
    secrets = {tokens.new("ann", ["viewer"], ["*"], None)[0] for _ in range(100)}
    assert len(secrets) == 100
    assert all(secret.startswith("cqueue_") and len(secret) == 50 for secret in secrets)


def test_tokens_are_added_to_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    """It is made so; what stands in it stays, comments included, also where its last line has no end."""
    path = tmp_path / "tokens.toml"
    tokens.append(path, tokens.new("ann", ["viewer"], ["*"], None)[1])
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text(path.read_text() + "# the end")
    tokens.append(path, tokens.new("bob", ["consumer"], ["mail"], None)[1])

    assert [token.principal.name for token in tokens.read(path)] == ["ann", "bob"]
    assert "# the end" in path.read_text()


def test_nothing_is_added_to_a_file_that_is_not_right(tmp_path: Path) -> None:
    """Others may read it, it is broken, or the name is taken."""
    body = tokens.new("ann", ["viewer"], ["*"], None)[1]
    for text, mode, words in ((GOOD, 0o600, "twice"), ("x", 0o600, "not TOML"), ("", 0o640, "mode is not 600")):
        path = given_file(tmp_path, text, mode)
        with pytest.raises(Unusable, match=words):
            tokens.append(path, body)
        assert path.read_text() == text
    with pytest.raises(Unusable, match="cannot be written"):
        tokens.append(tmp_path, body)


def test_only_the_very_digest_is_found() -> None:
    """Found or not, it is compared once."""
    token = tokens.Token(Principal("ann", frozenset(("viewer",))), bytes.fromhex(DIGEST))
    assert Tokens([token]).find(bytes.fromhex(DIGEST)) is token
    assert Tokens([token]).find(bytes(32)) is None
    assert len(Tokens([token])) == 1
