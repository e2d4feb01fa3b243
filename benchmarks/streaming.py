"""One client of `GET /stream` that enqueues, is pushed and concludes jobs as fast as it can, in this process.

Messages are rendered beforehand as far as can be; a WebSocket's bytes are a library's to write.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct
from websockets.sync.client import ClientConnection, connect

from benchmarks.load import ANSWER_S_MAX, Address, Result, WrongAnswer
from benchmarks.workload import JOB

QUEUE: Final = "stream"
"""A queue of its own, so that nothing else is pushed."""
CREDIT: Final = 1_000
AHEAD: Final = 2
"""Batches of `CREDIT` jobs that are enqueued before those before are concluded."""


class _Held(Struct):
    id: int
    lease_token: int


class _Message(Struct):
    """What is looked at of anything that comes."""

    event: str | None = None
    re: int | None = None
    status: int = 200
    jobs: list[_Held] = []


class _Said(Struct):
    do: str
    id: int
    body: object


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Message | list[_Message]).decode

_SUBSCRIBE, _ENQUEUE, _CONCLUDE = 0, 1, 2


def run(address: Address, seconds: float, at_go: Callable[[], None]) -> Result:
    """Whole lifecycles for so long, then those that are under way to their end.

    Args:
        address: a node's.
        seconds: how long jobs are enqueued.
        at_go: called when the client is connected and has not begun.

    Raises:
        WrongAnswer: an answer is no success, or none came.
    """
    host, port = address
    with connect(
        f"ws://{host}:{port}/stream", subprotocols=["cqueue.v1"], compression=None, max_size=None, legacy=True
    ) as stream:
        job = msgspec.json.decode(JOB) | {"queue": QUEUE}
        batch = _encode(_Said("enqueue", _ENQUEUE, [job] * CREDIT))
        stream.send(_encode(_Said("subscribe", _SUBSCRIBE, {"queue": QUEUE, "credit": CREDIT})), text=True)
        stream.recv(timeout=ANSWER_S_MAX)
        at_go()
        cpu_s, begin_s = time.process_time(), time.perf_counter()
        jobs, latencies_s = _lifecycles(stream, batch, begin_s + seconds)
        end_s = time.perf_counter()
        return Result(jobs, jobs / (end_s - begin_s), end_s - begin_s, [latencies_s], [], time.process_time() - cpu_s)


def _lifecycles(stream: ClientConnection, batch: bytes, until_s: float) -> tuple[int, list[float]]:
    """How many, and from sending each batch to the last of so many conclusions."""
    sent_s: list[float] = []
    latencies_s: list[float] = []
    concluded = 0

    unanswered: list[int] = []

    def enqueue() -> None:
        sent_s.append(time.perf_counter())
        stream.send(batch, text=True)

    for _ in range(AHEAD):
        enqueue()
    while concluded < len(sent_s) * CREDIT:
        messages = _decode(stream.recv(timeout=ANSWER_S_MAX))
        for message in messages if isinstance(messages, list) else [messages]:
            if message.status not in {200, 201}:
                raise WrongAnswer(f"message {message.re} was answered {message.status}")
            if message.jobs:
                stream.send(_encode(_Said("conclude", _CONCLUDE, {"jobs": message.jobs})), text=True)
                unanswered.append(len(message.jobs))
            elif message.re == _CONCLUDE:
                concluded += unanswered.pop(0)
                while len(latencies_s) < concluded // CREDIT:
                    latencies_s.append(time.perf_counter() - sent_s[len(latencies_s)])
            elif message.re == _ENQUEUE and time.perf_counter() < until_s:
                enqueue()
    return concluded, latencies_s
