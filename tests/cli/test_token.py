"""`cqueue token`: new tokens, and a look at the file that has their hashes."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cqueue.cli import main
from cqueue.web.auth import tokens

ANN = ("token", "new", "--name", "ann", "--role", "viewer", "--queues", "mail-*")


def run(*arguments: str) -> Result:
    """What the command answers."""
    return CliRunner().invoke(main, arguments)


def test_a_new_token_is_printed_once_and_its_hash_is_for_the_file() -> None:
    """The secret alone on stdout, so that it can be sent into a file; the stanza with the words."""
    done = run(*ANN)

    assert done.exit_code == 0
    secret = done.stdout.strip()
    assert secret not in done.stderr
    [token] = tokens.parse(done.stderr[done.stderr.index("[[token]]") :].encode(), Path("stderr"))
    assert token.digest == sha256(secret.encode()).digest()
    assert token.principal.reach == ("mail-*",)


def test_a_new_token_can_be_added_to_the_file_at_once(tmp_path: Path) -> None:
    """With several roles, queues and an end; the file has no secret."""
    path = tmp_path / "tokens.toml"
    first = run(*ANN, "--file", str(path))
    second = run(
        *("token", "new", "--name", "bob", "--role", "producer", "--role", "consumer", "--days", "30"),
        *("--queues", "a", "--queues", "b", "--file", str(path), "--json"),
    )

    assert (first.exit_code, second.exit_code) == (0, 0)
    secret = json.loads(second.stdout)["token"]
    assert first.stdout.strip() not in path.read_text()
    assert secret not in path.read_text()
    listed = json.loads(run("token", "check", str(path), "--json").stdout)
    assert [each["name"] for each in listed] == ["ann", "bob"]
    assert listed[0]["expires"] is None
    assert (listed[1]["roles"], listed[1]["queues"], listed[1]["expired"]) == (
        ["producer", "consumer"],
        ["a", "b"],
        False,
    )
    shown = run("token", "check", str(path))
    assert shown.stdout.splitlines()[0] == "ann  viewer  mail-*  does not expire"
    assert "2 tokens" in shown.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--name", "ann", "--role", "viewer"), "--queues"),
        (("--name", "ann", "--queues", "*"), "--role"),
        (("--role", "viewer", "--queues", "*"), "--name"),
        (("--name", "ann", "--role", "root", "--queues", "*"), "'root' is not one of"),
        (("--name", "ann", "--role", "admin", "--queues", "mail"), "an admin is for all queues"),
        (("--name", "a\nb", "--role", "viewer", "--queues", "*"), "printable"),
        (("--name", "ann", "--role", "viewer", "--queues", "*", "--days", "0"), "--days"),
    ],
)
def test_a_token_that_cannot_be_is_a_wrong_usage(arguments: tuple[str, ...], words: str) -> None:
    """Exit code 2, and no secret."""
    done = run("token", "new", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_file_that_a_node_would_not_take_is_said_to_be_wrong(tmp_path: Path) -> None:
    """With the sentence that the node would say, and its exit code; no secret is printed either."""
    path = tmp_path / "tokens.toml"
    path.write_text("")
    path.chmod(0o644)

    checked, added = run("token", "check", str(path)), run(*ANN, "--file", str(path))

    assert (checked.exit_code, added.exit_code) == (2, 2)
    assert "chmod 600" in checked.stderr
    assert added.stdout == ""
