"""Every setting, in one frozen object, read in one place.

`Settings` is the table: from each field come the flag (`--raft-addr`), the variable
(`CQUEUE_RAFT_ADDR`), the key of the TOML file (`raft_addr`) and the docs. Flag beats environment
beats file beats default. The values travel down as plain values; nothing else reads the environment.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from cqueue.core import limits
from cqueue.errors import Unusable
from cqueue.metrics import LABELS_MAX_DEFAULT

ENV_PREFIX: Final = "CQUEUE_"
ENV_PREFIX_ORIGINAL: Final = "CFQUEUE_"
"""The original queue's prefix; accepted for `SETTINGS_ORIGINAL` only, and cqueue's own wins."""
SETTINGS_ORIGINAL: Final = ("addr", "port", "log_level")

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("auto", "console", "json")
FSYNC_MODES: Final = ("always", "interval", "never")
SECRET_CHARS_MIN: Final = 32
ANY_ORIGIN: Final = "*"
_PORT_MAX: Final = 65535
EXIT_CONFIG: Final = 2
"""Exit code when a setting is wrong, as for a wrong flag."""

_ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[1-9]\d{0,4}))?")
_PORT_DEFAULTS: Final = {"http": 80, "https": 443}
_SWITCH: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]\s]+):(?P<port>\d{1,5})")


def _setting(
    default: Any,
    text: str,
    *,
    low: int | None = None,
    high: int | None = None,
    choices: tuple[str, ...] = (),
    metavar: str = "",
) -> Any:
    return field(
        default=default, metadata={"help": text, "low": low, "high": high, "choices": choices, "metavar": metavar}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One node's settings. Units end the names; README.md#settings has the table."""

    addr: str = _setting("127.0.0.1", "Address the HTTP API listens on.", metavar="HOST")
    port: int = _setting(3000, "Port the HTTP API listens on; 0 picks a free one.", low=0, high=_PORT_MAX)
    log_level: str = _setting("info", "Least severe log lines to write.", choices=LOG_LEVELS)
    log_format: str = _setting(
        "auto", "How log lines look: for a person, or JSON; auto: for a person in a terminal.", choices=LOG_FORMATS
    )
    access_log: bool = _setting(default=False, text="Log a line for each request, too.")
    workers: int = _setting(0, "Web processes; 0 means one up to two cores, then cores - 1.", low=0, high=256)
    raft_addr: str = _setting("", "This node's own host:port for the other nodes.", metavar="HOST:PORT")
    peers: tuple[str, ...] = _setting(
        (), "The other nodes' host:port, comma-separated; none: a single node.", metavar="HOST:PORT,..."
    )
    cluster_secret: str = _setting(
        "", f"Secret all nodes share, at least {SECRET_CHARS_MIN} characters; prefer the file.", metavar="SECRET"
    )
    cluster_secret_file: str = _setting("", "File that holds the cluster secret.", metavar="FILE")
    raft_tls_cert: str = _setting(
        "", "PEM file with this node's certificate, for TLS between nodes; needs key and CA too.", metavar="FILE"
    )
    raft_tls_key: str = _setting("", "PEM file with the key of --raft-tls-cert.", metavar="FILE")
    raft_tls_ca: str = _setting("", "PEM file with the CA that signed the certificates of all nodes.", metavar="FILE")
    tls_cert: str = _setting("", "PEM file with the HTTP port's certificate; it then speaks TLS.", metavar="FILE")
    tls_key: str = _setting("", "PEM file with the key of --tls-cert.", metavar="FILE")
    tls_client_ca: str = _setting(
        "", "PEM file with the CA whose certificates HTTP clients have to show; none: they show none.", metavar="FILE"
    )
    tls_hsts_s: int = _setting(
        0,
        "Seconds browsers shall call this host over TLS only (Strict-Transport-Security); 0: nothing is said.",
        low=0,
        high=63_072_000,
    )
    tokens: str = _setting("", "TOML file with the API tokens that callers may show.", metavar="FILE")
    jwt_issuer: str = _setting("", "Issuer of the JWTs that callers may show; needs audience and JWKS.", metavar="URL")
    jwt_audience: str = _setting("", "What those JWTs have to be meant for.", metavar="TEXT")
    jwt_jwks: str = _setting("", "JWKS file with the public keys they are signed with.", metavar="FILE")
    jwt_role_claim: str = _setting("cqueue_roles", "Their claim with the caller's roles.", metavar="NAME")
    jwt_queues_claim: str = _setting("cqueue_queues", "Their claim with the caller's queues.", metavar="NAME")
    insecure: bool = _setting(
        default=False, text="Serve without tokens on an address that others can reach, and know what that means."
    )
    data_dir: str = _setting(
        "", "Directory for journal and snapshots; without it the queue lives in memory.", metavar="DIR"
    )
    fsync: str = _setting("always", "When the journal is synced to disk before answering.", choices=FSYNC_MODES)
    body_bytes_max: int = _setting(
        1024 * 1024, "Largest request body in bytes; larger ones get 413.", low=1024, high=32 * 1024 * 1024
    )
    max_jobs: int = _setting(
        limits.JOBS_MAX_DEFAULT,
        "Unfinished jobs the cluster holds; beyond them enqueue gets 503. The leader's setting counts.",
        low=1,
        high=1_000_000_000,
    )
    max_bytes: int = _setting(
        limits.BYTES_MAX_DEFAULT,
        "Bytes the cluster's jobs may take up; beyond them enqueue gets 503. The leader's setting counts.",
        low=1024 * 1024,
        high=512 * 1024 * 1024 * 1024,
    )
    events_max: int = _setting(
        100_000, "Newest changes of jobs this node keeps for GET /events; 0: none.", low=0, high=10_000_000
    )
    metrics_labels_max: int = _setting(
        LABELS_MAX_DEFAULT,
        "Queues, and pairs of queue and type, with labels of their own in metrics; the rest are together `other`.",
        low=1,
        high=100_000,
    )
    allowed_origins: tuple[str, ...] = _setting(
        (),
        "Origins whose pages may call this node from a browser, such as https://app.example, comma-separated; *: all.",
        metavar="ORIGIN,...",
    )
    waiting_max: int = _setting(
        10_000,
        "Consumers and looks that may wait on this node; one more gets 503.",
        low=1,
        high=1_000_000,
    )
    overload_ms: int = _setting(
        250,
        "How far behind this node may be, in ms, before it answers new work 503; 0: for ever.",
        low=0,
        high=60_000,
    )
    read_timeout_s: int = _setting(
        10,
        "Seconds a client may take to send the head of a request, and its body, which gets more time as it comes.",
        low=1,
        high=300,
    )
    request_rate: int = _setting(
        0,
        "Requests a second from one caller, by its token's name or else its address, per web process; 0: any number.",
        low=0,
        high=1_000_000,
    )
    node_urls: tuple[str, ...] = _setting(
        (),
        "Where browsers reach the nodes' HTTP ports, such as https://node1.example:3000, comma-separated: the page at "
        "/ui goes on from another node.",
        metavar="URL,...",
    )
    connections_max: int = _setting(10_000, "Open HTTP connections per web process.", low=1, high=1_000_000)
    stream_silence_s: int = _setting(
        20,
        "Seconds a WebSocket may be silent, or take nothing, before the node doubts that it is there.",
        low=1,
        high=3600,
    )
    request_timeout_s: int = _setting(
        10, "Seconds until a request that got no outcome is answered 503 or 504.", low=1, high=300
    )
    election_ms_min: int = _setting(500, "Least silence of the leader before an election, in ms.", low=100, high=60_000)
    election_ms_max: int = _setting(
        1000, "Most silence of the leader before an election, in ms.", low=150, high=120_000
    )
    heartbeat_ms: int = _setting(100, "Between two heartbeats of the leader, in ms.", low=10, high=10_000)

    @property
    def is_cluster(self) -> bool:
        """Whether this node has peers."""
        return bool(self.peers)

    @property
    def asks_who(self) -> bool:
        """Whether callers have to show a token."""
        return bool(self.tokens or self.jwt_jwks)

    @property
    def node_id(self) -> str:
        """The name this node has in `/cluster` and in the log's membership."""
        return self.raft_addr or f"{self.addr}:{self.port}"

    @property
    def mode(self) -> str:
        """How durable the queue is: "memory", "replicated-memory" or "durable"."""
        if self.data_dir:
            return "durable"
        return "replicated-memory" if self.is_cluster else "memory"


def flag_of(name: str) -> str:
    """`raft_addr` → `--raft-addr`."""
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """`raft_addr` → `CQUEUE_RAFT_ADDR`."""
    return ENV_PREFIX + name.upper()


def load(flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """Bring flags, environment and file together and check the whole.

    Args:
        flags: values by field name, None where the flag was not given; `config` is the TOML file.
        environ: the environment.

    Raises:
        Unusable: a value is wrong; the sentence names the flag, variable or key it came from.
    """
    values: dict[str, Any] = {}
    path = flags.get("config") or environ.get(ENV_PREFIX + "CONFIG")
    from_file = _read_file(Path(path)) if path else {}
    known = {f.name: f for f in fields(Settings)}
    for key in from_file:
        if key not in known:
            raise _wrong(f"{path}: {key!r} is no setting; the settings are {', '.join(sorted(known))}")
    for name, spec in known.items():
        for source, value in _candidates(name, flags, environ, from_file, str(path)):
            if value is not None:
                values[name] = _parse(spec.metadata, type(spec.default), source, value)
                break
    return _check(Settings(**values))


def _candidates(
    name: str, flags: Mapping[str, Any], environ: Mapping[str, str], from_file: Mapping[str, Any], path: str
) -> list[tuple[str, Any]]:
    found = [(flag_of(name), flags.get(name)), (variable_of(name), environ.get(variable_of(name)))]
    if name in SETTINGS_ORIGINAL:
        original = ENV_PREFIX_ORIGINAL + name.upper()
        found.append((original, environ.get(original)))
    return [*found, (f"{path}: {name}", from_file.get(name))]


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(f"{path}: not TOML: {error}") from error


def _parse(spec: Mapping[str, Any], kind: type, source: str, value: Any) -> Any:
    if kind is bool:
        return _parse_switch(source, value)
    if kind is int:
        if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,12}", str(value).strip()):
            raise _wrong(f"{source}: {value!r} is not a whole number")
        number = int(value)
        if not spec["low"] <= number <= spec["high"]:
            raise _wrong(f"{source}: {number} is not between {spec['low']} and {spec['high']}")
        return number
    if kind is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
            raise _wrong(f"{source}: {value!r} is not {spec['metavar']}")
        return tuple(item.strip() for item in items if item.strip())
    if not isinstance(value, str):
        raise _wrong(f"{source}: {value!r} is not text")
    text = value.strip()
    if spec["choices"]:
        text = text.lower()
        if text not in spec["choices"]:
            raise _wrong(f"{source}: {value!r} is not one of {', '.join(spec['choices'])}")
    return text


def _parse_switch(source: str, value: Any) -> bool:
    word = str(value).strip().lower()
    if word not in _SWITCH:
        raise _wrong(f"{source}: {value!r} is not one of {', '.join(word for word in _SWITCH if word)}")
    return _SWITCH[word]


def is_address(text: str) -> bool:
    """Whether it is `host:port`, which is what a node's id looks like."""
    match = _ADDRESS.fullmatch(text)
    return match is not None and 0 < int(match["port"]) <= _PORT_MAX


def is_origin(text: str) -> bool:
    """Whether it is an origin exactly as browsers send it: lower case, without a default port, a path or a slash."""
    match = _ORIGIN.fullmatch(text)
    if match is None or match["port"] is None:
        return match is not None
    return int(match["port"]) <= _PORT_MAX and int(match["port"]) != _PORT_DEFAULTS.get(match["scheme"])


def _check(settings: Settings) -> Settings:
    for name, addresses in (("raft_addr", (settings.raft_addr,)), ("peers", settings.peers)):
        for address in addresses:
            if address and not is_address(address):
                raise _wrong(f"{flag_of(name)}: {address!r} is not host:port")
    _check_origins(settings.allowed_origins)
    _check_node_urls(settings.node_urls)
    if len(set(settings.peers)) != len(settings.peers) or settings.raft_addr in settings.peers:
        raise _wrong("--peers: names a node twice, or this node itself; list only the others, once each")
    if settings.heartbeat_ms * 3 >= settings.election_ms_min or settings.election_ms_min >= settings.election_ms_max:
        raise _wrong("--election-ms-min must be above three heartbeats and below --election-ms-max")
    _check_tls(settings)
    _check_together(
        settings, ("jwt_issuer", "jwt_audience", "jwt_jwks"), "JWTs take an issuer, an audience and a JWKS file"
    )
    secret = _secret(settings)
    if settings.is_cluster:
        if not settings.raft_addr:
            raise _wrong("--raft-addr is needed with --peers: the host:port the other nodes reach this one at")
        if len(secret) < SECRET_CHARS_MIN:
            raise _wrong(
                f"a cluster needs a secret of at least {SECRET_CHARS_MIN} characters, the same on every node: "
                "make one with `openssl rand -hex 32 > secret` and pass --cluster-secret-file secret"
            )
    return settings if secret == settings.cluster_secret else _with_secret(settings, secret)


def _check_origins(origins: tuple[str, ...]) -> None:
    for origin in origins:
        if origin != ANY_ORIGIN and not is_origin(origin):
            raise _wrong(
                f"--allowed-origins: {origin!r} is not an origin as browsers send it, such as https://app.example "
                "or http://localhost:8080: lower case, no path, no slash at the end, no default port"
            )
    if ANY_ORIGIN in origins and len(origins) > 1:
        raise _wrong(f"--allowed-origins: {ANY_ORIGIN} allows all; name it alone, or leave it out")


def _check_node_urls(urls: tuple[str, ...]) -> None:
    for url in urls:
        if not (is_origin(url) and url.startswith(("http://", "https://"))):
            raise _wrong(
                f"--node-urls: {url!r} is not where a browser reaches a node, such as https://node1.example:3000: "
                "lower case, no path, no slash at the end, no default port"
            )


def _check_tls(settings: Settings) -> None:
    _check_together(
        settings,
        ("raft_tls_cert", "raft_tls_key", "raft_tls_ca"),
        "TLS between nodes takes a certificate, its key and the CA",
    )
    _check_together(settings, ("tls_cert", "tls_key"), "TLS takes a certificate and its key")
    for name in ("tls_client_ca", "tls_hsts_s"):
        if getattr(settings, name) and not settings.tls_cert:
            raise _wrong(f"{flag_of(name)}: goes with --tls-cert and --tls-key only")


def _check_together(settings: Settings, names: tuple[str, ...], why: str) -> None:
    missing = [flag_of(name) for name in names if not getattr(settings, name)]
    if 0 < len(missing) < len(names):
        raise _wrong(f"{', '.join(missing)}: missing; {why}")


def _secret(settings: Settings) -> str:
    if settings.cluster_secret or not settings.cluster_secret_file:
        return settings.cluster_secret
    try:
        return Path(settings.cluster_secret_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(f"--cluster-secret-file: {settings.cluster_secret_file}: cannot be read: {error}") from error


def _with_secret(settings: Settings, secret: str) -> Settings:
    values = {f.name: getattr(settings, f.name) for f in fields(Settings)}
    return Settings(**{**values, "cluster_secret": secret})


def _wrong(sentence: str) -> Unusable:
    return Unusable(sentence, exit_code=EXIT_CONFIG)
