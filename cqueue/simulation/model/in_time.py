"""What time does to the jobs of the model, a slice with every entry."""

from __future__ import annotations

from cqueue.core import limits
from cqueue.simulation.model.records import FINISHED, WAITING, Records, Words, due


class InTime(Records):
    """Leases end, delays are over, jobs expire and are forgotten, unique keys are let go of."""

    def let_time_do_its_work(self) -> None:
        """What is due, a slice of each kind: the earliest first, then by id."""
        for job in due(self.jobs, "due_ms", self.now_ms, "id"):
            if job["status"] == "IN_PROGRESS":
                self.end_lease(job)
            else:
                job["due_ms"] = 0
                self.happens(job, "become_due", "QUEUED")
        for job in due(self.jobs_of(None, *WAITING), "expires_ms", self.now_ms, "id"):
            self.finish(job, "expire", "EXPIRED")
        self.retain()
        for queue in due(self.queues, "refill_ms", self.now_ms, "name"):
            queue["refill_ms"] = None
        over = due(self.taken, "until_ms", self.now_ms, "queue", "key")
        self.taken = [key for key in self.taken if key not in over]

    def retain(self) -> None:
        """One queue forgets a slice of the finished jobs that are too many or too old."""
        late = [queue for queue in self.queues if queue["look_ms"] and queue["look_ms"] <= self.now_ms]
        if late:
            queue = min(late, key=lambda queue: (queue["look_ms"], queue["name"]))
            for _ in range(limits.SWEEP_JOBS_MAX):
                if self.should_forget(queue):
                    self.forget(self.first_finished(queue["name"]))
            self.plan_look(queue)

    def should_forget(self, queue: Words) -> bool:
        """Whether a queue keeps a finished job too many, or too long."""
        finished = self.jobs_of(queue["name"], *FINISHED)
        return len(finished) > queue["retention_jobs"] or any(
            job["finished_ms"] + queue["retention_ms"] <= self.now_ms for job in finished
        )

    def end_lease(self, job: Words) -> None:
        """A lease of n milliseconds is over n milliseconds later, not one after that."""
        if job["cancel_requested_ms"]:
            self.finish(job, "cancel", "CANCELLED")
        elif job["attempt"] >= job["max_attempts"]:
            self.finish(job, "lose_last_lease", "DEAD")
        else:
            self.wait(job, "lose_lease", "QUEUED")

    def next_due_ms(self) -> int | None:
        """When time alone changes something next."""
        times = [job["due_ms"] for job in self.jobs if job["due_ms"]]
        times += [job["expires_ms"] for job in self.jobs if job["expires_ms"] and job["status"] in WAITING]
        times += [queue["look_ms"] for queue in self.queues if queue["look_ms"] is not None]
        times += [queue["refill_ms"] for queue in self.queues if queue["refill_ms"] is not None]
        times += [key["until_ms"] for key in self.taken if key["until_ms"] is not None]
        return min(times, default=None)
