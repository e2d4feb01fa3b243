"""How long a job waits before it is tried again."""

from __future__ import annotations

from cqueue.core.jobs import Backoff

_MASK = (1 << 64) - 1
_DOUBLINGS_MAX = 62


def delay_ms(backoff: Backoff, job_id: int, attempt: int) -> int:
    """The wait after the failed attempt number `attempt` (from 1), in ms; the same on every replica."""
    if backoff.kind == "fixed":
        wait_ms = backoff.base_ms
    elif backoff.kind == "linear":
        wait_ms = backoff.base_ms * attempt
    else:
        wait_ms = backoff.base_ms << min(attempt - 1, _DOUBLINGS_MAX)
    wait_ms = min(wait_ms, backoff.cap_ms)
    jitter_ms = wait_ms * backoff.jitter_percent // 100
    return wait_ms - (_mixed(job_id, attempt) % (jitter_ms + 1))


def _mixed(job_id: int, attempt: int) -> int:
    """A number that looks random and is not. Source: the finalizer of SplitMix64 (Steele, Lea, Flood 2014)."""
    mixed = (job_id * 0x9E3779B97F4A7C15 + attempt) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)
