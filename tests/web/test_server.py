"""How gunicorn is run: the number of workers, what it listens to, and that nobody else configures it."""

from __future__ import annotations

import logging
import os

import pytest
from gunicorn.config import Config

from cqueue.config import Settings
from cqueue.web.server import QuietLogger, gunicorn_options, worker_count
from tests.support import eventually
from tests.web.replica import StandInReplica
from tests.web.web import Web


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (3, 2), (16, 15)])
def test_workers_leave_a_core_to_the_replica(monkeypatch: pytest.MonkeyPatch, cores: int, workers: int) -> None:
    """One up to two cores, then one less than there are."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert worker_count(Settings()) == workers


def test_a_number_of_workers_that_was_set_is_taken() -> None:
    """However many cores there are."""
    assert worker_count(Settings(workers=7)) == 7


def test_gunicorn_takes_every_option() -> None:
    """Each name is one of its settings, each value passes its check."""
    config = Config()
    for name, value in gunicorn_options(Settings(), 5).items():
        config.set(name, value)
    assert config.address == [5]


def test_gunicorns_chatter_is_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    """Its comings and goings are not a user's concern; its warnings are."""
    caplog.set_level(logging.INFO)
    logger = QuietLogger(Config())
    logger.info("Listening at: %s", "somewhere")
    logger.warning("odd: %s", "thing")
    assert caplog.messages == ["odd: thing"]


def test_several_workers_share_one_address(own_replica: StandInReplica) -> None:
    """Each has a link of its own, and all of them end with the master."""
    web = Web(own_replica, own_replica.path.parent, {"workers": 2})
    web.start()
    try:
        eventually(lambda: web.log.count("replica_connected") == 2)
        assert len(web.worker_pids()) == 2
        assert web.send("PUT", "/jobs/enqueue").json == {"id": 1}
    finally:
        assert web.stop() == 0


def test_gunicorns_own_configuration_has_no_say(own_replica: StandInReplica) -> None:
    """Neither its variables nor those that CGI left behind."""
    environ = {"GUNICORN_CMD_ARGS": "--workers 3", "WEB_CONCURRENCY": "3", "SCRIPT_NAME": "/else", "GUNICORN_FD": "9"}
    web = Web(own_replica, own_replica.path.parent, environ=environ)
    web.start()
    try:
        assert len(web.worker_pids()) == 1
        assert web.send("GET", "/livez").status == 200
    finally:
        assert web.stop() == 0
