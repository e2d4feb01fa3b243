"""What the command says when it is asked for help, and how it is started."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pytest

from cqueue import __version__
from cqueue.config import Settings, flag_of, variable_of
from tests.cluster.fixtures import StartCommand
from tests.cluster.harness import CQUEUE, HOST, START_S, Command, Ports, environment
from tests.support import eventually

SCRIPT = str(Path(sys.executable).with_name("cqueue"))


def said(arguments: Sequence[str]) -> str:
    """What the command prints on stdout when it succeeds; it must say nothing else."""
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, check=False, timeout=START_S)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("arguments", [["version"], ["--version"], ["-V"]])
def test_the_version_is_told(arguments: Sequence[str]) -> None:
    """On stdout, for people and scripts."""
    assert said([*CQUEUE, *arguments]).split()[-1] == __version__


def test_help_shows_every_command_and_the_first_calls() -> None:
    """Who types `cqueue --help` sees how to start a queue and how to use it."""
    text = said([SCRIPT, "--help"])

    for word in ("serve", "dev", "version", "curl -X PUT localhost:3000/jobs/enqueue"):
        assert word in text


def test_help_of_serve_shows_every_setting_with_its_variable() -> None:
    """Each field of the settings has a flag, and the help names its variable."""
    text = said([*CQUEUE, "serve", "-h"])

    for spec in fields(Settings):
        assert f"{flag_of(spec.name)} " in text
        assert variable_of(spec.name) in text
    assert "--config" in text


def test_an_unknown_option_is_one_line_and_exit_code_2() -> None:
    """No traceback, and a word about where to find help."""
    done = subprocess.run(
        [*CQUEUE, "serve", "--prot", "1"], env=environment(), capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 2
    assert "No such option '--prot'" in done.stderr or "No such option: --prot" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.cluster
@pytest.mark.parametrize("command", [[SCRIPT], [sys.executable, "-m", "cqueue"]], ids=["script", "module"])
def test_the_banner_tells_the_address_the_mode_and_where_the_docs_are(
    start_command: StartCommand, ports: Ports, command: Sequence[str]
) -> None:
    """One friendly banner, whichever way the queue was started; the address comes from the environment here."""
    port = ports.reserve()

    serving = start_command([*command, "serve"], {"CFQUEUE_PORT": str(port), "CQUEUE_ADDR": HOST})
    eventually(lambda: "docs: https://" in serving.log, within_s=START_S)

    assert f"serves http://localhost:{port} (single node; in memory" in serving.log
    assert f"page: http://localhost:{port}/ui" in serving.log
    assert serving.stop() == 0
    _is_clean(serving)


@pytest.mark.cluster
def test_port_0_serves_on_any_free_port_and_tells_which(start_command: StartCommand) -> None:
    """The banner has the port that was found."""
    serving = start_command([*CQUEUE, "serve", "--port", "0"])
    eventually(lambda: "docs: https://" in serving.log, within_s=START_S)

    assert "serves http://localhost:" in serving.log
    assert "localhost:0 " not in serving.log
    assert serving.stop() == 0
    _is_clean(serving)


def _is_clean(command: Command) -> None:
    command.wait_gone()
    assert "Traceback" not in command.log


def test_a_switch_is_a_flag_without_a_value() -> None:
    """`--insecure`, and the variable beside it."""
    done = subprocess.run([*CQUEUE, "serve", "--help"], env=environment(), capture_output=True, text=True, check=True)
    assert re.search(r"--insecure {2,}\S", done.stdout)
    assert "CQUEUE_INSECURE; default: off" in " ".join(done.stdout.split())
