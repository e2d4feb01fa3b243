"""The unit is one that systemd takes, that allows little, and that starts a node as `cqueue serve` wants it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Final

import click
import pytest

from cqueue import config, node
from cqueue.cli import main

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy" / "systemd"
EXPOSURE_TENTHS_MAX: Final = 15
"""Of 100, as `systemd-analyze security` counts. What is left is the network, which a node is for."""

systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")


def given_directives() -> dict[str, list[str]]:
    """The values of each key of the unit, in their order."""
    directives: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", (DEPLOY / "cqueue.service").read_text(), re.MULTILINE):
        directives.setdefault(key, []).append(value)
    return directives


@systemd
def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify` is silent. It wants the program to be there, so it gets one that is."""
    program = shutil.which("true")
    text = (DEPLOY / "cqueue.service").read_text().replace("/opt/cqueue/bin/cqueue", str(program))
    (tmp_path / "cqueue.service").write_text(text)

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "cqueue.service")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    about_the_unit = [line for line in done.stderr.splitlines() if "cqueue.service" in line]
    assert (done.returncode, about_the_unit) == (0, []), done.stderr


@systemd
def test_the_unit_allows_little() -> None:
    """Its exposure, as systemd rates it, stays below the threshold."""
    done = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            "--no-pager",
            f"--threshold={EXPOSURE_TENTHS_MAX}",
            str(DEPLOY / "cqueue.service"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_unit_starts_a_command_that_there_is() -> None:
    """`cqueue serve` with options that it has."""
    (start,) = given_directives()["ExecStart"]
    program, verb, *arguments = shlex.split(start)
    assert isinstance(main, click.Group)
    command = main.get_command(click.Context(main), verb)
    assert command is not None
    assert program.endswith("/cqueue")
    assert {argument for argument in arguments if argument.startswith("-")} <= {
        option for parameter in command.params for option in parameter.opts
    }


def test_the_unit_gives_a_node_the_time_that_it_takes_to_stop() -> None:
    """It kills later than a node is done, and does not start one again whose settings are wrong."""
    directives = given_directives()
    assert int(directives["TimeoutStopSec"][0]) > node.WEB_STOP_S_MAX + node.REPLICA_STOP_S_MAX
    assert directives["RestartPreventExitStatus"] == [str(config.EXIT_CONFIG)]


def test_the_file_of_settings_is_one_that_a_node_takes(tmp_path: Path) -> None:
    """Read as a node reads it, with the secret where it says; its data is where the unit lets it write."""
    secret = tmp_path / "cluster-secret"
    secret.write_text("0" * config.SECRET_CHARS_MIN)
    copy = tmp_path / "cqueue.toml"
    copy.write_text((DEPLOY / "cqueue.toml").read_text().replace("/etc/cqueue/cluster-secret", str(secret)))

    settings = config.load({"config": str(copy)}, {})

    assert (settings.is_cluster, settings.mode, settings.asks_who) == (True, "durable", True)
    assert settings.data_dir == f"/var/lib/{given_directives()['StateDirectory'][0]}"
