"""A file of jobs, one JSON object a line, as bodies of requests: as many lines at a time as fit.

That a line is one JSON object is looked at here, because lines are joined to one body; whether its
fields are right is for a node to say. A line is named by its number, from 1.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec
from msgspec import Struct

from cqueue.cli.which import AT_ONCE_MAX
from cqueue.errors import Refused, Unusable

PART_BYTES_MAX: Final = 1_000_000
"""Below what a node takes in one body by default (1 MiB); where it takes less, less is sent."""


class _Object(Struct):
    """Any JSON object."""


_is_object: Final = msgspec.json.Decoder(_Object).decode


class Part(NamedTuple):
    """Lines that go at once. lines: as they are in the file; numbers: of those that are jobs, the others are empty."""

    body: bytes
    numbers: list[int]
    lines: list[bytes]

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return sum(map(len, self.lines))


class Lines:
    """The lines of a file from a place on.

    name: what it is called in errors. options: fields of every job, where its line does not say otherwise.
    """

    def __init__(self, name: str, source: BinaryIO, options: dict[str, Any]) -> None:
        self.name = name
        self.bytes_max = PART_BYTES_MAX
        self._source = source
        self._before = msgspec.json.encode(options)[:-1] if options else b""
        self._ahead: deque[bytes] = deque()

    def skip(self, lines: int, size: int) -> None:
        """Go to the place behind so many lines, which are so many bytes.

        Raises:
            Unusable: the file is shorter.
        """
        if self._source.seekable():
            there = min(self._source.seek(0, os.SEEK_END), size)
            self._source.seek(there)
        else:
            there = sum(len(self._source.readline()) for _ in range(lines))
        if there != size:
            raise Unusable(f"{self.name}: is not the file that was begun: it is shorter than what was added of it")

    def part(self, first: int, exactly: int = 0) -> Part:
        """The lines that go next. first: the number of the first; exactly: how many; 0: as many as fit.

        Raises:
            Refused: a line is no JSON object.
        """
        jobs: list[bytes] = []
        numbers: list[int] = []
        lines: list[bytes] = []
        size, readline, ahead = 2, self._source.readline, self._ahead
        while len(lines) < (exactly or AT_ONCE_MAX):
            line = ahead.popleft() if ahead else readline()
            job = line.strip()
            if job:
                size += len(job) + len(self._before) + 1
                if size > self.bytes_max and jobs and not exactly:
                    ahead.appendleft(line)
                    break
                numbers.append(first + len(lines))
                jobs.append(self._whole(job, numbers[-1]))
            elif not line:
                break
            lines.append(line)
        return Part(b"[" + b",".join(jobs) + b"]", numbers, lines)

    def put_back(self, part: Part) -> None:
        """Its lines come next again."""
        self._ahead.extendleft(reversed(part.lines))

    def _whole(self, job: bytes, number: int) -> bytes:
        try:
            _is_object(job)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refused(f"{self.name}, line {number}: no JSON object: {error}") from error
        if not self._before:
            return job
        # Of a field that is there twice the last one counts: what the line says. Source: docs/protocol.md#bodies.
        rest = job[1:].lstrip()
        return self._before + (b"" if rest.startswith(b"}") else b",") + rest
