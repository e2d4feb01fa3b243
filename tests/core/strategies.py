"""What the queue and its model are asked, made up by Hypothesis: few names and few times, so that they meet."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from cqueue.core.jobs import STATUSES, Backoff, Unique
from cqueue.core.operations import (
    Cancel,
    Conclude,
    Conclusion,
    Dequeue,
    DropQueue,
    Enqueue,
    Extend,
    Extension,
    Fail,
    FailedAttempt,
    Held,
    NewJob,
    Options,
    Progress,
    Purge,
    Redrive,
    Release,
    Report,
    SetBounds,
    SetQueue,
)
from cqueue.core.queries import ListJobs

QUEUES = ("default", "a", "b", "c")
NAMES = st.sampled_from(["default", "default", "default", "a", "a", "b", "c"])
TYPES = st.sampled_from(["TIME_CRITICAL", "mail", "é" * 128])
PAYLOADS = st.sampled_from([b"null", b'"eight."', b'["a twelve"]', b'"' + b"x" * 40 + b'"'])
RESULTS = st.sampled_from([None, b"null", b'{"sum": 3}'])
CONSUMERS = st.sampled_from([None, "ann", "bob"])
LEASES_MS = st.sampled_from([0, 1_000, 1_001, 2_000, 5_000, 86_400_000])
BACKOFFS = st.sampled_from(
    [Backoff("fixed", 1_000, 9_000), Backoff("exponential", 500, 1_000, 50), Backoff("linear", 0, 1)]
)
TAGS = st.dictionaries(st.sampled_from(["to", "tier"]), st.sampled_from(["ann", "é"]), max_size=2) | st.none()
UNIQUES = st.builds(
    Unique,
    st.sampled_from(["k", "l"]),
    st.sampled_from(["queued", "unfinished", "window"]),
    st.sampled_from([1, 2_000]),
)
STEPS_MS = st.sampled_from([0, 0, 0, 0, 1, 999, 1_000, 130_000, 86_400_000, -1, -5_000, None, None, None])
"""How far the leader's clock is from the log's time: it may be behind. None: exactly when something is due."""

options = st.builds(
    Options,
    st.sampled_from([None, None, 0, 500, 1_000]),
    st.sampled_from([0, 0, 0, 1, 1_000, 3_000]),
    st.sampled_from([0, 0, 0, 1_500]),
    st.sampled_from([0, 0, 0, 1, 1_000, 2_500]),
    LEASES_MS,
    st.sampled_from([0, 1, 2]),
    st.none() | BACKOFFS,
    st.none() | UNIQUES,
    TAGS,
)
new_jobs = st.builds(NewJob, TYPES, PAYLOADS, NAMES, st.none() | options)
enqueues = st.builds(Enqueue, st.lists(new_jobs, min_size=1, max_size=5))
dequeues = st.builds(
    Dequeue,
    st.integers(1, 4),
    LEASES_MS,
    CONSUMERS,
    st.lists(NAMES, min_size=1, max_size=3).map(tuple),
    st.none() | st.lists(TYPES, min_size=1, max_size=2).map(tuple),
    TAGS,
)
set_queues = st.builds(
    SetQueue,
    NAMES,
    st.sampled_from([None, None, None, True, False]),
    st.sampled_from([None, None, None, True, False]),
    st.none() | st.sampled_from([1_000, 300_000]),
    st.none() | st.sampled_from([1, 2, 5]),
    st.none() | BACKOFFS,
    st.sampled_from([None, {}, {"mail": 7}, {"TIME_CRITICAL": 0}]),
    st.sampled_from([None, 0, 4]),
    st.sampled_from([None, None, 1, 2, 100_000]),
    st.sampled_from([None, 1_000, 604_800_000]),
    st.sampled_from([None, 0, 1, 2]),
    st.sampled_from([None, None, 0, 300, 1_500]),
    st.sampled_from([None, 0, 1, 3]),
)
about_queues = st.one_of(
    set_queues,
    st.builds(DropQueue, NAMES),
    st.builds(SetBounds, st.sampled_from([4, 12, 12]), st.sampled_from([1_200, 6_000, 1_000_000, 1_000_000])),
)
queries = st.builds(
    ListJobs,
    st.integers(0, 9),
    st.sampled_from([0, 0, 3, 99]),
    st.integers(1, 5),
    st.none() | NAMES,
    st.lists(st.sampled_from(STATUSES), max_size=3).map(tuple),
    st.lists(TYPES, max_size=2).map(tuple),
    TAGS,
    st.sampled_from([0, 1_000]),
    st.sampled_from([0, 0, 2_000]),
    st.booleans(),
)


Who = tuple[str, int, str]
"""A job and a token: how it is chosen, the how manieth of those, and whose token is shown."""
whos = st.tuples(
    st.sampled_from(["held", "held", "held", "kept", "kept", "any"]),
    st.integers(0, 15),
    st.sampled_from(["its", "its", "its", "none", "none", "older"]),
)
held = st.tuples(st.just("held"), st.integers(0, 15), st.just("its"))
kept = st.tuples(st.sampled_from(["kept", "kept", "kept", "any"]), st.integers(0, 15), st.just("none"))
waits_ms = st.sampled_from([None, None, 0, 1, 1_000])
errors = st.sampled_from([None, "broken", "é"])


def several(*each: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """One to three of them."""
    return st.lists(st.tuples(*each), min_size=1, max_size=3)


sayings = st.one_of(
    st.tuples(st.just(Conclude), st.just(Conclusion), several(whos, RESULTS)),
    st.tuples(st.just(Conclude), st.just(Conclusion), several(held, RESULTS)),
    st.tuples(st.just(Fail), st.just(FailedAttempt), several(whos, errors, st.booleans(), waits_ms)),
    st.tuples(st.just(Fail), st.just(FailedAttempt), several(held, errors, st.booleans(), waits_ms)),
    st.tuples(st.just(Release), st.just(Held), several(whos)),
    st.tuples(st.just(Extend), st.just(Extension), several(whos, LEASES_MS)),
    st.tuples(st.just(Progress), st.just(Report), several(whos, st.none() | st.integers(0, 100), errors)),
    st.tuples(st.just(Cancel), st.none(), several(held)),
    st.tuples(st.just(Cancel), st.none(), several(kept)),
    st.tuples(st.just(Redrive), st.none(), several(kept)),
    st.tuples(st.just(Purge), st.none(), several(kept)),
)
"""(operation, shape of one item, [(who, details ...)]): what is said of jobs, before one knows which there are."""
REACHES = st.sampled_from([(), ("*",), ("a",), ("d*", "b"), ("*a*t",), ("d*f*t", "c")])
anything = st.one_of(enqueues, dequeues, sayings, sayings, about_queues)
keyable = st.one_of(enqueues, dequeues, sayings, set_queues, st.builds(DropQueue, NAMES))
