"""A network of the test's own: each node in a network namespace, all on one bridge, links to cut.

A link is cut in one direction: what the one node sends to the other goes to a hardware address that
nobody has, and is lost without a word. The other direction, and the way to the clients, who sit at
the bridge, are as before. It takes root and iproute2.
Source: ip-netns(8), ip-neighbour(8).
"""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

_NOBODY: Final = "02:00:00:00:00:ff"
_BRIDGE: Final = 254


Link = tuple[int, int]
"""The numbers of who sends and who receives."""


class NoNetwork(Exception):
    """This process may not make one, or there is no iproute2."""


class Network:
    """Namespaces for `count` nodes, which are numbered from 0.

    Raises:
        NoNetwork: it cannot be made here.
    """

    def __init__(self, count: int) -> None:
        token = secrets.token_hex(3)
        # Addresses set aside for such tests (RFC 2544), a different network for each.
        self._prefix = f"198.18.{secrets.randbelow(256)}"
        self._bridge = f"cq{token}"
        self._names = [f"cq{token}-{number}" for number in range(count)]
        try:
            self._make()
        except FileNotFoundError as error:
            raise NoNetwork("there is no iproute2") from error
        except subprocess.CalledProcessError as error:
            self.close()
            raise NoNetwork(error.stderr.decode().strip()) from error

    def _make(self) -> None:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self._prefix}.{_BRIDGE}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for number, name in enumerate(self._names):
            _ip("netns", "add", name)
            _ip(*("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name))
            _ip("link", "set", name, "master", self._bridge, "up")
            _ip("-n", name, "link", "set", "eth0", "address", _hardware(number), "up")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "address", "add", f"{self.host(number)}/24", "dev", "eth0")
        for number in range(len(self._names)):
            self._mend(self.links_from(number))

    def host(self, number: int) -> str:
        """A node's address."""
        return f"{self._prefix}.{number + 1}"

    def command(self, number: int) -> list[str]:
        """What to put before a command to run it where the node is."""
        return ["ip", "netns", "exec", self._names[number]]

    def links_from(self, sender: int) -> list[Link]:
        """All that a node sends on."""
        return [(sender, receiver) for receiver in range(len(self._names)) if receiver != sender]

    @contextmanager
    def losing(self, links: Iterable[Link]) -> Iterator[None]:
        """Lose what is sent on `links` meanwhile."""
        cut = list(links)
        for link in cut:
            self._lead(link, _NOBODY)
        yield
        self._mend(cut)

    def _mend(self, links: list[Link]) -> None:
        for link in links:
            self._lead(link, _hardware(link[1]))

    def _lead(self, link: Link, hardware: str) -> None:
        sender, receiver = link
        neighbour = (self.host(receiver), "lladdr", hardware, "dev", "eth0", "nud", "permanent")
        _ip("-n", self._names[sender], "neighbour", "replace", *neighbour)

    def close(self) -> None:
        """Take it away; the processes in it must have ended."""
        for name in self._names:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", name)
        with suppress(subprocess.CalledProcessError):
            _ip("link", "delete", self._bridge)


def _hardware(number: int) -> str:
    return f"02:00:00:00:00:{number + 1:02x}"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
