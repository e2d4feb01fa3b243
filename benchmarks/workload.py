"""What clients of the queue do here: scripts for the load generator, and the books they are held to.

Every script checks each answer's status, and counts jobs where it gets many. `Books` prepares jobs
for the scripts that need some, by batches, and proves at the end that none was lost or made up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import Struct

from benchmarks.load import Address, Connection, Kept, Script, Scripts, Share, WrongAnswer, body_of, expect, rendered
from cqueue.core.jobs import STATUSES
from cqueue.core.limits import DEQUEUE_JOBS_MAX, RETENTION_JOBS_DEFAULT

JOB: Final = b'{"type":"report","payload":{"to":"ada@example.org","subject":"Your report is ready","pages":17}}'
"""What is enqueued, as JSON."""


class _Handed(Struct):
    """Of a job that was handed out, what a conclude needs."""

    id: int
    lease_token: int


class _Jobs(Struct):
    jobs: list[_Handed]


class _Id(Struct):
    id: int


class _Ids(Struct):
    ids: list[int]


class _Stats(Struct):
    jobs: dict[str, int]


_encode = msgspec.json.Encoder().encode
_decode_handed = msgspec.json.Decoder(_Handed).decode
_decode_jobs = msgspec.json.Decoder(_Jobs).decode
_decode_id = msgspec.json.Decoder(_Id).decode
_decode_ids = msgspec.json.Decoder(_Ids).decode
_decode_stats = msgspec.json.Decoder(_Stats).decode


# -- requests ------------------------------------------------------------------------------------


def enqueue_request(count: int | None = None, token: str = "") -> bytes:
    """Enqueue one job, or an array of `count`."""
    body = JOB if count is None else b"[" + b",".join([JOB] * count) + b"]"
    return rendered("PUT", "/jobs/enqueue", body, token)


def dequeue_request(count: int | None = None, token: str = "") -> bytes:
    """Dequeue one job, or up to `count`."""
    return rendered("POST", "/jobs/dequeue", b"" if count is None else _encode({"count": count}), token)


def conclude_request(job: Kept, token: str = "") -> bytes:
    """Conclude one job, with its lease's token."""
    return rendered("POST", f"/jobs/{job[0]}/conclude", b'{"lease_token":%d}' % job[1], token)


def _conclude_many_request(jobs: list[_Handed]) -> bytes:
    return rendered("POST", "/jobs/conclude", _encode(_Jobs(jobs)))


def _check_concluded(answer: bytes, count: int) -> None:
    expect(answer, b"200")
    if answer.count(b'"CONCLUDED"') != count:
        raise WrongAnswer(f"not all of {count} jobs were concluded: {answer[:1000].decode(errors='replace')!r}")


# -- scripts -------------------------------------------------------------------------------------


def repeat(request: bytes, status: bytes) -> Scripts:
    """The same request again and again; each is a job."""

    def one(share: Share) -> Script:
        count = 0
        while not share.over:
            expect((yield request), status)
            count += 1
        return count, []

    return lambda share: [one(share) for _ in range(share.clients)]


def dequeue() -> Scripts:
    """Dequeue one by one until there is nothing left; passes on what it holds."""
    request = dequeue_request()

    def one(share: Share) -> Script:
        held: list[Kept] = []
        while not share.over:
            answer = yield request
            if answer[9:12] == b"204":
                break
            expect(answer, b"200")
            job = _decode_handed(body_of(answer))
            held.append((job.id, job.lease_token))
        return len(held), held

    return lambda share: [one(share) for _ in range(share.clients)]


def conclude(jobs: list[Kept]) -> Scripts:
    """Conclude `jobs` one by one; passes on those it has concluded."""

    def one(share: Share, requests: Iterator[tuple[Kept, bytes]]) -> Script:
        done: list[Kept] = []
        for job, request in requests:
            expect((yield request), b"200")
            done.append(job)
            if share.over:
                break
        return len(done), done

    def scripts(share: Share) -> list[Script]:
        own = jobs[share.number :: share.processes]
        requests = iter([(job, conclude_request(job)) for job in own])
        return [one(share, requests) for _ in range(share.clients)]

    return scripts


def lifecycle(batch: int) -> Scripts:
    """Enqueue, dequeue and conclude `batch` jobs, in three requests, again and again."""
    enqueue, take = enqueue_request(batch), dequeue_request(batch)

    def one(share: Share) -> Script:
        count = 0
        while not share.over:
            expect((yield enqueue), b"201")
            answer = yield take
            expect(answer, b"200")
            # Whoever dequeues has enqueued as much before: there is always a whole batch.
            jobs = _decode_jobs(body_of(answer)).jobs
            if len(jobs) != batch:
                raise WrongAnswer(f"{len(jobs)} jobs were handed out, there were {batch} and more")
            _check_concluded((yield _conclude_many_request(jobs)), batch)
            count += batch
        return count, []

    return lambda share: [one(share) for _ in range(share.clients)]


def lifecycle_one_by_one(token: str = "") -> Scripts:
    """Enqueue, dequeue and conclude one job, in three requests, again and again; who calls shows `token`."""
    enqueue, take = enqueue_request(token=token), dequeue_request(token=token)

    def one(share: Share) -> Script:
        count = 0
        while not share.over:
            expect((yield enqueue), b"201")
            answer = yield take
            expect(answer, b"200")
            job = _decode_handed(body_of(answer))
            expect((yield conclude_request((job.id, job.lease_token), token)), b"200")
            count += 1
        return count, []

    return lambda share: [one(share) for _ in range(share.clients)]


# -- books ---------------------------------------------------------------------------------------


class Books:
    """What the queue must hold. enqueued, concluded: jobs so far; held: jobs handed out and not concluded.

    streamed: jobs that were enqueued into a queue of their own and concluded there.
    """

    def __init__(self, addresses: list[Address]) -> None:
        self._addresses = addresses
        self._connection = Connection(addresses[-1])
        self.enqueued = 0
        self.concluded = 0
        self.streamed = 0
        self.held: list[Kept] = []

    @property
    def queued(self) -> int:
        """Jobs that wait to be handed out."""
        return self.enqueued - self.concluded - len(self.held)

    def have_queued(self, count: int) -> None:
        """See to it that at least `count` jobs wait."""
        while self.queued < count:
            answer = self._connection.exchange(enqueue_request(DEQUEUE_JOBS_MAX))
            expect(answer, b"201")
            self.enqueued += len(_decode_ids(body_of(answer)).ids)

    def have_held(self, count: int) -> None:
        """See to it that at least `count` jobs are handed out."""
        while len(self.held) < count:
            self.have_queued(1)
            self._take()

    def settle(self) -> None:
        """Conclude what is held."""
        while self.held:
            jobs, self.held = self.held[:DEQUEUE_JOBS_MAX], self.held[DEQUEUE_JOBS_MAX:]
            request = _conclude_many_request([_Handed(*job) for job in jobs])
            _check_concluded(self._connection.exchange(request), len(jobs))
            self.concluded += len(jobs)

    def close(self) -> None:
        """Empty the queue and hold every node to the books.

        Raises:
            WrongAnswer: jobs were lost, made up, or handed out twice.
        """
        self.settle()
        while self.queued:
            self._take()
            self.settle()
        last = self._connection.exchange(enqueue_request())
        expect(last, b"201")
        self.enqueued += 1
        if _decode_id(body_of(last)).id != self.enqueued + self.streamed:
            raise WrongAnswer(
                f"{self.enqueued + self.streamed} jobs were enqueued, but the last is {body_of(last).decode()}"
            )
        concluded = min(self.concluded, RETENTION_JOBS_DEFAULT) + min(self.streamed, RETENTION_JOBS_DEFAULT)
        expected = dict.fromkeys(STATUSES, 0) | {"QUEUED": 1, "CONCLUDED": concluded}
        for address in self._addresses:
            with Connection(address) as connection:
                answer = connection.exchange(rendered("GET", "/jobs/stats"))
            expect(answer, b"200")
            counted = _decode_stats(body_of(answer)).jobs
            if counted != expected:
                raise WrongAnswer(f"port {address[1]} counts {counted}; it should be {expected}")
        self._connection.socket.close()

    def _take(self) -> None:
        answer = self._connection.exchange(dequeue_request(DEQUEUE_JOBS_MAX))
        expect(answer, b"200")
        jobs = _decode_jobs(body_of(answer)).jobs
        if not jobs:
            raise WrongAnswer(f"{self.queued} jobs should be waiting, none was handed out")
        self.held += [(job.id, job.lease_token) for job in jobs]
