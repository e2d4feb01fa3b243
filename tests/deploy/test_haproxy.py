"""The proxy's configuration is one that HAProxy takes, and it is more patient than a node."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from cqueue import config
from cqueue.web import server
from cqueue.web.shapes import fields

CONFIGURATION: Final = Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg"


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="no haproxy on this machine")
def test_haproxy_takes_the_configuration() -> None:
    """`haproxy -c` finds it valid; that the names of the nodes are not known here is all that it warns of."""
    done = subprocess.run(
        ["haproxy", "-c", "-f", str(CONFIGURATION)], capture_output=True, text=True, check=False, timeout=60
    )
    said = done.stdout + done.stderr
    complaints = [line for line in re.findall(r"\[(?:WARNING|ALERT)\].*", said) if "could not resolve" not in line]
    assert (done.returncode, complaints) == (0, []), said


def test_the_proxy_waits_longer_than_a_node_takes_to_answer() -> None:
    """A call that waits, and then has no outcome, is the longest; silence on a WebSocket comes before that."""
    text = CONFIGURATION.read_text()
    patience_s = {name: int(value) for name, value in re.findall(r"^ +timeout ([\w-]+) (\d+)s$", text, re.MULTILINE)}
    defaults = config.Settings()
    longest_s = fields.WAIT_S_MAX + defaults.request_timeout_s
    assert min(patience_s["client"], patience_s["server"]) > longest_s
    assert patience_s["tunnel"] > 2 * defaults.stream_silence_s
    assert patience_s["http-keep-alive"] <= server.KEEPALIVE_S


def test_the_proxy_sends_nothing_again_that_a_node_may_have_seen() -> None:
    """It tries another node only if there was no connection to the first."""
    assert re.findall(r"^ +retry-on (.+)$", CONFIGURATION.read_text(), re.MULTILINE) == ["conn-failure"]
