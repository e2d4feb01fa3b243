"""The web as a running process, and a client to talk to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from tests.contract import answers
from tests.support import eventually
from tests.web.replica import StandInReplica

ANSWER_S = 30
"""How long a test waits for an answer before it gives up."""


@dataclass(frozen=True)
class Reply:
    """One answer. `headers` are looked up without regard to case."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        """The body as Python values."""
        return json.loads(self.body)

    @property
    def index(self) -> int:
        """The log index the answer reflects."""
        return int(self.headers["X-Cqueue-Index"])


@dataclass
class Web:
    """A gunicorn master in front of `replica`, with one worker unless `settings` say otherwise.

    Its log is at `log_path`; `environ` comes on top of this process's own.
    """

    replica: StandInReplica
    directory: Path
    settings: dict[str, int | str] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    port: int = 0

    def start(self) -> None:
        """Start the process and wait until it answers."""
        self.log_path = self.directory / "web.log"
        with socket.socket() as listener, self.log_path.open("wb") as log:
            listener.bind(("127.0.0.1", 0))
            listener.listen(128)
            self.port = listener.getsockname()[1]
            values = [f"{name}={value}" for name, value in ({"workers": 1} | self.settings).items()]
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.web.serve", str(listener.fileno()), str(self.replica.path), *values],
                pass_fds=[listener.fileno()],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=os.environ | self.environ,
            )
        self.pool = urllib3.HTTPConnectionPool("127.0.0.1", self.port, maxsize=16, retries=False, timeout=ANSWER_S)
        eventually(self.is_up, within_s=ANSWER_S, ignoring=urllib3.exceptions.HTTPError)

    def is_up(self) -> bool:
        """Whether it answers at all."""
        return self.request("GET", "/livez").status == 200

    def stop(self) -> int:
        """End it with SIGTERM if it still runs; its exit status."""
        self.pool.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(ANSWER_S)

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.log_path.read_text(encoding="utf-8")

    def worker_pids(self) -> list[int]:
        """The pids of the web processes."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """One request, exactly as given. Its answer is one that the contract has, or the test fails."""
        answer = self.pool.request(method, path, body=body, headers=headers or {}, redirect=False)
        if self.replica.failure is None and self.replica.garbage is None:
            # What a replica is made to say here no real one may say to this call.
            answers.check(method, path, answer.status, answer.headers, answer.data)
        return Reply(answer.status, answer.headers, answer.data)

    def send(self, method: str, path: str, value: Any = None, **headers: str) -> Reply:
        """One request with `value` as its JSON body, if there is one; `consumer_id=` is `Consumer-Id:`."""
        lines = {name.replace("_", "-"): text for name, text in headers.items()}
        if value is None:
            return self.request(method, path, None, lines)
        return self.request(method, path, json.dumps(value).encode(), lines | {"Content-Type": "application/json"})

    # -- the calls, for tests that are about something else ---------------------------------------

    def given_jobs(self, count: int = 1, **fields: Any) -> list[int]:
        """Enqueue `count` equal jobs; their ids."""
        ids: list[int] = self.send("PUT", "/jobs/enqueue", [fields] * count).json["ids"]
        return ids

    def given_job_in_progress(self, **fields: Any) -> dict[str, Any]:
        """Enqueue one job and hand it out; the job."""
        self.given_jobs()
        job: dict[str, Any] = self.send("POST", "/jobs/dequeue", fields).json
        return job
