"""What a node says of itself and of its cluster, for people and load balancers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cqueue.protocol import Member, NodeStatus

if TYPE_CHECKING:
    from cqueue.replication.consensus import Consensus


def status(consensus: Consensus, *, mode: str, draining: bool, consumers_waiting: int) -> NodeStatus:
    """How the node stands in its cluster. mode: how durable it is. draining: it is about to stop."""
    peers = dict(consensus.peer_states)
    return NodeStatus(
        node=consensus.node_id,
        role=consensus.role,
        leader=consensus.leader_id,
        term=consensus.raftCurrentTerm,
        commit_index=consensus.raftCommitIndex,
        applied_index=consensus.applied_index,
        members=[
            Member(
                member,
                "self" if member == consensus.node_id else "connected" if peers[member] else "disconnected",
            )
            for member in consensus.members
        ],
        mode=mode,
        level=consensus.level,
        level_max=consensus.level_max,
        not_ready="this node is shutting down" if draining else why_not_ready(consensus),
        change=consensus.change,
        consumers_waiting=consumers_waiting,
    )


def why_not_ready(consensus: Consensus) -> str | None:
    """Why the node does not take requests, or would let them wait; None where it is ready."""
    if consensus.recovering or not consensus.is_member or consensus.leader_id is None:
        return why_no_leader(consensus)
    if not consensus.is_current:
        return "this node has not caught up with its leader yet"
    return None


def why_no_leader(consensus: Consensus) -> str:
    """Why a request at the node came to nothing."""
    if not consensus.is_member:
        members = ", ".join(consensus.members)
        return f"this node is no member of the cluster: it was removed, or not added yet; the members are {members}"
    if consensus.recovering:
        return "this node came back without its memory, or is new, and waits for the members to bring it up to date"
    if consensus.leader_id is None and not any(is_linked for _, is_linked in consensus.peer_states):
        return "no other member can be reached: they may be down, or this node was removed from the cluster"
    if consensus.leader_id is None:
        return "no leader is known: an election is under way, or a majority of the nodes is out of reach"
    return "the cluster did not answer in time"
