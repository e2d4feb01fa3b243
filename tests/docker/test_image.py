"""The image by itself and the one-node compose file: small, without privileges, and it stops when asked to."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.docker.compose import PORT, Node, Unreachable
from tests.support import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

GROWTH_BYTES_MAX: Final = 60_000_000
READY_S: Final = 90


def test_the_image_adds_little_to_its_base(engine: Any, image: str, base_image: str) -> None:
    """At most 60 MB, and nothing in it installs packages."""
    size, base_size = (engine.images.get(name).attrs["Size"] for name in (image, base_image))

    assert size - base_size <= GROWTH_BYTES_MAX
    listing = engine.containers.run(image, ["/opt/cqueue"], entrypoint=["find"], network_mode="none", remove=True)
    assert [path for path in listing.decode().split() if path.endswith(("/pip", "/site-packages/setuptools"))] == []


def test_a_node_has_no_privileges(node: Node) -> None:
    """Not root, no capability, a root file system it cannot write to, and a port for this machine only."""
    code, output = node.run("python", "-c", "import os; print(os.getuid(), os.getgid())")
    assert (code, output.split()) == (0, ["10001", "10001"])
    code, output = node.run("grep", "-E", "^(CapPrm|CapEff|CapBnd|NoNewPrivs):", "/proc/self/status")
    none = "0" * 16
    assert dict(line.split() for line in output.splitlines()) == {
        "CapPrm:": none,
        "CapEff:": none,
        "CapBnd:": none,
        "NoNewPrivs:": "1",
    }
    for place in ("/", "/opt/cqueue", "/etc/cqueue", "/usr/local"):
        code, output = node.run("touch", f"{place}/written")
        assert code != 0, place
    assert node.run("touch", "/tmp/written", "/var/lib/cqueue/written")[0] == 0  # noqa: S108 - the container's own
    assert {binding["HostIp"] for binding in node.container.attrs["NetworkSettings"]["Ports"][PORT]} == {"127.0.0.1"}


def test_a_node_keeps_its_jobs_over_a_restart(node: Node) -> None:
    """SIGTERM ends it with exit code 0 within the grace period; started again, it tells the same."""
    assert node.ask("PUT", "/jobs/enqueue", {"payload": {"to": "ada"}}).body == {"id": 1}
    told = node.ask("GET", "/jobs/1")

    assert node.stop() == 0
    node.start()
    eventually(node.is_ready, within_s=READY_S, ignoring=Unreachable)

    assert node.ask("GET", "/jobs/1") == told
    assert node.ask("PUT", "/jobs/enqueue").body == {"id": 2}
