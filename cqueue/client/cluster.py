"""The cluster: who it is, and changes of it, each as a function that makes a call.

What concerns one node alone is not here: whoever has several addresses would not know which one took
it. That is `POST /cluster/bootstrap` and `GET /cluster/backup`, for which there are commands.
"""

from __future__ import annotations

from cqueue.client.call import Again, Call, encode, path, reader, said
from cqueue.client.results import Cluster, Members, Verdict

_CATCH_UP_S = 120.0
_VERIFY_S = 30.0

_read_cluster = reader(Cluster)
_read_members = reader(Members)
_read_verdict = reader(Verdict)


def cluster() -> Call[Cluster]:
    """The cluster as one node sees it."""
    return Call("GET", "/cluster", _read_cluster)


def add_member(node: str, *, wait: float = _CATCH_UP_S) -> Call[Members]:
    """Add the node at `host:port`; wait: seconds it may take to catch up."""
    return Call("POST", "/cluster/members", _read_members, encode({"id": node, "wait": wait}), wait_s=wait)


def remove_member(node: str) -> Call[Members]:
    """Remove a member, whether it runs or not."""
    return Call("DELETE", path("cluster", "members", node), _read_members)


def transfer_leadership(to: str | None = None) -> Call[Members]:
    """Move leadership to a member, or to whichever other one is furthest."""
    return Call("POST", "/cluster/transfer", _read_members, encode(said({"to": to})), Again.NEVER)


def verify(*, wait: float = _VERIFY_S) -> Call[Verdict]:
    """Compare the state of all members; wait: seconds they have."""
    return Call("POST", "/cluster/verify", _read_verdict, encode({"wait": wait}), wait_s=wait)
