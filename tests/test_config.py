"""Settings: where they may come from, which one wins, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any, Final

import pytest

from cqueue.config import EXIT_CONFIG, SETTINGS_ORIGINAL, Settings, flag_of, load, variable_of
from cqueue.errors import Unusable

SECRET: Final = "0123456789abcdef" * 3
MEMBER: Final[Mapping[str, Any]] = {"raft_addr": "node1:4000", "peers": "node2:4000", "cluster_secret": SECRET}
HTTPS: Final[Mapping[str, Any]] = {
    "tls_cert": "web.pem",
    "tls_key": "web.key",
    "tls_client_ca": "clients.pem",
    "tls_hsts_s": 300,
}
TLS: Final[Mapping[str, Any]] = {"raft_tls_cert": "node.pem", "raft_tls_key": "node.key", "raft_tls_ca": "ca.pem"}
JWT: Final[Mapping[str, Any]] = {
    "jwt_issuer": "https://id.example.org",
    "jwt_audience": "cqueue",
    "jwt_jwks": "jwks.json",
}


def given_file(directory: Path, text: str) -> str:
    """The path of a TOML file with this text."""
    path = directory / "cqueue.toml"
    path.write_text(text)
    return str(path)


def refusal(flags: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> str:
    """The sentence these settings are refused with."""
    with pytest.raises(Unusable) as caught:
        load(flags, environ or {})
    assert caught.value.exit_code == EXIT_CONFIG
    return caught.value.detail


def test_without_anything_a_node_is_what_the_original_was() -> None:
    """A single node in memory on localhost:3000."""
    settings = load({}, {})

    assert settings == Settings()
    assert (settings.addr, settings.port, settings.mode, settings.is_cluster) == ("127.0.0.1", 3000, "memory", False)


@pytest.mark.parametrize("name", SETTINGS_ORIGINAL)
def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path, name: str) -> None:
    """The five places in their order, taken away one by one from the top."""
    values: dict[str, list[Any]] = {
        "addr": ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "127.0.0.1"],
        "port": [1001, 1002, 1003, 1004, 3000],
        "log_level": ["debug", "warning", "error", "debug", "info"],
    }
    by_flag, by_variable, by_original, by_file, by_default = values[name]
    flags = {name: str(by_flag), "config": given_file(tmp_path, f"{name} = {by_file!r}\n")}
    environ = {variable_of(name): str(by_variable), f"CFQUEUE_{name.upper()}": str(by_original)}

    found = [getattr(load(flags, environ), name)]
    del flags[name]
    found.append(getattr(load(flags, environ), name))
    del environ[variable_of(name)]
    found.append(getattr(load(flags, environ), name))
    environ.clear()
    found.append(getattr(load(flags, environ), name))
    del flags["config"]
    found.append(getattr(load(flags, environ), name))

    assert found == [by_flag, by_variable, by_original, by_file, by_default]


def test_only_the_original_settings_have_the_original_names() -> None:
    """`CFQUEUE_WORKERS` never was a name."""
    assert load({}, {"CFQUEUE_WORKERS": "7"}).workers == Settings().workers


@pytest.mark.parametrize("spec", fields(Settings), ids=lambda spec: spec.name)
def test_every_setting_can_be_given_in_each_way(tmp_path: Path, spec: Any) -> None:
    """Flag, variable and file give the same; what is not asked about stays at its default."""
    values: dict[str, Any] = {
        "addr": "0.0.0.0",
        "port": 4001,
        "log_level": "error",
        "log_format": "json",
        "access_log": True,
        "workers": 3,
        "raft_addr": "node1:4000",
        "peers": "node2:4000,node3:4000",
        "cluster_secret": SECRET,
        "cluster_secret_file": given_file(tmp_path, SECRET),
        **TLS,
        **HTTPS,
        "tokens": "tokens.toml",
        **JWT,
        "jwt_role_claim": "roles",
        "jwt_queues_claim": "queues",
        "insecure": True,
        "data_dir": "somewhere",
        "fsync": "never",
        "body_bytes_max": 4096,
        "max_jobs": 7,
        "max_bytes": 4_000_000,
        "events_max": 1_000,
        "metrics_labels_max": 50,
        "stream_silence_s": 30,
        "allowed_origins": "https://app.example,http://localhost:8080",
        "waiting_max": 9,
        "overload_ms": 100,
        "read_timeout_s": 3,
        "request_rate": 5,
        "node_urls": "https://node1.example:3000,http://localhost:3001",
        "connections_max": 10,
        "request_timeout_s": 5,
        "election_ms_min": 400,
        "election_ms_max": 2000,
        "heartbeat_ms": 50,
    }
    value = values[spec.name]
    is_list = isinstance(spec.default, tuple)
    groups: tuple[Mapping[str, Any], ...] = (TLS, HTTPS, JWT, MEMBER if spec.name == "peers" else {})
    needed = {name: given for group in groups if spec.name in group for name, given in group.items()}
    rest = {name: given for name, given in needed.items() if name != spec.name}
    config = tmp_path / "one.toml"
    config.write_text(f"{spec.name} = {'true' if value is True else repr(value)}\n")

    by_flag = load({**rest, spec.name: str(value)}, {})
    by_variable = load(rest, {variable_of(spec.name): str(value)})
    by_file = load({**rest, "config": str(config)}, {})
    by_named_file = load(rest, {"CQUEUE_CONFIG": str(config)})

    assert by_flag == by_variable == by_file == by_named_file
    assert getattr(by_flag, spec.name) == (tuple(value.split(",")) if is_list else value)


def test_peers_may_be_a_list_in_the_file(tmp_path: Path) -> None:
    """In TOML a list is a list; blanks around the commas of a string do not matter."""
    config = given_file(tmp_path, 'peers = ["node2:4000", "node3:4000"]\n')

    in_file = load({"raft_addr": "node1:4000", "cluster_secret": SECRET, "config": config}, {})
    in_flag = load({**MEMBER, "peers": " node2:4000 , node3:4000, "}, {})

    assert in_file.peers == in_flag.peers == ("node2:4000", "node3:4000")


@pytest.mark.parametrize(
    "given",
    [
        "*",
        "https://app.example",
        "http://localhost:8080",
        "https://app.example:80",
        "http://127.0.0.1:443",
        "http://[::1]:3000",
        "https://xn--tda.example",
        "chrome-extension://abcdefgh",
    ],
)
def test_origins_are_given_as_browsers_send_them(given: str) -> None:
    """They are compared letter by letter, so what could never match is refused, and the rest is taken."""
    assert load({"allowed_origins": given}, {}).allowed_origins == (given,)


def test_the_secret_is_read_from_its_file_without_the_line_end(tmp_path: Path) -> None:
    """`openssl rand -hex 32 > secret` ends with a newline, which is no part of the secret."""
    path = given_file(tmp_path, SECRET + "\n")

    settings = load({"raft_addr": "node1:4000", "peers": "node2:4000", "cluster_secret_file": path}, {})

    assert settings.cluster_secret == SECRET


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        (Settings(), "memory"),
        (Settings(data_dir="data"), "durable"),
        (Settings(raft_addr="node1:4000", peers=("node2:4000",)), "replicated-memory"),
        (Settings(raft_addr="node1:4000", peers=("node2:4000",), data_dir="data"), "durable"),
    ],
)
def test_the_mode_says_where_jobs_live(settings: Settings, mode: str) -> None:
    """Three honest words, each for what is kept and what is lost."""
    assert settings.mode == mode


def test_a_node_is_called_by_what_the_others_reach_it_at() -> None:
    """Its raft address, or the HTTP address where there are no others."""
    assert load(MEMBER, {}).node_id == "node1:4000"
    assert load({"port": 3001}, {}).node_id == "127.0.0.1:3001"


def test_addresses_may_be_in_brackets_for_ipv6() -> None:
    """`[::1]:4000` is a host and a port."""
    assert load({**MEMBER, "raft_addr": "[::1]:4000"}, {}).raft_addr == "[::1]:4000"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("port", "http", "'http' is not a whole number"),
        ("port", "", "'' is not a whole number"),
        ("port", "3000.5", "is not a whole number"),
        ("port", "-1", "-1 is not between 0 and 65535"),
        ("port", "65536", "65536 is not between 0 and 65535"),
        ("port", "9" * 13, "is not a whole number"),
        ("workers", "257", "257 is not between 0 and 256"),
        ("log_level", "loud", "'loud' is not one of debug, info, warning, error"),
        ("fsync", "sometimes", "'sometimes' is not one of always, interval, never"),
        ("raft_addr", "node1", "'node1' is not host:port"),
        ("raft_addr", "node1:", "'node1:' is not host:port"),
        ("raft_addr", ":4000", "':4000' is not host:port"),
        ("raft_addr", "node1:0", "'node1:0' is not host:port"),
        ("raft_addr", "node1:65536", "'node1:65536' is not host:port"),
        ("raft_addr", "::1:4000", "'::1:4000' is not host:port"),
        ("peers", "node2:4000,node3", "'node3' is not host:port"),
        *(
            ("allowed_origins", value, f"{value.rpartition(',')[2]!r} is not an origin as browsers send it")
            for value in (
                "app.example",
                "null",
                "https://",
                "https://app.example/",
                "https://app.example/path",
                "https://App.example",
                "HTTPS://app.example",
                "https://app.example:443",
                "http://app.example:80",
                "https://app.example:0",
                "https://app.example:08",
                "https://app.example:65536",
                "https://user@app.example",
                "https://*.example",
                "https://\u00fc.example",
                "https://app.example,localhost:8080",
            )
        ),
        ("allowed_origins", "*,https://app.example", "* allows all; name it alone, or leave it out"),
        *(
            ("node_urls", value, f"{value.rpartition(',')[2]!r} is not where a browser reaches a node")
            for value in ("node1:3000", "*", "https://node1.example/", "http://a.example,ftp://b.example")
        ),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_it_came_by(name: str, value: str, words: str) -> None:
    """The sentence names the flag or the variable, whichever the value came from."""
    by_flag = refusal({name: value})

    assert by_flag.startswith(flag_of(name))
    assert words in by_flag
    if name not in {"raft_addr", "peers", "allowed_origins", "node_urls"}:
        assert refusal({}, {variable_of(name): value}).startswith(variable_of(name))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 3000\n", "'prot' is no setting; the settings are access_log, addr, "),
        ('port = "3000"\n', None),
        ("port = true\n", "port: True is not a whole number"),
        ("port = 3000.0\n", "port: 3000.0 is not a whole number"),
        ("addr = 1\n", "addr: 1 is not text"),
        ("peers = [1]\n", "peers: [1] is not HOST:PORT,..."),
        ("[server]\nport = 1\n", "'server' is no setting"),
        ("port = \n", "not TOML"),
    ],
)
def test_a_file_is_refused_by_its_name_and_key(tmp_path: Path, text: str, words: str | None) -> None:
    """A number in quotes is a number all the same; anything else must be of the right kind."""
    path = given_file(tmp_path, text)

    if words is None:
        assert load({"config": path}, {}).port == 3000
    else:
        sentence = refusal({"config": path})
        assert sentence.startswith(path)
        assert words in sentence


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    """Also when it was named by the environment: a setting silently lost is worse than no start."""
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")

    assert "cannot be read" in refusal({"config": str(tmp_path / "nowhere.toml")})
    assert "cannot be read" in refusal({}, {"CQUEUE_CONFIG": str(tmp_path)})
    assert "not TOML" in refusal({"config": str(binary)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cluster_secret": ""}, "openssl rand -hex 32"),
        ({"cluster_secret": "x" * 31}, "at least 32 characters"),
        ({"cluster_secret": "", "cluster_secret_file": "nowhere"}, "--cluster-secret-file: nowhere: cannot be read"),
        ({"raft_addr": ""}, "--raft-addr is needed with --peers"),
        ({"peers": "node2:4000,node2:4000"}, "--peers: names a node twice"),
        ({"peers": "node2:4000,node1:4000"}, "or this node itself"),
    ],
)
def test_a_cluster_that_cannot_work_is_refused(change: Mapping[str, str], words: str) -> None:
    """The sentence says what to do about it."""
    assert words in refusal({**MEMBER, **change})


@pytest.mark.parametrize(
    "timing",
    [
        {"heartbeat_ms": 167},
        {"election_ms_min": 1000, "election_ms_max": 1000},
        {"election_ms_min": 1001},
        {"election_ms_min": 300},
    ],
)
def test_elections_that_could_not_settle_are_refused(timing: Mapping[str, int]) -> None:
    """Three heartbeats fit into the shortest silence, and silences differ."""
    assert "--election-ms-min" in refusal(timing)


@pytest.mark.parametrize("given", [["raft_tls_cert"], ["raft_tls_key", "raft_tls_ca"]])
def test_tls_between_nodes_takes_all_three_files_or_none(given: list[str]) -> None:
    """With one missing there would be no TLS, or none that proves anything."""
    missing = ", ".join(flag_of(name) for name in TLS if name not in given)
    assert refusal({name: TLS[name] for name in given}).startswith(f"{missing}: missing; ")


@pytest.mark.parametrize("name", HTTPS)
def test_tls_for_clients_takes_a_certificate_and_its_key(name: str) -> None:
    """One without the other is refused, and so is what they alone give a meaning."""
    sentence = refusal({name: HTTPS[name]})
    if name in {"tls_cert", "tls_key"}:
        other = "--tls-key" if name == "tls_cert" else "--tls-cert"
        assert sentence == f"{other}: missing; TLS takes a certificate and its key"
    else:
        assert sentence == f"{flag_of(name)}: goes with --tls-cert and --tls-key only"


def test_a_secret_is_not_needed_by_a_node_that_is_alone() -> None:
    """Neither is a raft address."""
    settings = load({"cluster_secret": "x"}, {})

    assert (settings.is_cluster, len(settings.cluster_secret)) == (False, 1)


def test_settings_cannot_be_changed() -> None:
    """They are read once, in one place."""
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]
