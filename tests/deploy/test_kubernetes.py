"""The resources for Kubernetes: they fit its schemas and each other, and a node takes what they set."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from cqueue import __version__, config, node
from cqueue.web.auth.routes import OPEN, ROLES_OF

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy" / "kubernetes"
OVERLAY: Final = Path("overlays", "three-zones")
RELEASES: Final = ("1.29", kubernetes_validate.latest_version())
"""The oldest one that the files are written for, and the newest whose schemas are installed."""
FOREIGN: Final = {"Kustomization", "Component", "ServiceMonitor"}
"""Kinds that have no schema in Kubernetes itself."""
SECRETS: Final = ("cluster-secret", "tokens.toml", "scraper.token")

kustomize = pytest.mark.skipif(
    shutil.which("kubectl") is None and shutil.which("kustomize") is None,
    reason="neither kubectl nor kustomize on this machine",
)


def given_resources(folder: str) -> Iterator[dict[str, Any]]:
    """Every document of the folder's files that is a whole resource; patches are none."""
    for path in sorted((DEPLOY / folder).glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if isinstance(document, dict):
                yield document


def given_one(kind: str, name: str = "cqueue") -> dict[str, Any]:
    """The only resource of that kind and name in the base."""
    (found,) = [
        one for one in given_resources("base") if (one["kind"], one.get("metadata", {}).get("name")) == (kind, name)
    ]
    return found


def given_pod() -> dict[str, Any]:
    """What each pod is made from."""
    pod: dict[str, Any] = given_one("StatefulSet")["spec"]["template"]["spec"]
    return pod


def given_environment(pod_name: str, tmp_path: Path) -> dict[str, str]:
    """What the container's shell hands to `cqueue serve` in the pod of that name: it is run with a `cqueue` of ours."""
    (container,) = given_pod()["containers"]
    environment = {"POD_NAME": pod_name, "POD_NAMESPACE": "queues", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for entry in container["env"]:
        value = entry.get("value", environment.get(entry["name"]))
        for name, known in environment.items():
            value = value.replace(f"$({name})", known)
        environment[entry["name"]] = value
    (tmp_path / "cqueue").write_text('#!/bin/sh\n[ "$*" = serve ] && env\n')
    (tmp_path / "cqueue").chmod(0o700)
    done = subprocess.run(
        [*container["command"], *container["args"]],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("folder", ["base", "components/monitoring"])
def test_every_resource_fits_the_schemas(folder: str, release: str) -> None:
    """Strictly: a field that Kubernetes does not know is an error."""
    own = [one for one in given_resources(folder) if one["kind"] not in FOREIGN]
    assert own
    for one in own:
        kubernetes_validate.validate(one, release, strict=True)


@kustomize
@pytest.mark.parametrize("release", RELEASES)
def test_the_overlay_builds_and_fits_the_schemas(release: str, tmp_path: Path) -> None:
    """With the files that whoever applies it has to make; all of it is in one namespace."""
    shutil.copytree(DEPLOY, tmp_path / "kubernetes", ignore=shutil.ignore_patterns(*SECRETS))
    for name in SECRETS:
        (tmp_path / "kubernetes" / OVERLAY / name).write_text("secret")
    program = ["kustomize", "build"] if shutil.which("kustomize") else ["kubectl", "kustomize"]

    done = subprocess.run(
        [*program, str(tmp_path / "kubernetes" / OVERLAY)], capture_output=True, text=True, check=True, timeout=60
    )

    built = list(yaml.safe_load_all(done.stdout))
    for one in built:
        if one["kind"] not in FOREIGN:
            kubernetes_validate.validate(one, release, strict=True)
    assert {one["metadata"].get("namespace", "cqueue") for one in built} == {"cqueue"}
    (claim,) = next(one for one in built if one["kind"] == "StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "fast-local"
    secrets = {one["metadata"]["name"]: set(one["data"]) for one in built if one["kind"] == "Secret"}
    assert secrets == {"cqueue": {"cluster-secret", "tokens.toml"}, "cqueue-scraper": {"token"}}


def test_the_image_is_that_of_this_version() -> None:
    """The base names the version that the code says."""
    (kustomization,) = [one for one in given_resources("base") if one["kind"] == "Kustomization"]
    assert [image["newTag"] for image in kustomization["images"]] == [__version__]


def test_git_takes_no_secret_of_the_overlay() -> None:
    """The files that have to be put beside the overlay are ignored."""
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {f"/deploy/kubernetes/overlays/*/{name}" for name in ("cluster-secret", "tokens.toml", "*.token")} <= set(
        ignored
    )


def test_every_pod_starts_a_member_of_one_cluster(tmp_path: Path) -> None:
    """Each is a durable node that asks for tokens; its peers are the others, by names that do not change."""
    (tmp_path / "secret").write_text("0" * config.SECRET_CHARS_MIN)
    settings = []
    for number in range(given_one("StatefulSet")["spec"]["replicas"]):
        environment = given_environment(f"cqueue-{number}", tmp_path)
        # The secret is in a volume, and the image sets the address.
        environment |= {"CQUEUE_CLUSTER_SECRET_FILE": str(tmp_path / "secret"), "CQUEUE_ADDR": "0.0.0.0"}
        settings.append(config.load({}, environment))

    ids = {one.node_id for one in settings}
    assert ids == {f"cqueue-{number}.cqueue-raft.queues.svc.cluster.local:4000" for number in range(len(settings))}
    for one in settings:
        assert (one.mode, one.asks_who, set(one.peers)) == ("durable", True, ids - {one.node_id})


def test_a_pod_that_comes_later_knows_all_first_members(tmp_path: Path) -> None:
    """`kubectl scale` adds a node with the members as its peers, as docs/operations.md wants it."""
    environment = given_environment("cqueue-3", tmp_path)
    assert len(environment["CQUEUE_PEERS"].split(",")) == 3
    assert "cqueue-3." not in environment["CQUEUE_PEERS"]


def test_every_variable_is_a_setting_or_used_by_the_shell() -> None:
    """A misspelt setting would be passed over in silence."""
    (container,) = given_pod()["containers"]
    names = {entry["name"] for entry in container["env"]}
    settings = {config.variable_of(name) for name in config.Settings.__dataclass_fields__}
    assert {name for name in names if name.startswith(config.ENV_PREFIX)} <= settings
    assert all(f"${name}" in container["args"][0] for name in names - settings - {"POD_NAME"})


def test_the_name_of_a_service_is_not_mistaken_for_a_setting() -> None:
    """For a service `cqueue`, Kubernetes would set CQUEUE_PORT in each pod."""
    assert given_one("Service")["metadata"]["name"] == "cqueue"
    assert given_pod()["enableServiceLinks"] is False


def test_nodes_find_each_other_before_they_are_ready() -> None:
    """All pods start together, and their names are there at once: alone, none of them ever gets ready."""
    stateful = given_one("StatefulSet")["spec"]
    headless = given_one("Service", stateful["serviceName"])["spec"]
    assert stateful["podManagementPolicy"] == "Parallel"
    assert (headless["clusterIP"], headless["publishNotReadyAddresses"]) == ("None", True)


def test_a_pod_has_the_time_that_a_node_takes_to_stop() -> None:
    """Kubernetes kills later than a node is done, the wait before it counted."""
    pod = given_pod()
    (container,) = pod["containers"]
    _, wait_s = container["lifecycle"]["preStop"]["exec"]["command"]
    longest_s = int(wait_s) + node.WEB_STOP_S_MAX + node.REPLICA_STOP_S_MAX
    assert pod["terminationGracePeriodSeconds"] > longest_s


def test_selectors_and_ports_lead_to_the_pods() -> None:
    """Services, budget, policies and the monitor select the labels and name the ports that there are."""
    stateful = given_one("StatefulSet")["spec"]
    labels = stateful["template"]["metadata"]["labels"]
    (container,) = given_pod()["containers"]
    ports = {port["name"] for port in container["ports"]}
    services = [one for one in given_resources("base") if one["kind"] == "Service"]
    for service in services:
        assert service["spec"]["selector"] == labels
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    assert stateful["selector"]["matchLabels"] == labels
    assert given_one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    for one in itertools.chain(given_resources("base"), given_resources("components/monitoring")):
        if one["kind"] == "NetworkPolicy":
            assert one["spec"]["podSelector"]["matchLabels"] == labels
            rules = one["spec"]["ingress"] + one["spec"].get("egress", [])
            assert {port["port"] for rule in rules for port in rule["ports"]} <= {*ports, 53}
    (monitor,) = [one for one in given_resources("components/monitoring") if one["kind"] == "ServiceMonitor"]
    (watched,) = [
        service
        for service in services
        if service["metadata"].get("labels", {}).items() >= monitor["spec"]["selector"]["matchLabels"].items()
    ]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in watched["spec"]["ports"]}
    assert "viewer" in ROLES_OF[f"GET {endpoint['path']}"]


def test_probes_ask_what_needs_no_token() -> None:
    """Each probe's route is open to everybody; only readiness depends on the other nodes."""
    (container,) = given_pod()["containers"]
    asked = {probe: f"GET {container[probe]['httpGet']['path']}" for probe in container if probe.endswith("Probe")}
    assert asked == {
        "startupProbe": "GET /livez",
        "livenessProbe": "GET /livez",
        "readinessProbe": "GET /readyz",
    }
    assert set(asked.values()) <= set(OPEN)
