"""Every bound that all replicas must agree on, with its unit as the name's end.

They are constants of the log format, not settings of a node: two replicas that disagreed on
one of them would decide the same log differently. Per-node limits live in `cqueue.config`.
"""

from __future__ import annotations

TYPE_CHARS_MAX = 128
CONSUMER_CHARS_MAX = 128

ENQUEUE_JOBS_MAX = 10_000
"""Jobs in one enqueue request."""
DEQUEUE_JOBS_MAX = 1_000
"""Jobs in one dequeue answer."""
CONCLUDE_JOBS_MAX = 10_000
"""Jobs in one conclude request."""
DEQUEUE_PAYLOAD_BYTES_MAX = 8 * 1024 * 1024
"""Payload in one dequeue answer; a single larger job is still handed out, alone."""

LEASE_MS_DEFAULT = 300_000
LEASE_MS_MIN = 1_000
LEASE_MS_MAX = 86_400_000
ATTEMPTS_MAX_DEFAULT = 5

PRIORITY_DEFAULT = 500
"""0 is served first, 1000 last."""
PRIORITY_BY_TYPE = {"TIME_CRITICAL": 0}

SWEEP_JOBS_MAX = 1_000
"""Due leases one log entry turns into changes, so that 100,000 of them stall nobody."""
FINISHED_JOBS_MAX = 100_000
"""Concluded and dead jobs that stay readable; older ones answer 410 `gone`."""
LIVE_JOBS_MAX = 5_000_000
"""Jobs that are not finished; at the bound enqueue answers 503 `queue_full`."""

SESSIONS_MAX = 256
"""Replica incarnations remembered for exactly-once application, least recently used out first."""

KEY_CHARS_MAX = 255
"""Characters of an Idempotency-Key."""
KEY_MS = 600_000
"""How long an Idempotency-Key is remembered, and never less."""
KEYS_WEIGHT_MAX = 2_000_000
"""Keys remembered at a time, each counted once and once more for every job of its operation; at the
bound operations under new keys answer 503 `keys_full`."""
KEYS_FORGOTTEN_MAX = 64
"""Keys that are too old one operation forgets on its way, so that none of them stalls the others."""
