"""The links to the other nodes: PySyncObj's TCP transport, with messages held until they may leave.

Whatever a message says of this node's log (an acknowledgement, a vote) must be true after a crash,
so nothing is sent before the round's transaction is committed. What PySyncObj would let a stranger
do over the same port (administer the cluster, join as a read-only peer) is refused.
"""

from __future__ import annotations

import logging
from typing import Any

from pysyncobj.transport import TCPTransport, Transport

log = logging.getLogger(__name__)


class HeldTransport(TCPTransport):  # type: ignore[misc]
    """held: list of (node, message) in the order they were given."""

    def __init__(self, syncObj: Any, selfNode: Any, otherNodes: Any) -> None:  # noqa: N803 - PySyncObj's names
        self._held: list[tuple[Any, Any]] = []
        super().__init__(syncObj, selfNode, otherNodes)

    def send(self, node: Any, message: Any) -> bool:
        """Hold `message` for `node` until the flush. Not for a node without a link: it is dropped."""
        self._held.append((node, message))
        return True

    def flush(self) -> None:
        """Send everything that was held."""
        held, self._held = self._held, []
        for node, message in held:
            super().send(node, message)

    def _onIncomingMessageReceived(self, conn: Any, message: Any) -> None:  # noqa: N802 - PySyncObj's name
        if isinstance(message, list) or message == "readonly":
            log.warning("link_refused reason='not a member of the cluster'")
            conn.disconnect()
            self._unknownConnections.discard(conn)
            return
        super()._onIncomingMessageReceived(conn, message)


class NoTransport(Transport):  # type: ignore[misc]
    """The transport of a node that is alone: there is nobody to send to."""

    def send(self, node: Any, message: Any) -> bool:  # noqa: ARG002 - the interface's
        """Nobody is there."""
        return False

    def flush(self) -> None:
        """Nothing was held."""
