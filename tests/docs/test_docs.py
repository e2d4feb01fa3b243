"""Holds the docs to the code: what can be called, set or answered is written down, and nothing else.

It reads headings, tables and links; it does not judge the prose between them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cqueue import config, refusals
from cqueue.core import limits
from cqueue.core.jobs import FINISHED, TRANSITIONS, WAITING, Backoff
from cqueue.metrics import METRICS
from cqueue.replication import connection, link, loop, transport
from cqueue.web import (
    backup,
    body,
    by_filter,
    conversation,
    origins,
    outbox,
    reading,
    server,
    tls,
    websocket,
    whoami,
    worker,
)
from cqueue.web import cluster as web_cluster
from cqueue.web import link as replica_link
from cqueue.web.app import create_app
from cqueue.web.auth import failures, jwts, rates, tickets
from cqueue.web.auth.principals import NAME_CHARS_MAX, QUEUES_BYTES_MAX, QUEUES_MAX, ROLES
from cqueue.web.auth.routes import OPEN, ROLES_OF
from cqueue.web.auth.tokens import TokenBody
from cqueue.web.link import ReplicaLink
from cqueue.web.looking import LIST_TIME_S_MAX
from cqueue.web.problems import KINDS
from cqueue.web.shapes import dequeue, enqueue, fields, filters, job, looking, queues, stream, verbs

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
SECURITY = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
METRICS_PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOT_OURS = {"node_modules", "build", "dist"}

ROUTE = re.compile(r"(GET|PUT|POST|DELETE|PATCH) (/\S*)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def given_markdown_files() -> list[Path]:
    """Every .md file of the project, those of tools and caches aside."""
    return sorted(
        path
        for path in ROOT.rglob("*.md")
        if not any(part.startswith(".") or part in NOT_OURS for part in path.relative_to(ROOT).parts)
    )


def prose_of(text: str) -> str:
    """The text without its fenced blocks, in which `#` and `|` mean other things."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def sections_of(text: str) -> dict[str, str]:
    """{heading without its #s: what stands below it, up to the next heading of any level}."""
    parts = re.split(r"^#{1,6} (.+)$", prose_of(text), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows_of(section: str) -> Iterator[list[str]]:
    """The cells of each table row in a section; header rows and rulers aside."""
    lines = section.splitlines()
    for number, line in enumerate(lines):
        is_header = number + 1 < len(lines) and re.fullmatch(r"\|[-| ]+\|", lines[number + 1])
        if line.startswith("|") and not is_header and not re.fullmatch(r"\|[-| ]+\|", line):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def first_cells_of(section: str) -> set[str]:
    """What the rows of a section's tables are about, without the backticks."""
    return {row[0].strip("`") for row in rows_of(section)}


def fields_of(section: str) -> set[str]:
    """The names in the first column of a section's tables of fields, settings and the like."""
    tables = re.findall(r"^\| (?:field|setting)[^|]*\|.*\n\|[-| ]+\|\n((?:\|.*\n)+)", section, re.MULTILINE)
    return {
        name for table in tables for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }


def anchor_of(heading: str) -> str:
    """The fragment GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def subsections_of(text: str, heading: str) -> dict[str, str]:
    """The `###` sections below one `##` heading."""
    chapter = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", prose_of(text), re.MULTILINE | re.DOTALL)
    assert chapter is not None, f"no chapter {heading!r}"
    return sections_of(chapter[1])


def given_routes(socket_path: Path) -> set[str]:
    """The routes of the real app, as the protocol's headings spell them. Its replica never answers."""
    link = ReplicaLink(str(socket_path), request_timeout_s=1)
    try:
        return {
            f"{method} {web_cluster.placeholders(rule.rule)}"
            for rule in create_app(link, config.Settings(body_bytes_max=1024)).url_map.iter_rules()
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        }
    finally:
        link.close()


def test_every_route_has_its_heading_and_every_such_heading_its_route(tmp_path: Path) -> None:
    """`### PUT /jobs/enqueue` is there exactly if the app takes it."""
    taken = given_routes(tmp_path / "nobody.sock")
    written = {heading for heading in sections_of(PROTOCOL) if ROUTE.fullmatch(heading)}
    assert written == taken


def test_every_error_code_has_its_heading_with_its_status() -> None:
    """A code's section opens with its status, and says so where `Retry-After` comes with it."""
    sections = subsections_of(PROTOCOL, "Error codes")
    assert set(sections) == set(KINDS)
    for code, kind in KINDS.items():
        opening = str(kind.status) if kind.retry_after_s is None else f"{kind.status} with `Retry-After`"
        assert re.match(rf"\s*Status {re.escape(opening)}[.,]", sections[code]), code


def test_every_error_code_is_an_answer_of_some_route() -> None:
    """A code that no route's table lists is one that a caller does not expect."""
    routes = "".join(subsections_of(PROTOCOL, "Routes").values()) + sections_of(PROTOCOL)["Routes"]
    assert {code for code in KINDS if f"[`{code}`](#{code})" not in routes} == set()


def test_the_table_of_transitions_is_the_one_in_the_code() -> None:
    """Each row of the protocol's table is a transition, and each transition a row."""
    rows = {tuple(cell.strip("`") for cell in row[:3]) for row in rows_of(sections_of(PROTOCOL)["Statuses"])}
    assert rows == {(start, event, to) for (start, event), to in TRANSITIONS.items()}


def test_the_diagram_shows_every_transition_and_no_other() -> None:
    """The mermaid diagram's arrows are those of the code; finished statuses lead out of it."""
    arrows = set(re.findall(r"^ +(\w+|\[\*\]) --> (\w+|\[\*\])(?:: (\w+))?$", PROTOCOL, re.MULTILINE))
    expected: set[tuple[str, str, str]] = {(start, to, event) for (start, event), to in TRANSITIONS.items()}
    expected |= {("[*]", status, "enqueue") for status in WAITING} | {(status, "[*]", "") for status in FINISHED}
    assert arrows == expected


def test_every_limit_is_in_the_protocol_with_its_value() -> None:
    """The limits' table has a row for each constant of `cqueue.core.limits`, with its figure."""
    rows = {row[0].strip("`"): row[1] for row in rows_of(sections_of(PROTOCOL)["Limits"])}
    bounds = {name: value for name, value in vars(limits).items() if name.isupper()}
    assert set(rows) == set(bounds)
    for name, value in bounds.items():
        if isinstance(value, dict):
            assert rows[name] == ", ".join(f"`{key}` {figure}" for key, figure in value.items()), name
        elif isinstance(value, Backoff):
            shown = f"`{value.kind}`, {value.base_ms:,} ms, at most {value.cap_ms:,} ms, jitter {value.jitter_percent}"
            assert rows[name] == shown, name
        else:
            assert rows[name].split(" ")[0] == f"{value:,}", name


def test_the_limits_of_the_http_api_have_their_figures() -> None:
    """Those limits that are no part of the log's format are in a table of their own."""
    rows = {row[0]: row[1] for row in rows_of(sections_of(PROTOCOL)["Limits of the HTTP API"])}
    assert rows["`wait`"] == f"{fields.WAIT_S_MAX} seconds"
    assert rows["an id or a lease token"] == f"{fields.ID_MAX:,}"
    assert rows["`run_at` and other times in requests"] == f"before the year {fields.RUN_AT_MAX.year}"
    assert rows["`max_depth`, `max_in_progress` and `retention_jobs`"] == f"{queues.COUNT_MAX:,}"
    assert rows["`rate_per_second` and `rate_burst`"] == f"{queues.RATE_MAX:,}" == f"{queues.BURST_MAX:,}"
    counted = rows["callers whose requests are counted, where `--request-rate` is set"]
    assert counted == f"{rates.CALLERS_MAX:,} in each web process"
    assert rows["one verb with a filter"] == f"{by_filter.TIME_S_MAX} seconds"
    assert rows["looking for jobs that fit a list"] == f"{LIST_TIME_S_MAX} second"
    assert rows["nesting of a payload or result"] == f"{body.NESTING_LEVELS_MAX} levels"
    assert rows["making a backup"] == f"{backup.BACKUP_S_MAX} seconds"
    assert rows["a client that takes nothing of a backup"] == f"{backup.STALLED_S_MAX} seconds"
    assert rows["`wait` of a comparison"] == f"{backup.VERIFY_S_MAX} seconds"
    assert rows["what a browser remembers of a preflight"] == f"{origins.PREFLIGHT_S:,} seconds"
    assert rows["a ticket"] == f"{tickets.TICKET_S} seconds"
    wrong = f"{failures.FAILURES_MAX}, and one more every {failures.FORGIVEN_S} seconds"
    assert rows["wrong tokens of one address"] == wrong
    assert rows["a TLS handshake"] == f"{tls.HANDSHAKE_S_MAX:.0f} seconds"
    assert rows["idle keep-alive connection"] == f"{server.KEEPALIVE_S} seconds"
    assert f"for each {reading.BODY_BYTES_PER_S_MIN:,} bytes" in rows["the body of a request"]
    assert rows["a client that takes nothing of an answer"] == f"{worker.STALLED_S_MAX} seconds"
    few = rows["requests on their way below which a node is never `overloaded`"]
    assert few == f"{replica_link.REQUESTS_MIN} in each web process"


def test_the_figures_of_overload_are_the_ones_in_force() -> None:
    """What is refused first, and when to come again."""
    section = sections_of((ROOT / "docs/operations.md").read_text(encoding="utf-8"))["Overload"]
    assert f"from {replica_link.HELD_FACTOR} times `--overload-ms` on" in section
    assert f"`Retry-After: {replica_link.OVERLOADED_RETRY_S}`" in section
    assert f"at\nleast {replica_link.REQUESTS_MIN} are" in section


def test_the_headers_that_pages_may_use_are_named() -> None:
    """Those that they may send, and those that they may read."""
    section = sections_of(PROTOCOL)["From a browser"]
    names = {*origins.REQUEST_HEADERS, *origins.ANSWER_HEADERS, f"{origins.PREFLIGHT_S:,} seconds"}
    assert {name for name in names if name not in section} == set()


def test_every_claim_of_the_threat_model_is_held_by_a_test_that_is_there() -> None:
    """Each test that it names exists; and each row of what stops whom names one."""
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 40
    for path, test in named:
        assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{test}"
    for heading, section in subsections_of(text, "Who attacks, and what stops them").items():
        for row in rows_of(section):
            assert re.match(r"`tests/[\w/]+\.py::test_\w+`", row[2]), f"{heading}: {row[0]}"


def test_the_limits_of_the_links_have_their_figures() -> None:
    """What strangers at the port between nodes are allowed is written down as it is."""
    text = (ROOT / "docs" / "links.md").read_text(encoding="utf-8")
    for figure in (
        f"at most {link.HANDSHAKE_BYTES_MAX} bytes",
        f"{loop.LINK_BYTES_MAX // (1024 * 1024)} MiB and twice `--body-bytes-max`",
        f"{transport.HANDSHAKE_S_MAX:.0f} s for the whole handshake; {transport.CONNECT_S_MAX:.0f} s for the caller's",
        f"{transport.STRANGERS_MAX} that are not known; {transport.ACCEPTED_MAX} accepted in a round",
        f"in {refusals.INTERVAL_S:.0f} seconds, and {refusals.HOSTS_MAX} hosts",
        f"{connection.SILENCE_MS_MAX // 1000} s without an acknowledgement",
        f"`{link.MAGIC.decode().strip()}\\n`",
    ):
        assert figure in " ".join(text.split()), figure


def test_who_may_call_what_is_in_the_table_of_roles() -> None:
    """The table in docs/security.md is the one that the gate goes by."""
    section = sections_of(SECURITY)["Roles"]
    assert f"| route | {' | '.join(ROLES)} |" in section
    told = {
        row[0].strip("`"): {role for role, cell in zip(ROLES, row[1:], strict=True) if cell == "yes"}
        for row in rows_of(section)
    }
    assert told == {route: set(roles) for route, roles in ROLES_OF.items()}


def test_every_metric_has_its_row() -> None:
    """Name, type, labels, and whether it is of the queue or of the node, as in the table of the code."""
    rows = {row[0].strip("`"): row[1:] for row in rows_of(sections_of(METRICS_PAGE)["The metrics"])}
    shown = {name: (kind, tuple(re.findall(r"`(\w+)`", labels)), of) for name, (kind, labels, of, *_) in rows.items()}
    assert shown == {name: (metric.kind, metric.labels, metric.of) for name, metric in METRICS.items()}
    assert all(len(row) == 5 and all(row[3:]) for row in rows.values())


def test_the_limits_of_callers_have_their_figures() -> None:
    """What strangers are allowed, and how much a token may say."""
    text = " ".join(SECURITY.split())
    for figure in (
        f"up to {QUEUES_MAX} patterns, of {QUEUES_BYTES_MAX:,} bytes together",
        f"1 to {NAME_CHARS_MAX} printable characters",
        f"Clocks may differ by {jwts.LEEWAY_S} seconds",
        f"up to {jwts.CACHE_TOKENS_MAX:,} of them in each process",
        f"for {tickets.TICKET_S} seconds",
        f"may show {failures.FAILURES_MAX} wrong tokens",
        f"forgiven every {failures.FORGIVEN_S} seconds",
        f"up to {failures.ADDRESSES_MAX:,} addresses",
        f"once in {failures.SAID_S} seconds",
        *sorted(OPEN),
    ):
        assert figure in text, figure


def test_the_keys_of_a_token_are_named() -> None:
    """Those of the file, in their order."""
    told = [row[0].strip("`") for row in rows_of(sections_of(SECURITY)["API tokens"])]
    assert told == list(TokenBody.__struct_fields__)


def test_every_setting_has_its_row_with_flag_variable_and_default() -> None:
    """README's table of settings is the one of `Settings`, with `--config` beside it."""
    rows = {row[0].strip("`"): row for row in rows_of(sections_of(README)["Settings"])}
    settings = {config.flag_of(spec.name): spec for spec in dataclasses.fields(config.Settings)}
    assert set(rows) == {"--config", *settings}
    for flag, spec in settings.items():
        _, variable, default, meaning = rows[flag]
        assert variable == f"`{config.variable_of(spec.name)}`"
        shown = "off" if spec.default is False else "none" if spec.default in {"", ()} else f"`{spec.default}`"
        assert default == shown
        assert all(f"`{choice}`" in meaning for choice in spec.metadata["choices"]), flag


def test_the_originals_variables_are_named() -> None:
    """Who comes from the original finds its variables."""
    for name in config.SETTINGS_ORIGINAL:
        assert f"`{config.ENV_PREFIX_ORIGINAL}{name.upper()}`" in README


@pytest.mark.parametrize("path", given_markdown_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_relative_link_is_dead(path: Path) -> None:
    """A link to a file finds it, and a link to a heading finds that, too."""
    for target in LINK.findall(prose_of(path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{target}: no such file"
        if fragment:
            anchors = {anchor_of(heading) for heading in sections_of(file.read_text(encoding="utf-8"))}
            assert fragment in anchors, f"{target}: no such heading"


def test_the_figures_of_the_stream_are_the_ones_in_force() -> None:
    """What a client of `GET /stream` must know of bounds is written down as it is."""
    text = " ".join(sections_of(PROTOCOL)["GET /stream"].split())
    for figure in (
        f"0 to {stream.CREDIT_MAX:,}",
        f"1 to 86,400 | {stream.GRACE_S_DEFAULT} |",
        f"string of up to {stream.MESSAGE_ID_CHARS_MAX} characters",
        f"while {conversation.OPEN_MESSAGES_MAX:,} messages are unanswered",
        f"leaves {outbox.UNSENT_BYTES_MAX // (1024 * 1024)} MiB of answers",
        f"cut to {websocket.REASON_BYTES_MAX} bytes",
        f"| {conversation.STALLED} |",
    ):
        assert figure in text, figure


SHAPES: dict[str, Any] = {
    "PUT /jobs/enqueue": enqueue.EnqueueBody,
    "POST /jobs/dequeue": dequeue.DequeueBody,
    "POST /jobs/{id}/conclude": verbs.ConcludeBody,
    "POST /jobs/conclude": verbs.ManyBody,
    "POST /jobs/{id}/fail": verbs.FailBody,
    "POST /jobs/{id}/release": verbs.ReleaseBody,
    "POST /jobs/{id}/extend": verbs.ExtendBody,
    "POST /jobs/{id}/progress": verbs.ProgressBody,
    "POST /jobs/cancel": filters.FilterBody,
    "POST /queues/{name}/purge": filters.PurgeQueueBody,
    "GET /jobs/{id}/history": looking.ChangeAnswer,
    "GET /queues/{name}": queues.QueueAnswer,
    "GET /cluster": web_cluster.ClusterAnswer,
    "GET /whoami": whoami.WhoAnswer,
    "Fields of a job": job.JobAnswer,
    "Queues": queues.QueueBody,
    "Retries and backoff": fields.BackoffBody,
}
"""What the tables of fields in these sections are about."""


@pytest.mark.parametrize("heading", SHAPES)
def test_every_field_has_its_row_and_every_row_its_field(heading: str) -> None:
    """The tables of the protocol and the shapes that the program checks and shows have the same names."""
    assert fields_of(sections_of(PROTOCOL)[heading]) == set(SHAPES[heading].__struct_encode_fields__)


def test_what_a_queue_counts_is_named() -> None:
    """The members of `totals` and `rates`."""
    section = sections_of(PROTOCOL)["GET /queues/{name}"]
    assert {name for name in queues.EVENTS if f"`{name}`" not in section} == set()


def test_the_example_of_a_job_has_only_documented_fields() -> None:
    """The JSON in "The job" and the table below it are about the same fields."""
    example = re.search(r"^## The job\n+```json\n(.*?)^```", PROTOCOL, re.MULTILINE | re.DOTALL)
    assert example is not None
    shown = set(re.findall(r'^  "(\w+)":', example[1], re.MULTILINE))
    assert shown <= first_cells_of(sections_of(PROTOCOL)["Fields of a job"])
