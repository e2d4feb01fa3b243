"""Holds what is deployed to watch a cluster to its metrics: the alert rules, their run-book, the dashboard.

Where promtool is installed it has its word, too.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from cqueue.metrics import METRICS
from tests.docs.test_docs import ROOT, subsections_of

PROMETHEUS: Final = ROOT / "deploy" / "prometheus"
RULES: Final = (PROMETHEUS / "cqueue.rules.yml").read_text(encoding="utf-8")
RULE_TESTS: Final = (PROMETHEUS / "cqueue.rules.test.yml").read_text(encoding="utf-8")
DASHBOARD: Final[dict[str, Any]] = json.loads((ROOT / "deploy" / "grafana" / "cqueue.json").read_text(encoding="utf-8"))
OPERATIONS: Final = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
PROMTOOL: Final = shutil.which("promtool")

ALERTS: Final = re.findall(r"- alert: (\w+)", RULES)
EXPRESSIONS: Final = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
OF_SCRAPES: Final = {"job", "instance", "le"}
"""Labels that no node gives."""


def promtool(*arguments: str) -> None:
    """Have promtool check something; it says what is wrong."""
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def metrics_in(text: str) -> set[str]:
    """The metrics it names; a histogram by any of its series."""
    named = set(re.findall(r"\bcqueue_\w+", text))
    return {re.sub(r"_(bucket|sum|count)$", "", name) if name not in METRICS else name for name in named}


def labels_in(text: str) -> set[str]:
    """The labels it selects or sums by."""
    grouped = re.findall(r"(?:by|on) \(([^)]*)\)", text)
    selected = re.findall(r"[{,] ?(\w+)(?:=|!)", text)
    return {label.strip() for group in grouped for label in group.split(",")} | set(selected)


def test_rules_and_dashboard_name_metrics_that_are_shown() -> None:
    """And every metric is on the dashboard."""
    assert metrics_in(RULES) | metrics_in(RULE_TESTS) <= METRICS.keys()
    assert metrics_in(" ".join(EXPRESSIONS)) == METRICS.keys()


def test_rules_and_dashboard_go_by_labels_that_are_there() -> None:
    """Each expression by those of its own metrics, and those that a scrape adds."""
    for expression in [*EXPRESSIONS, *re.findall(r"expr: (.*)", RULES)]:
        known = {label for name in metrics_in(expression) for label in METRICS[name].labels}
        assert labels_in(expression) <= known | OF_SCRAPES, expression


def test_every_alert_has_its_run_book_and_a_link_to_it() -> None:
    """One section for each, in the order of the rules, with something to do."""
    sections = subsections_of(OPERATIONS, "Alerts")
    assert list(sections) == ALERTS
    linked = re.findall(r"runbook_url: \S+/docs/operations\.md#(\w+)", RULES)
    assert linked == [alert.lower() for alert in ALERTS]
    for alert, section in sections.items():
        assert re.search(r"^(1\.|-) ", section, re.MULTILINE), alert


def test_every_alert_is_seen_to_come_in_a_test_of_the_rules() -> None:
    """With what it says."""
    tested = set(re.findall(r"alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:", RULE_TESTS))
    assert tested == set(ALERTS)


def test_panels_have_titles_of_their_own_and_do_not_overlap() -> None:
    """Each in its place, with a figure that has a name."""
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert len({panel["title"] for panel in panels}) == len(panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert all(target["legendFormat"] for panel in panels for target in panel["targets"])


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_takes_the_rules_and_their_tests_pass() -> None:
    """As Prometheus itself reads them."""
    promtool("check", "rules", str(PROMETHEUS / "cqueue.rules.yml"))
    promtool("test", "rules", str(PROMETHEUS / "cqueue.rules.test.yml"))


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_takes_what_the_dashboard_asks(tmp_path: Path) -> None:
    """Each expression, with Grafana's variables filled in."""
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m").replace("$queue", ".*")}
        for number, expression in enumerate(EXPRESSIONS)
    ]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    promtool("check", "rules", str(file))
