"""Where nodes are and who calls: options before variables before the file; and what is said when nobody is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from cqueue.cli import context, exits
from tests.cli.running import Said, run

NOBODY = "127.0.0.1:1"
GOOD = {"CQUEUE_TOKEN": "good"}


def given_config(directory: Path, text: str, mode: int = 0o600) -> Path:
    """A `config.toml` with this in it, below a directory that `XDG_CONFIG_HOME` may name."""
    file = directory / "cqueue" / "config.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    context._read.cache_clear()
    return directory


def asked(directory: Path, *words: str, node: str | None = None, **variables: str) -> Said:
    """Ask a node that is not there, with the config of a directory."""
    return run("stats", "--retry", "0.01", *words, node=node, XDG_CONFIG_HOME=str(directory), **variables)


def test_nobody_there_has_an_exit_code_of_its_own() -> None:
    """And a sentence that says where it looked, and how to say where."""
    said = run("stats", "--node", "127.0.0.1:1", "--retry", "0.01")
    assert (said.exit_code, said.stdout) == (exits.UNAVAILABLE, "")
    assert said.stderr.startswith("cqueue: http://127.0.0.1:1 cannot be reached: Connection refused; ")
    assert "CQUEUE_NODE" in said.stderr


@pytest.mark.parametrize("url", ["ftp://a", "http://a/path", "a?b"])
def test_what_is_no_address_is_wrong_usage(url: str) -> None:
    """The option is named."""
    said = run("stats", "--node", url)
    assert (said.exit_code, "--node" in said.stderr) == (exits.USAGE, True)


def test_a_flag_counts_more_than_a_variable_and_that_more_than_the_file(tmp_path: Path) -> None:
    """Seen by who is asked in vain."""
    given_config(tmp_path, 'node = ["127.0.0.1:2", "127.0.0.1:3"]')
    assert ":3 cannot be reached" in asked(tmp_path).stderr or ":2 cannot be reached" in asked(tmp_path).stderr
    assert ":4 cannot be reached" in asked(tmp_path, node="127.0.0.1:4").stderr
    assert ":5 cannot be reached" in asked(tmp_path, "--node", "127.0.0.1:5", node="127.0.0.1:4").stderr


def test_a_token_counts_in_the_same_order(tmp_path: Path) -> None:
    """Seen by which one is refused for what it is."""
    bad = tmp_path / "token"
    bad.write_text("a b")
    given_config(tmp_path, f'node = "{NOBODY}"\ntoken_file = "{bad}"')
    assert "config.toml" in asked(tmp_path).stderr
    assert asked(tmp_path, **GOOD).exit_code == exits.UNAVAILABLE
    assert "Invalid value for --token-file" in asked(tmp_path, "--token-file", str(bad), **GOOD).stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nodes = 'a'", "there is no 'nodes'"),
        ("node = 1", "node: expected a string"),
        ("node = ['a', 1]", "node: expected a string, or a list of them"),
        ("retry = 'long'", "retry: expected a number"),
        ("retry = true", "retry: expected a number"),
        ("ca = ", "config.toml"),
    ],
)
def test_a_file_that_says_something_else_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    """One line, and exit code 2."""
    said = asked(given_config(tmp_path, text))
    assert (said.exit_code, said.stderr.count("\n"), said.stdout) == (exits.USAGE, 1, "")
    assert words in said.stderr


def test_a_token_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """As ssh does with a key."""
    said = asked(given_config(tmp_path, "token = 'secret'", 0o644))
    assert said.exit_code == exits.USAGE
    assert "chmod 600" in said.stderr
    assert asked(given_config(tmp_path, f"token = 'secret'\nnode = '{NOBODY}'")).exit_code == exits.UNAVAILABLE
