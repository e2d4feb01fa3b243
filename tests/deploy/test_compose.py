"""The compose files fit their schema, give no container a privilege, and name only files and settings that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from cqueue import config, node

ROOT: Final = Path(__file__).parents[2]
FILES: Final = ("compose.yaml", "compose.cluster.yaml")

each_file = pytest.mark.parametrize("file", FILES)


def given_compose(file: str) -> dict[str, Any]:
    """The file, with what its anchors stand for."""
    compose: dict[str, Any] = yaml.safe_load((ROOT / file).read_text())
    return compose


def given_nodes() -> dict[str, dict[str, Any]]:
    """The services of both files that run a node, by file and name."""
    return {
        f"{file} {name}": service
        for file in FILES
        for name, service in given_compose(file)["services"].items()
        if name.startswith("node")
    }


@each_file
def test_the_file_fits_the_schema(file: str) -> None:
    """That of the Compose Specification."""
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(ROOT / file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


@each_file
def test_no_container_has_a_privilege(file: str) -> None:
    """None can write to its root file system, has a capability, gains a privilege, or is reached from elsewhere."""
    compose = given_compose(file)
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        # The user of cqueue's own image is set in the Dockerfile.
        assert "cqueue" in service["image"] or re.fullmatch(r"[1-9]\d*:\d+", service["user"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
    assert "USER 10001:10001" in (ROOT / "Dockerfile").read_text()


@each_file
def test_images_are_named_in_full(file: str) -> None:
    """With their registry, as Podman asks for it, and a version; `cqueue:local` is built."""
    for name, service in given_compose(file)["services"].items():
        image = re.sub(r"\$\{\w+:-(.+)\}", r"\1", service["image"])
        assert image == "cqueue:local" or re.fullmatch(r"docker\.io/[\w-]+/[\w-]+:v?\d[\d.]*", image), name
    bases = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {base.split("/")[0] for base in bases} == {"docker.io"}


@each_file
def test_every_volume_and_folder_is_there(file: str) -> None:
    """What is mounted from this directory exists, and every named volume is declared and used."""
    compose = given_compose(file)
    sources = {mount.split(":")[0] for service in compose["services"].values() for mount in service.get("volumes", [])}
    folders = {source for source in sources if source.startswith("./")}
    assert {folder for folder in folders if not (ROOT / folder).is_dir()} == set()
    assert sources - folders == set(compose["volumes"])


def test_a_node_takes_its_variables() -> None:
    """Each node is durable; those of the cluster name one another."""
    members = []
    for name, service in given_nodes().items():
        # As compose reads them where the host's environment says nothing.
        variables = {key: re.sub(r"\$\{\w+:?-([^}]*)\}", r"\1", value) for key, value in service["environment"].items()}
        if variables.pop("CQUEUE_CLUSTER_SECRET_FILE", None):
            variables["CQUEUE_CLUSTER_SECRET"] = "0" * config.SECRET_CHARS_MIN
        assert set(variables) <= {config.variable_of(setting) for setting in config.Settings.__dataclass_fields__}
        settings = config.load({}, variables)
        assert settings.mode == "durable", name
        if settings.is_cluster:
            members.append(settings)
    ids = {settings.node_id for settings in members}
    assert len(ids) == 3
    assert all(set(settings.peers) == ids - {settings.node_id} for settings in members)


def test_a_node_has_the_time_that_it_takes_to_stop() -> None:
    """The engine kills later than a node is done."""
    for name, service in given_nodes().items():
        grace_s = int(service["stop_grace_period"].removesuffix("s"))
        assert grace_s > node.WEB_STOP_S_MAX + node.REPLICA_STOP_S_MAX, name


def test_what_watches_the_nodes_knows_them_all() -> None:
    """Prometheus scrapes, and the proxy asks, each node of the cluster; Grafana asks Prometheus."""
    services = given_compose("compose.cluster.yaml")["services"]
    nodes = {f"{name}:3000" for name in services if name.startswith("node")}
    prometheus = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    (scrape,) = prometheus["scrape_configs"]
    assert set(scrape["static_configs"][0]["targets"]) == nodes
    proxy = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text()
    assert set(re.findall(r"^ +server \S+ (\S+)$", proxy, re.MULTILINE)) == nodes
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services
