"""`GET /stream`: what goes over one WebSocket, and what ends it."""

from __future__ import annotations

import json
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import gevent
import gevent.socket
import msgspec
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame
from websockets.protocol import CLIENT, Protocol

from cqueue import protocol
from cqueue.web.conversation import OPEN_MESSAGES_MAX, STALLED
from cqueue.web.outbox import FRAME_BYTES, Outbox
from cqueue.web.shapes.stream import Json
from cqueue.web.websocket import WebSocket
from tests.support import eventually
from tests.web.replica import StandInReplica
from tests.web.stream import JSON, MSGPACK, StreamClient
from tests.web.web import ANSWER_S, Web

SILENCE_S = 1
HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": JSON,
}


@pytest.fixture
def impatient_web(own_replica: StandInReplica) -> Iterator[Web]:
    """A web that soon doubts whether a WebSocket is there."""
    web = Web(own_replica, own_replica.path.parent, {"stream_silence_s": SILENCE_S, "body_bytes_max": 8 * 1024 * 1024})
    try:
        web.start()
        eventually(lambda: web.send("GET", "/readyz").status == 200)
        yield web
    finally:
        web.stop()


def given_raw_stream(web: Web, receives_bytes: int = 0) -> socket.socket:
    """A WebSocket without a client's library: after the handshake, bytes are the test's own."""
    connection = socket.socket()
    if receives_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives_bytes)
    connection.settimeout(ANSWER_S)
    connection.connect(("127.0.0.1", web.port))
    lines = "".join(f"{name}: {value}\r\n" for name, value in HANDSHAKE.items())
    connection.sendall(f"GET /stream HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += connection.recv(1)
    assert answer.startswith(b"HTTP/1.1 101 ")
    return connection


def frame_of(payload: bytes, opcode: int = 1, *, announced: int | None = None) -> bytes:
    """A frame of a client's, masked with zeros; `announced`: the length it claims to have (RFC 6455, 5.2)."""
    return (
        struct.pack(">BBQI", 0x80 | opcode, 0x80 | 127, len(payload) if announced is None else announced, 0) + payload
    )


def close_code_of(connection: socket.socket) -> int:
    """The code of the close frame that ends what is read from here on."""
    data = b""
    while part := connection.recv(65536):
        data += part
    start = data.rindex(b"\x88")
    return int(struct.unpack_from(">H", data, start + 2)[0])


# -- what it is for ------------------------------------------------------------------------------


@pytest.mark.parametrize("subprotocol", [JSON, MSGPACK])
def test_one_connection_produces_and_consumes(web: Web, subprotocol: str) -> None:
    """A job goes in, comes out and is concluded, in both ways of writing it down."""
    with StreamClient(web.port, subprotocol, headers={"Consumer-Id": "mailer-1"}) as client:
        assert client.ask("subscribe", {"credit": 5})["body"] == {"credit": 5, "grace_seconds": 10}
        enqueued = client.ask("enqueue", [{"payload": {"to": "ada", "n": [1, 2.5, None, "ü"]}}, {"type": "B"}])
        assert (enqueued["status"], enqueued["body"]) == (201, {"ids": [1, 2]})
        jobs = client.jobs(2)
        assert [(job["id"], job["type"], job["consumer"]) for job in jobs] == [
            (1, "NOT_TIME_CRITICAL", "mailer-1"),
            (2, "B", "mailer-1"),
        ]
        assert jobs[0]["payload"] == {"to": "ada", "n": [1, 2.5, None, "ü"]}
        said = [{"id": job["id"], "lease_token": job["lease_token"], "result": job["id"]} for job in jobs]
        concluded = client.ask("conclude", {"jobs": said})
        assert concluded["status"] == 200
        assert concluded["index"] > enqueued["index"]
        assert [line["status"] for line in concluded["body"]["results"]] == ["CONCLUDED"] * 2
    assert web.send("GET", "/jobs/2").json["result"] == 2


def test_every_verb_answers_what_it_does_over_http(web: Web) -> None:
    """A job is extended, told of, failed, redriven, released, cancelled and purged, each in one message."""
    with StreamClient(web.port) as client:
        assert client.ask("enqueue", {"max_attempts": 1})["body"] == {"id": 1}
        client.ask("subscribe", {"credit": 1})
        assert [job["id"] for job in client.jobs(1)] == [1]
        client.ask("subscribe", {"credit": 0})
        assert client.ask("extend", {"jobs": [{"id": 1, "lease_seconds": 60}]})["status"] == 200
        assert client.ask("progress", {"jobs": [{"id": 1, "percent": 40}]})["status"] == 200
        assert web.send("GET", "/jobs/1").json["progress"]["percent"] == 40
        told = [
            client.ask("fail", {"jobs": [{"id": 1, "error": "no"}]}),
            client.ask("redrive", {"ids": [1]}),
            client.ask("release", {"ids": [1]}),
            client.ask("cancel", {"ids": [1]}),
            client.ask("purge", {"ids": [1]}),
        ]
    lines = [answer["body"]["results"][0] for answer in told]
    assert [line.get("status", line.get("code")) for line in lines] == [
        "DEAD",
        "QUEUED",
        "not_in_progress",
        "CANCELLED",
        "CANCELLED",
    ]


def test_many_messages_of_one_frame_are_each_answered(web: Web) -> None:
    """They are done in their order; one that is wrong does not hold up the next."""
    with StreamClient(web.port) as client:
        messages = [client.message("enqueue", {"payload": number}) for number in range(100)]
        messages[50] = client.message("enqueue", {"payload": 1, "typ": "x"})
        client.send(messages)
        frames: list[list[dict[str, Any]]] = []
        while sum(map(len, frames)) < 100:
            frames.append(client.frame())
        answers = {answer["re"]: answer for frame in frames for answer in frame}
    wrong = answers.pop(messages[50]["id"])
    assert (wrong["status"], wrong["body"]["code"], wrong["body"]["pointer"]) == (422, "invalid_field", "/typ")
    assert [answers[message["id"]]["body"]["id"] for message in messages if message["id"] in answers] == [
        *range(1, 100)
    ]


def test_what_has_gathered_goes_out_in_one_frame() -> None:
    """Up to a size; the rest is the next frame."""
    here, there = gevent.socket.socketpair()
    with here, there:
        socket = WebSocket(here, is_binary=False, message_bytes_max=1_024, silence_s=ANSWER_S)
        outbox = Outbox(socket, Json(), lambda: None)
        for number in range(100):
            outbox.put({"number": number})
        outbox.put({"text": "x" * FRAME_BYTES})
        outbox.put({"number": 100})
        writer = gevent.spawn(outbox.write)
        frames = Protocol(CLIENT, max_size=None)
        received: list[Any] = []
        while len(received) < 3:
            frames.receive_data(there.recv(65_536))
            received += [json.loads(frame.data) for frame in frames.events_received() if isinstance(frame, Frame)]
        writer.kill()
    assert received[0] == [{"number": number} for number in range(100)]
    assert received[1:] == [{"text": "x" * FRAME_BYTES}, {"number": 100}]
    assert not outbox


def test_a_key_makes_a_message_safe_to_send_again(web: Web) -> None:
    """Also over another connection, and over HTTP."""
    with StreamClient(web.port) as client, StreamClient(web.port) as other:
        first = client.ask("enqueue", {"payload": 1}, key="k-1")
        assert other.ask("enqueue", {"payload": 1}, key="k-1")["body"] == first["body"]
        assert other.ask("enqueue", {"payload": 2}, key="k-1")["body"]["code"] == "key_reused"
        assert client.ask("enqueue", {"payload": 2}, key="")["body"]["pointer"] == "/key"
    assert web.send("PUT", "/jobs/enqueue", {"payload": 1}, Idempotency_Key="k-1").json == first["body"]


def test_a_filter_goes_over_http(web: Web) -> None:
    """It is many operations, and a message is one."""
    with StreamClient(web.port) as client:
        answer = client.ask("cancel", {"filter": {"queue": "default"}})
    assert (answer["status"], answer["body"]["pointer"]) == (422, "/filter")


# -- credit --------------------------------------------------------------------------------------


def test_credit_is_what_a_client_may_hold(web: Web) -> None:
    """Neither more nor, for long, less: what is settled makes room for as many."""
    web.given_jobs(10)
    with StreamClient(web.port) as client:
        client.ask("subscribe", {"credit": 3})
        held = [job["id"] for job in client.jobs(3)]
        client.ask("progress", {"jobs": [{"id": held[0], "percent": 1}]})
        assert web.send("GET", "/jobs/stats").json["queues"]["default"]["IN_PROGRESS"] == 3
        client.ask("conclude", {"ids": held[:2]})
        assert [job["id"] for job in client.jobs(2)] == [4, 5]
        client.ask("subscribe", {"credit": 0})
        client.ask("conclude", {"ids": [3, 4, 5]})
        client.ask("subscribe", {"credit": 1})
        assert [job["id"] for job in client.jobs(1)] == [6]


def test_a_subscription_replaces_the_one_before(web: Web) -> None:
    """What it waited for is not pushed any more."""
    with StreamClient(web.port) as client:
        client.ask("subscribe", {"credit": 1, "queue": "a"})
        eventually(lambda: web.replica.parked == 1)
        client.ask("subscribe", {"credit": 1, "queues": ["b", "c"], "types": ["T"]})
        web.given_jobs(queue="a")
        web.given_jobs(queue="c", type="S")
        (job_id,) = web.given_jobs(queue="c", type="T")
        assert [job["id"] for job in client.jobs(1)] == [job_id]


def test_a_job_whose_lease_is_over_makes_room(web: Web) -> None:
    """Even if the client never says a word of it: it is not its job any more."""
    web.given_jobs(2)
    with StreamClient(web.port) as client:
        client.ask("subscribe", {"credit": 1, "lease_seconds": 1})
        attempts = [client.jobs(1)[0]["attempt"] for _ in range(2)]
    assert attempts == [1, 2]


def test_jobs_that_cannot_be_had_are_announced_and_come_later(web: Web) -> None:
    """One word when it begins, and no other until jobs came again."""
    web.replica.failure = protocol.UNAVAILABLE, protocol.Failure("no_leader", "no leader", 1)
    with StreamClient(web.port) as client:
        client.ask("subscribe", {"credit": 1})
        assert client.event("interrupted")["body"]["code"] == "no_leader"
        answer = client.ask("enqueue", {})
        assert (answer["status"], answer["retry_after"], answer["body"]["code"]) == (503, 1, "no_leader")
        web.replica.failure = None
        client.ask("enqueue", {})
        assert client.frame()[0]["event"] == "jobs"


# -- what does not belong --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "code", "reason"),
    [
        ("{", 4400, "invalid_json: "),
        ('[{"do": "enqueue", "id": 1}, NaN]', 4400, "invalid_json: "),
        ("7", 4422, "invalid_field: "),
        ('{"do": "enqueue"}', 4422, "invalid_field: /id: the field is required"),
        ('{"do": "enqueue", "id": null}', 4422, "invalid_field: /id"),
        ('{"do": "enqueue", "id": 1, "token": 2}', 4422, "invalid_field: /token: there is no such field"),
        ('{"do": "fly", "id": 1}', 4404, "unknown_verb: there is no 'fly'"),
        ('{"do": "dequeue", "id": 1}', 4404, "unknown_verb: "),
        ('{"do": "subscribe", "id": 1}', 4422, "invalid_field: /credit: the field is required"),
        ('{"do": "subscribe", "id": 1, "body": {"credit": -1}}', 4422, "invalid_field: /credit"),
        ('{"do": "subscribe", "id": 1, "body": {"credit": 10001}}', 4422, "invalid_field: /credit"),
        ('{"do": "subscribe", "id": 1, "body": {"credit": 1, "wait": 3}}', 4422, "invalid_field: /wait"),
        ('{"do": "subscribe", "id": 1, "body": {"credit": 1, "queue": "a/b"}}', 4422, "invalid_field: /queue"),
        ('{"do": "subscribe", "id": 1, "body": {"credit": 1, "grace_seconds": 0}}', 4422, "invalid_field: /grace_s"),
        ('{"do": "subscribe", "id": 1, "body": {"credit": 1, "consumer": "\\n"}}', 4422, "invalid_field: /consumer"),
        (b"{}", 1003, ""),
    ],
)
def test_what_is_no_message_ends_the_connection(web: Web, frame: str | bytes, code: int, reason: str) -> None:
    """With a code and a reason that say what it was; the node goes on."""
    with StreamClient(web.port) as client:
        client.web_socket.send(frame)
        closed = client.closed()
    assert closed[0] == code
    assert closed[1].startswith(reason)
    assert web.send("GET", "/readyz").status == 200


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\xc1", 4400),
        (msgspec.msgpack.encode({"do": "enqueue", "id": 1, "body": {"payload": b"raw"}}), 4400),
        (msgspec.msgpack.encode({"do": "enqueue", "id": 1, "body": {"payload": float("nan")}}), 4400),
        (msgspec.msgpack.encode({"do": "enqueue", "id": 1, "body": {1: 2}}), 4400),
        (msgspec.msgpack.encode([{"do": "fly", "id": 1}]), 4404),
        (b"\x91" * 5_000, 4400),
        ("{}", 1003),
    ],
)
def test_msgpack_says_what_json_can_say(web: Web, frame: str | bytes, code: int) -> None:
    """What is kept as JSON must come back as it was sent."""
    with StreamClient(web.port, MSGPACK) as client:
        client.web_socket.send(frame)
        assert client.closed()[0] == code
    assert web.send("GET", "/jobs").json["jobs"] == []


def test_bytes_that_are_no_frame_end_the_connection(web: Web) -> None:
    """Reserved bits, and no mask: RFC 6455 asks for 1002."""
    for junk in (b"\xff\xff\xff\xff", b"\x81\x02{}"):
        with given_raw_stream(web) as connection:
            connection.sendall(junk)
            assert close_code_of(connection) == 1002


def test_a_frame_that_is_too_large_is_refused_unread(web: Web) -> None:
    """Its first bytes say how long it is; nobody waits for the rest of 100 MB."""
    with given_raw_stream(web) as connection:
        connection.sendall(frame_of(b"[", announced=100 * 1024 * 1024))
        assert close_code_of(connection) == 1009


def test_a_message_may_come_in_fragments_and_a_ping_in_between(web: Web) -> None:
    """What counts is the whole, also for its size."""
    with StreamClient(web.port) as client:
        client.web_socket.send(iter(['{"do": "enq', "", 'ueue", "id": "a"}']))
        client.web_socket.ping().wait(ANSWER_S)
        assert client.frame()[0]["body"] == {"id": 1}
        with suppress(ConnectionClosed):
            client.web_socket.send(iter(["[" + " " * 100_000] * 100))
        assert client.closed()[0] == 1009


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"Upgrade": ""}, 426, "upgrade_required"),
        ({"Connection": "keep-alive"}, 426, "upgrade_required"),
        ({"Upgrade": "h2c"}, 426, "upgrade_required"),
        ({"Sec-WebSocket-Key": "short"}, 400, "invalid_handshake"),
        ({"Sec-WebSocket-Version": "8"}, 400, "invalid_handshake"),
        ({"Sec-WebSocket-Protocol": "chat"}, 400, "invalid_handshake"),
        ({"Consumer-Id": "x" * 129}, 422, "invalid_field"),
    ],
)
def test_what_is_no_handshake_is_answered_as_http(web: Web, change: dict[str, str], status: int, code: str) -> None:
    """And says what it lacks."""
    headers = {name: value for name, value in (HANDSHAKE | change).items() if value}
    answer = web.request("GET", "/stream", None, headers)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.headers.get("Upgrade") == ("websocket" if status == 426 else None)


def test_without_a_subprotocol_it_is_told_which_there_are(web: Web) -> None:
    """Nobody is given a language it did not ask for."""
    headers = {name: value for name, value in HANDSHAKE.items() if name != "Sec-WebSocket-Protocol"}
    answer = web.request("GET", "/stream", None, headers)
    assert answer.status == 400
    assert f"{JSON} and {MSGPACK}" in answer.json["detail"]


# -- slow and silent ones ------------------------------------------------------------------------


def test_a_slow_reader_gets_whole_frames(web: Web) -> None:
    """Through a buffer of a few kilobytes, with jobs and answers in between one another."""
    with StreamClient(web.port, receives_bytes=2_048) as client:
        sent = [client.message("enqueue", [{"payload": "x" * 5_000 + str(n)} for n in range(20)]) for _ in range(20)]
        client.say("subscribe", {"credit": 400})
        for message in sent:
            client.send(message)
        jobs = client.jobs(400)
        assert {client.answer_to(message["id"])["status"] for message in sent} == {201}
    assert sorted(job["id"] for job in jobs) == [*range(1, 401)]
    assert {job["payload"] for job in jobs} == {"x" * 5_000 + str(n) for n in range(20)}


def test_who_never_reads_is_left_and_told_why(impatient_web: Web) -> None:
    """Its jobs are not kept from others until their leases end."""
    impatient_web.given_jobs(1_000, payload="x" * 7_000)
    with given_raw_stream(impatient_web, receives_bytes=2_048) as connection:
        connection.sendall(frame_of(b'{"do": "subscribe", "id": 1, "body": {"credit": 1000}}'))
        eventually(lambda: "IN_PROGRESS" in impatient_web.send("GET", "/jobs/1").body.decode())
        last = "/jobs/1000"
        eventually(lambda: impatient_web.send("GET", last).json["status"] == "QUEUED", within_s=30)
        assert close_code_of(connection) == STALLED


def test_who_reads_no_answers_is_read_no_more(own_web: Web) -> None:
    """Messages that nobody answers pile up with the client, not with the node."""
    own_web.replica.silent = True
    with given_raw_stream(own_web) as connection:
        before = len(own_web.replica.kinds)
        connection.sendall(frame_of(b'{"do": "enqueue", "id": 1}') * (OPEN_MESSAGES_MAX + 2_000))
        eventually(lambda: len(own_web.replica.kinds) - before > OPEN_MESSAGES_MAX)
        # What the node had read in one piece is still taken: 64 KiB of frames of 40 bytes.
        assert len(own_web.replica.kinds) - before < OPEN_MESSAGES_MAX + 1_800
    own_web.replica.silent = False


def test_silence_is_met_with_a_ping_and_more_of_it_with_the_end(impatient_web: Web) -> None:
    """Whoever answers stays; a connection whose other end is gone does not."""
    with StreamClient(impatient_web.port) as client, given_raw_stream(impatient_web) as gone:
        assert gone.recv(2) == b"\x89\x00"
        assert gone.recv(1) == b""
        assert client.ask("enqueue", {})["status"] == 201


# -- the end -------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", ["closes", "vanishes"])
def test_the_jobs_of_a_lost_client_are_its_own_for_as_long_as_it_asked(web: Web, leave: str) -> None:
    """Then they are others'; until then it can settle them elsewhere."""
    first, second = web.given_jobs(2)
    client = StreamClient(web.port)
    client.ask("subscribe", {"credit": 2, "lease_seconds": 600, "grace_seconds": 30})
    jobs = client.jobs(2)
    tokens, due = ({job["id"]: job[name] for job in jobs} for name in ("lease_token", "lease_expires_at"))
    if leave == "closes":
        client.web_socket.close()
    else:
        client.socket.shutdown(socket.SHUT_RDWR)

    eventually(lambda: web.send("GET", f"/jobs/{second}").json["lease_expires_at"] < due[second])
    assert web.send("POST", f"/jobs/{first}/conclude", {"lease_token": tokens[first]}).status == 200
    web.replica.clock_ahead_ms = 31_000
    taken = web.send("POST", "/jobs/dequeue").json
    assert (taken["id"], taken["attempt"]) == (second, 2)
    assert web.send("POST", f"/jobs/{second}/conclude", {"lease_token": tokens[second]}).json["code"] == "lease_lost"


def test_who_leaves_while_waiting_gets_nothing(web: Web) -> None:
    """The job is the next one's, as if the first had never been there."""
    client = StreamClient(web.port)
    client.ask("subscribe", {"credit": 1})
    eventually(lambda: web.replica.parked == 1)
    client.web_socket.close()
    eventually(lambda: web.replica.parked == 0)
    web.given_jobs()
    assert web.send("POST", "/jobs/dequeue").json["attempt"] == 1


def test_a_node_that_stops_lets_its_clients_finish(own_web: Web) -> None:
    """Jobs come no more; those that are held can still be settled, and then it is over."""
    with StreamClient(own_web.port) as busy, StreamClient(own_web.port) as idle:
        own_web.given_jobs(2)
        busy.ask("subscribe", {"credit": 2})
        held = [job["id"] for job in busy.jobs(2)]
        idle.ask("subscribe", {"credit": 2})
        own_web.process.send_signal(signal.SIGTERM)
        assert idle.event("drain")["seconds"] > 0
        assert idle.closed() == (1001, "this node is shutting down")
        busy.event("drain")
        assert busy.ask("conclude", {"ids": held})["status"] == 200
        assert busy.closed()[0] == 1001
    assert own_web.process.wait(ANSWER_S) == 0
    assert "Traceback" not in own_web.log
    assert "requests_cut_off" not in own_web.log


def test_a_client_that_does_not_finish_is_not_waited_for(own_web: Web) -> None:
    """Its leases are cut before the node is gone."""
    with StreamClient(own_web.port) as client:
        own_web.given_jobs()
        client.ask("subscribe", {"credit": 1, "lease_seconds": 600})
        client.jobs(1)
        own_web.process.send_signal(signal.SIGTERM)
        assert client.closed()[0] == 1001
    assert own_web.process.wait(ANSWER_S) == 0
    state = own_web.replica.machine.state
    assert state.jobs[1].due_ms - state.now_ms <= 10_000
    assert "Traceback" not in own_web.log
