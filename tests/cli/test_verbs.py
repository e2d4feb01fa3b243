"""The commands that add jobs, work on them, look at them and intervene, with a node."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from cqueue import testing
from cqueue.cli import exits
from cqueue.testing import LocalQueue
from tests.cli.running import Said, run


@pytest.fixture
def q() -> Iterator[LocalQueue]:
    """An empty queue, for one test."""
    with testing.queue() as queue:
        yield queue


def at(q: LocalQueue, *words: object, stdin: str | None = None) -> Said:
    """Run a command with this queue."""
    return run(*words, node=q.address, stdin=stdin)


def good(said: Said) -> Said:
    """It did what was asked, and had nothing else to say."""
    assert (said.exit_code, said.stderr) == (exits.DONE, "")
    return said


def answered(q: LocalQueue, path: str) -> str:
    """What the node says itself."""
    with urllib.request.urlopen(f"http://{q.address}{path}") as answer:
        return str(answer.read().decode()).rstrip("\n")


def test_a_payload_leaves_as_it_was_typed(q: LocalQueue) -> None:
    """Spaces, big figures and all: it is not read and written anew."""
    payload = '{"b": 1,  "a": 123456789012345678901234567890}'
    assert good(at(q, "enqueue", payload)).stdout == "1\n"
    assert f'"payload":{payload}' in good(at(q, "show", 1, "--json")).stdout


def test_a_job_without_a_payload_and_one_with_a_text(q: LocalQueue) -> None:
    """`null`, and a string that need not be quoted twice."""
    good(at(q, "enqueue"))
    good(at(q, "enqueue", "--text", 'say "hi"'))
    good(at(q, "enqueue", "-", stdin='[1, "two"]'))
    assert [job.payload for job in q.iter_jobs()] == [None, 'say "hi"', [1, "two"]]


def test_what_is_no_json_is_refused_before_a_node_is_asked(q: LocalQueue) -> None:
    """With a word on how to send a text."""
    said = at(q, "enqueue", "hello")
    assert said.exit_code == exits.USAGE
    assert "--text" in said.stderr
    assert q.stats().total == 0


def test_every_option_of_enqueue_reaches_the_job(q: LocalQueue) -> None:
    """As the fields of the protocol that they are named after."""
    options = "--queue mail --type receipt --priority 7 --delay-seconds 60 --expires-in-seconds 600 --lease-seconds 9"
    more = "--max-attempts 2 --unique-key k --unique-scope queued --tag a:1 --tag b:x:y"
    assert good(at(q, "enqueue", "1", *options.split(), *more.split(), "--json")).values == [{"id": 1}]

    job = q.get(1)
    assert (job.queue, job.type, job.priority, job.status, job.max_attempts) == ("mail", "receipt", 7, "SCHEDULED", 2)
    assert (job.unique_key, job.tags) == ("k", {"a": "1", "b": "x:y"})
    assert job.expires_at is not None


def test_several_payloads_are_added_all_or_none(q: LocalQueue) -> None:
    """An id each, in their order."""
    assert good(at(q, "enqueue", 1, 2, 3)).rows == [["1"], ["2"], ["3"]]
    assert good(at(q, "enqueue", 4, 5, "--json")).values == [{"id": 4}, {"id": 5}]
    assert at(q, "enqueue", 6, 7, "--priority", -1).exit_code == exits.REFUSED
    assert q.stats().total == 5


def test_a_duplicate_is_told_and_no_error(q: LocalQueue) -> None:
    """The id is that of the job that has the key."""
    good(at(q, "enqueue", "--unique-key", "k"))
    said = at(q, "enqueue", "--unique-key", "k")
    assert (said.exit_code, said.stdout) == (exits.DONE, "1\n")
    assert "nothing was added" in said.stderr
    assert good(at(q, "enqueue", "--unique-key", "k", "--json")).values == [{"id": 1, "duplicate": True}]


def test_a_key_makes_one_of_two_calls(q: LocalQueue) -> None:
    """The second is answered as the first."""
    for _ in range(2):
        assert good(at(q, "enqueue", "--idempotency-key", "once")).stdout == "1\n"


def test_a_dequeued_job_is_a_line_of_fields(q: LocalQueue) -> None:
    """Id, lease token, type, queue, payload, between tabs."""
    q.enqueue({"n": 1}, type="A", queue="mail", tags={"t": "1"})
    wish = "--queue mail --type A --tag t:1 --lease-seconds 60 --consumer me"
    assert good(at(q, "dequeue", *wish.split())).rows == [["1", "1", "A", "mail", '{"n":1}']]
    assert q.get(1).consumer == "me"


def test_no_job_has_an_exit_code_of_its_own(q: LocalQueue) -> None:
    """And nothing on stdout, with `--count` and without it."""
    for words in (["dequeue"], ["dequeue", "--count", "3", "--json"]):
        said = at(q, *words)
        assert (said.exit_code, said.stdout, said.stderr) == (exits.NOTHING, "", "there is no job\n")


def test_json_of_one_is_what_the_node_said(q: LocalQueue) -> None:
    """Byte for byte."""
    q.enqueue({"a": 1.50})
    q.enqueue()
    assert good(at(q, "dequeue", "--json")).stdout.rstrip("\n") == answered(q, "/jobs/1")
    assert good(at(q, "show", 1, "--json")).stdout.rstrip("\n") == answered(q, "/jobs/1")
    assert good(at(q, "show", 1, "--history", "--json")).stdout.rstrip("\n") == answered(q, "/jobs/1/history")
    assert good(at(q, "explain", 2, "--json")).stdout.rstrip("\n") == answered(q, "/jobs/2/explain")
    assert good(at(q, "stats", "--json")).stdout.rstrip("\n") == answered(q, "/jobs/stats")
    assert good(at(q, "queues", "default", "--json")).values[0].keys() == q_json(q, "/queues/default").keys()


def q_json(q: LocalQueue, path: str) -> Any:
    """What the node says itself, read."""
    return json.loads(answered(q, path))


def test_json_of_many_is_a_line_for_each(q: LocalQueue) -> None:
    """Each as the node has it in its list."""
    q.enqueue_many([{"payload": n, "queue": "mail"} for n in range(3)])
    q.enqueue()
    assert good(at(q, "list", "--json")).values == q_json(q, "/jobs")["jobs"]
    assert [queue["name"] for queue in good(at(q, "queues", "--json")).values] == ["default", "mail"]
    assert [job["payload"] for job in good(at(q, "dequeue", "--count", 5, "--queue", "mail", "--json")).values] == [
        0,
        1,
        2,
    ]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["conclude", "{job}", "--result", "[true]"], "CONCLUDED"),
        (["fail", "{job}", "--error", "no", "--retry-in-seconds", "5"], "SCHEDULED"),
        (["fail", "{job}", "--dead"], "DEAD"),
        (["release", "{job}"], "QUEUED"),
        (["extend", "{job}", "--lease-seconds", "60"], "IN_PROGRESS"),
    ],
    ids=["conclude", "fail", "fail for good", "release", "extend"],
)
@pytest.mark.parametrize("named", ["{id}", "{id}:{token}"])
def test_a_held_job_is_settled_with_its_token_or_without(
    q: LocalQueue, words: list[str], status: str, named: str
) -> None:
    """One line: its id, and what it is now."""
    q.enqueue()
    job = q.dequeue()
    assert job is not None
    spoken = [word.format(job=named.format(id=job.id, token=job.lease_token)) for word in words]
    assert good(at(q, *spoken)).rows == [["1", status]]
    assert q.get(1).status == status


def test_a_lost_lease_is_refused(q: LocalQueue) -> None:
    """With exit code 1 and the node's own words."""
    q.enqueue()
    q.dequeue()
    said = at(q, "conclude", "1:99")
    assert (said.exit_code, said.stdout) == (exits.REFUSED, "")
    assert said.stderr.endswith("(lease_lost)\n")


def test_many_are_settled_at_once_and_one_that_cannot_be_makes_the_exit_code(q: LocalQueue) -> None:
    """The others are done; each has its line."""
    q.enqueue_many([{}, {}])
    q.dequeue_many(2)
    said = at(q, "conclude", "1", "2", "9", "--result", "7")
    assert said.exit_code == exits.REFUSED
    assert said.rows == [["1", "CONCLUDED"], ["2", "CONCLUDED"], ["9", "not_found"]]
    assert q.get(2).result == 7
    assert good(at(q, "conclude", "1", "2", "--json")).values == [
        {"id": 1, "status": "CONCLUDED"},
        {"id": 2, "status": "CONCLUDED"},
    ]


def test_ids_come_from_stdin_too(q: LocalQueue) -> None:
    """The first word of each line: what another command printed."""
    q.enqueue_many([{}, {}, {}])
    q.dequeue_many(3)
    listed = good(at(q, "list")).stdout
    assert [row[1] for row in good(at(q, "release", "-", stdin=listed)).rows] == ["QUEUED"] * 3


@pytest.mark.parametrize("word", ["x", "0", "-1", "1:", "1:x", "9223372036854775808", "\uff11"])
def test_what_is_no_id_is_wrong_usage(word: str) -> None:
    """It is named, and no node is asked."""
    said = run("conclude", "--", word)
    assert said.exit_code == exits.USAGE
    assert "is no ID" in said.stderr


def test_jobs_are_cancelled_redriven_and_purged_by_id(q: LocalQueue) -> None:
    """One is not asked about; a purge says nothing when it is done."""
    q.enqueue_many([{}, {}])
    job = q.dequeue()
    assert job is not None
    q.fail(job, retryable=False)
    assert good(at(q, "redrive", 1)).rows == [["1", "QUEUED"]]
    assert good(at(q, "cancel", 2)).rows == [["2", "CANCELLED"]]
    assert good(at(q, "purge", 2)).stdout == ""
    assert at(q, "show", 2).exit_code == exits.REFUSED
    assert q.stats().total == 1


def test_jobs_are_cancelled_redriven_and_purged_by_what_they_are(q: LocalQueue) -> None:
    """It prints how many fitted."""
    q.enqueue_many([{"queue": "mail", "type": "A", "tags": {"t": "1"}}, {"queue": "mail"}, {}])
    assert good(at(q, "cancel", "--queue", "mail", "--type", "A", "--tag", "t:1", "--yes")).stdout == "1\n"
    assert good(at(q, "cancel", "--created-before", "2999-01-01T00:00:00Z", "--yes", "--json")).values == [
        {"matched": 2, "done": True}
    ]
    assert good(at(q, "purge", "--status", "CANCELLED", "--yes")).stdout == "3\n"
    assert good(at(q, "redrive", "--queue", "mail", "--yes")).stdout == "0\n"


@pytest.mark.parametrize("verb", ["cancel", "redrive", "purge"])
def test_many_are_not_touched_where_nobody_can_be_asked(q: LocalQueue, verb: str) -> None:
    """It says which word is missing."""
    q.enqueue()
    for words in (["--queue", "default"], ["1", "2"]):
        said = at(q, verb, *words)
        assert said.exit_code == exits.USAGE
        assert "--yes" in said.stderr
    assert q.get(1).status == "QUEUED"


def test_ids_and_a_filter_do_not_go_together(q: LocalQueue) -> None:
    """Nor does neither of them: nothing means everything."""
    assert at(q, "purge", 1, "--queue", "mail", "--yes").exit_code == exits.USAGE
    assert at(q, "purge", "--yes").exit_code == exits.USAGE


def test_a_list_has_what_fits_up_to_its_limit(q: LocalQueue) -> None:
    """All of it with `--all`, over several pages."""
    q.enqueue_many([{"payload": n, "type": "A"} for n in range(1_200)])
    q.enqueue()
    assert len(good(at(q, "list")).rows) == 50
    assert len(good(at(q, "list", "--limit", 1_100)).rows) == 1_100
    assert len(good(at(q, "list", "--all", "--type", "A", "--status", "queued")).rows) == 1_200
    assert good(at(q, "list", "--status", "DEAD")).rows == []
    first = good(at(q, "list", "--limit", 1, "--stale")).rows[0]
    assert (first[:5], first[6]) == (["1", "QUEUED", "default", "A", "0"], "0")


def test_what_a_job_brings_does_not_begin_a_line_or_move_a_cursor(q: LocalQueue) -> None:
    """Tabs, line breaks and escape sequences are shown by their names."""
    q.enqueue("a\tb\n\x1b[31m")
    (row,) = good(at(q, "list")).rows
    assert row[6] == r"a\tb\n\x1b[31m"


def test_a_job_is_shown_with_what_applies_to_it(q: LocalQueue) -> None:
    """A line for each field, its failed attempts included."""
    q.enqueue({"n": 1})
    job = q.dequeue()
    assert job is not None
    q.progress(job, percent=40, note="half")
    assert ["progress", "40 % half"] in good(at(q, "show", 1)).rows
    q.fail(job, error="no mailbox")
    shown = dict(good(at(q, "show", 1)).rows)
    assert (shown["payload"], shown["status"]) == ('{"n":1}', "SCHEDULED")
    assert "no mailbox" in shown["attempt 1"]
    assert [row[1] for row in good(at(q, "show", 1, "--history")).rows] == ["enqueue", "hand_out", "retry"]


def test_show_waits_for_a_job_to_be_finished(q: LocalQueue) -> None:
    """For so long, then it is shown as it is."""
    q.enqueue()
    assert good(at(q, "show", 1, "--wait", 0.01, "--json")).values[0]["status"] == "QUEUED"


def test_it_is_explained_why_a_job_does_not_run(q: LocalQueue) -> None:
    """In words."""
    q.enqueue_many([{}, {}, {"delay_seconds": 60}])
    whys = [row[2] for row in good(at(q, "explain", 1, 2, 3)).rows]
    assert whys == ["nothing is before it: it waits for a consumer", "1 before it", "it is for later"]


def test_jobs_are_counted_by_queue_and_status(q: LocalQueue) -> None:
    """And in total."""
    q.enqueue_many([{"queue": "a"}, {"queue": "b"}])
    assert [row[:3] for row in good(at(q, "stats")).rows] == [["a", "0", "1"], ["b", "0", "1"], ["total", "0", "2"]]


def test_queues_are_paused_and_resumed(q: LocalQueue) -> None:
    """Several at once; each is shown as it is then."""
    q.enqueue(queue="mail")
    assert [row[-1] for row in good(at(q, "pause", "mail", "sms")).rows] == ["paused", "paused"]
    assert ["paused", "yes"] in good(at(q, "queues", "mail")).rows
    assert good(at(q, "resume", "mail", "--json")).values[0]["paused"] is False
    assert good(at(q, "queues")).rows[0][:4] == ["mail", "1", "0", "0"]
