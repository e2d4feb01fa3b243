"""Every bound that all replicas must agree on, with its unit as the name's end.

They are constants of the log format, not settings of a node: two replicas that disagreed on
one of them would decide the same log differently. Per-node limits live in `cqueue.config`; the
cluster's bounds on jobs and bytes travel in the log (`operations.SetBounds`).
"""

from __future__ import annotations

from cqueue.core.jobs import Backoff

TYPE_CHARS_MAX = 128
QUEUE_CHARS_MAX = 128
CONSUMER_CHARS_MAX = 128
UNIQUE_KEY_CHARS_MAX = 255
ERROR_CHARS_MAX = 4_096
"""Of the error that `fail` carries."""
NOTE_CHARS_MAX = 1_024
"""Of the note that `progress` carries."""
TAGS_MAX = 16
"""Tags of one job."""
TAG_CHARS_MAX = 128
"""Of a tag's name, and of its value."""

ENQUEUE_JOBS_MAX = 10_000
"""Jobs in one enqueue request."""
DEQUEUE_JOBS_MAX = 1_000
"""Jobs in one dequeue answer."""
DEQUEUE_NAMES_MAX = 64
"""Queues, and types, that one dequeue may name."""
SETTLE_JOBS_MAX = 10_000
"""Jobs in one conclude, fail, release, extend, progress, cancel, redrive or purge request."""
DEQUEUE_PAYLOAD_BYTES_MAX = 8 * 1024 * 1024
"""What the jobs of one answer carry: payloads, results, tags, errors and notes; a single larger job comes alone."""
PAGE_JOBS_MAX = 1_000
"""Jobs, or queues, in one page of a list."""
LOOK_JOBS_MAX = 10_000
"""Ids, or changes, one query looks at, so that a list of few among many stalls nobody."""
FEED_CHANGES_MAX = 1_000
"""Changes told at a time to someone who follows them."""
TAGGED_JOBS_SKIPPED_MAX = 1_000
"""Jobs a dequeue with several tags, or tags and types, passes over before it takes nothing more."""

QUEUES_MAX = 10_000
"""Queues; one that has no jobs and the default settings does not count, it is forgotten."""
QUEUE_PRIORITIES_MAX = 100
"""Types that a queue sets a priority for."""

LEASE_MS_DEFAULT = 300_000
LEASE_MS_MIN = 1_000
LEASE_MS_MAX = 86_400_000
ATTEMPTS_MAX_DEFAULT = 5
ATTEMPTS_MAX_MAX = 1_000
"""The most that `max_attempts` may be."""
CHANGES_KEPT_MAX = 50
"""Changes of one job that are remembered, the newest."""
DELAY_MS_MAX = 366 * 86_400_000
"""Of `delay_seconds`, `retry_in_seconds`, `expires_in_seconds`, a backoff and a unique key's window."""
BACKOFF_DEFAULT = Backoff("exponential", 1_000, 3_600_000, 10)

PRIORITY_DEFAULT = 500
"""0 is served first, PRIORITY_MAX last."""
PRIORITY_MAX = 1_000
PRIORITY_BY_TYPE = {"TIME_CRITICAL": 0}

SWEEP_JOBS_MAX = 1_000
"""Due jobs one log entry turns into changes, so that 100,000 of them stall nobody."""
RETENTION_JOBS_DEFAULT = 100_000
"""Finished jobs of a queue that stay readable; older ones answer 410 `gone`."""
RETENTION_MS_DEFAULT = 7 * 86_400_000
RETENTION_MS_MAX = 3_660 * 86_400_000
JOBS_MAX_DEFAULT = 5_000_000
"""Jobs that are not finished; at the bound enqueue answers 503 `queue_full`."""
BYTES_MAX_DEFAULT = 8 * 1024 * 1024 * 1024
"""Payloads, results and JOB_BYTES a job; finished jobs are forgotten first, then enqueue answers 503."""
JOB_BYTES = 512
"""What a job is taken to cost beside its payload and result."""

ROOM_JOBS_MAX = 10_000
"""Finished jobs that one enqueue forgets to make room, at most."""
UNIQUE_KEYS_MAX = 5_000_000
"""Unique keys taken at a time."""

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
