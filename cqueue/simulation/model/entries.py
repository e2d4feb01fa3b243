"""The log as the model reads it: batches of sessions, each once, and requests under a key, each once."""

from __future__ import annotations

from copy import copy, deepcopy

from cqueue.core import entry, limits
from cqueue.core.operations import Dequeue, DropQueue, Enqueue, Keyed, Operation, SetBounds, SetQueue, Within
from cqueue.core.queries import Query
from cqueue.simulation.model.lifecycle import Lifecycle, said_of
from cqueue.simulation.model.looking import look, show_queue
from cqueue.simulation.model.records import Words, show_job


class Model(Lifecycle):
    """sessions, keys: what is remembered, so that it is done once."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions: list[Words] = []
        self.batches = 0
        self.keys: list[Words] = []

    def copy(self) -> Model:
        """Another model in the same state."""
        other = copy(self)
        other.jobs = [{**job, "history": list(job["history"])} for job in self.jobs]
        other.queues = [{**queue, "events": list(queue["events"])} for queue in self.queues]
        other.sessions = [{**session, "applied": list(session["applied"])} for session in self.sessions]
        other.taken, other.keys = list(self.taken), list(self.keys)
        return other

    def query(self, query: Query, page_end: int | None = None) -> Words:
        """What the query is answered; a page of jobs may end where the machine ends it."""
        return look(self, query, page_end)

    def apply(self, index: int, data: bytes) -> list[Words] | None:
        """What the entry answers, one answer an operation; None if it is not to be applied."""
        stamp_ms, session, number, done_below, operations = entry.decode(data)
        self.index = index
        self.now_ms = max(self.now_ms, stamp_ms)
        self.let_time_do_its_work()
        if session != 0 and not self.is_new(session, number, done_below):
            return None
        return [self.perform_any(operation) for operation in operations]

    def is_new(self, session: int, number: int, done_below: int) -> bool:
        """Whether this batch of the session is applied for the first time."""
        self.batches += 1
        known = [s for s in self.sessions if s["id"] == session]
        if known:
            [state] = known
            if number < state["done_below"] or number in state["applied"]:
                return False
        elif number != 1:
            return False
        else:
            if len(self.sessions) == limits.SESSIONS_MAX:
                self.sessions.remove(min(self.sessions, key=lambda s: int(s["last_batch"])))
            state = {"id": session, "done_below": 1, "applied": []}
            self.sessions.append(state)
        state["applied"].append(number)
        state["done_below"] = max(state["done_below"], done_below)
        state["last_batch"] = self.batches
        return True

    def has_applied(self, session: int, number: int) -> bool:
        """Whether the session is remembered and says so."""
        return any(s["id"] == session and (number < s["done_below"] or number in s["applied"]) for s in self.sessions)

    # -- once under a key ----------------------------------------------------------------------

    def perform_any(self, operation: Operation) -> Words:
        """One operation's answer."""
        return self.perform_once(operation) if isinstance(operation, Keyed) else self.perform(operation)

    def perform_once(self, keyed: Keyed) -> Words:
        """What was done under the key before is only told again, from the jobs as far as they are kept."""
        self.keys = [known for known in self.keys if known["since_ms"] + limits.KEY_MS > self.now_ms]
        for known in self.keys:
            if known["key"] == keyed.key:
                if known["operation"] != keyed.operation:
                    return {"code": "key_reused"}
                return self.tell_again(known["answer"])
        weight = 1 + jobs_named(keyed.operation)
        if sum(known["weight"] for known in self.keys) + weight > limits.KEYS_WEIGHT_MAX:
            return {"code": "keys_full"}
        answer = self.perform(keyed.operation)
        if "code" not in answer and answer != {"jobs": []}:
            self.keys.append(
                {
                    "key": keyed.key,
                    "operation": keyed.operation,
                    "since_ms": self.now_ms,
                    "weight": weight,
                    "answer": deepcopy(answer),
                }
            )
        return answer

    def tell_again(self, answer: Words) -> Words:
        """The same answer; jobs that are forgotten are left out, and what was changed is told as it is now."""
        if "jobs" in answer:
            return {"jobs": [job for job in answer["jobs"] if self.find(job["id"])]}
        if "name" in answer:
            return show_queue(self, answer["name"])
        if answer.get("job"):
            job = self.find(answer["job"]["id"])
            return {**answer, "job": job and show_job(job)}
        return answer


def jobs_named(operation: Operation) -> int:
    """How many jobs an operation may touch, as far as it says so itself."""
    match operation:
        case Dequeue():
            return operation.count
        case SetQueue() | DropQueue() | SetBounds() | Keyed():
            return 0
        case Enqueue():
            return len(operation.jobs)
        case Within():
            return jobs_named(operation.operation)
        case _:
            return len(said_of(operation))
