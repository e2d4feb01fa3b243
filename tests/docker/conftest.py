"""Finds an engine, builds the image once and brings compose files up, each test with its own volumes.

Where no engine can be had the tests of this room skip with one line. On CI (CI=true) that is a failure:
a tier that never runs must not look like one that passed. CQUEUE_NO_DOCKER=1 skips it there too.
"""

from __future__ import annotations

import gc
import os
import re
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any, Final

import docker
import pytest

from tests.docker.compose import ROOT, Project, Unreachable, compose_command
from tests.support import eventually

IMAGE: Final = "cqueue:test"
ENGINE_S: Final = 600
"""Longest silence of the engine: a step of a build may take minutes without a word."""
READY_S: Final = 90
OPT_OUT: Final = "CQUEUE_NO_DOCKER"
LABEL_BUILD_NETWORK: Final = "cqueue.build-network="
"""The engine that engine.sh starts says with this label what network a build needs."""


def pytest_runtest_setup() -> None:
    """Skip or fail here rather than in a fixture, so that pytest folds all of them into one line."""
    lack = _lack()
    if not lack:
        return
    if os.environ.get("CI") == "true" and os.environ.get(OPT_OUT) != "1":
        pytest.fail(f"{lack}; on CI these tests must run unless {OPT_OUT}=1", pytrace=False)
    pytest.skip(lack)


@cache
def _lack() -> str:
    """What is missing on this machine, as a sentence; empty when all is there."""
    if os.environ.get(OPT_OUT) == "1":
        return f"no Docker engine: {OPT_OUT}=1"
    if not _engine_answers():
        return "no Docker engine: none answers; `make docker` starts one where it can"
    if compose_command() is None:
        return "no compose: neither `docker compose` nor `docker-compose` is installed"
    return ""


def _engine_answers() -> bool:
    with warnings.catch_warnings():
        # Where nobody answers, the SDK leaves its socket to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            docker.from_env().close()
        except docker.errors.DockerException:
            answers = False
        else:
            answers = True
        gc.collect()
    return answers


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """A client of the engine that the environment names."""
    client = docker.from_env(timeout=ENGINE_S)
    yield client
    client.close()


@pytest.fixture(scope="session")
def base_image() -> str:
    """The name of the image that the Dockerfile builds on."""
    match = re.search(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert match is not None, "the Dockerfile has no FROM"
    return match[1]


@pytest.fixture(scope="session")
def image(engine: Any) -> str:
    """The name of the image, built from this tree."""
    labels: list[str] = engine.info().get("Labels") or []
    networks = [label.removeprefix(LABEL_BUILD_NETWORK) for label in labels if label.startswith(LABEL_BUILD_NETWORK)]
    try:
        engine.images.build(
            path=str(ROOT), tag=IMAGE, rm=True, forcerm=True, network_mode=networks[0] if networks else None
        )
    except docker.errors.BuildError as error:
        log = "".join(line.get("stream", "") for line in error.build_log)
        pytest.fail(f"the image cannot be built: {error}\n{log[-4000:]}", pytrace=False)
    return IMAGE


@pytest.fixture
def bring_up(engine: Any, image: str) -> Iterator[Callable[[str], Project]]:
    """Brings a compose file up and waits until every node says that it is ready; takes all down at the end."""
    with ExitStack() as cleanup:

        def up(file: str) -> Project:
            project = Project(engine, file, f"cqueue-test-{uuid.uuid4().hex[:8]}", image)
            cleanup.callback(project.down)
            project.up()
            try:
                for node in project.nodes:
                    eventually(node.is_ready, within_s=READY_S, ignoring=Unreachable)
            except AssertionError:
                # What a teardown prints is not shown with the error of a fixture.
                project.print_logs()
                raise
            return project

        yield up


@pytest.fixture
def cluster(bring_up: Callable[[str], Project]) -> Project:
    """Three nodes that are ready, with empty volumes."""
    return bring_up("compose.cluster.yaml")


@pytest.fixture
def node(bring_up: Callable[[str], Project]) -> Any:
    """A single node that is ready, with an empty volume."""
    (only,) = bring_up("compose.yaml").nodes
    return only
