"""Host names of the other nodes, looked up beside the loop.

A look-up can block for seconds, and a container changes its address when it restarts. So answers
are a few seconds old at most and come from a thread; until there is one, the answer is None and
the transport tries again at its next attempt.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from typing import Final

from cqueue import logs

log = logs.of(__name__)

FRESH_S: Final = 5.0
FAILED_FRESH_S: Final = 1.0


class Resolver:
    """addresses: {host: (looked up at, in monotonic seconds; address or None)}."""

    def __init__(self) -> None:
        self._addresses: dict[str, tuple[float, str | None]] = {}
        self._pending: set[str] = set()
        self._failed: set[str] = set()

    def resolve(self, hostname: str) -> str | None:
        """The host's address as far as it is known now; starts a look-up when it is not fresh."""
        if _is_address(hostname):
            return hostname
        looked_up_s, address = self._addresses.get(hostname, (float("-inf"), None))
        fresh_s = FAILED_FRESH_S if address is None else FRESH_S
        if time.monotonic() - looked_up_s > fresh_s and hostname not in self._pending:
            self._pending.add(hostname)
            threading.Thread(target=self._look_up, args=(hostname,), name=f"resolve {hostname}", daemon=True).start()
        return address

    def resolve_now(self, hostname: str) -> str | None:
        """The host's address, waiting for it; for this node's own name at start."""
        self._pending.add(hostname)
        self._look_up(hostname)
        return self._addresses[hostname][1]

    def _look_up(self, hostname: str) -> None:
        address = None
        try:
            address = str(socket.getaddrinfo(hostname, None, type=socket.SOCK_STREAM)[0][4][0])
            self._failed.discard(hostname)
        except OSError as error:
            if hostname not in self._failed:
                self._failed.add(hostname)
                log.warning("peer_name_not_resolved", host=hostname, error=str(error))
        self._addresses[hostname] = (time.monotonic(), address)
        self._pending.discard(hostname)


def host_of(node_id: str) -> str:
    """`[::1]:4000` → `::1`."""
    return node_id.rpartition(":")[0].strip("[]")


def port_of(node_id: str) -> int:
    """`[::1]:4000` → 4000."""
    return int(node_id.rpartition(":")[2])


def _is_address(hostname: str) -> bool:
    try:
        ipaddress.ip_address(hostname)
    except ValueError:
        return False
    return True
