"""GitHub's files fit their schemas; the workflows do nothing that `make` does not, with no right to spare."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
GITHUB: Final = ROOT / ".github"
WORKFLOWS: Final = sorted((GITHUB / "workflows").glob("*.yml"))
SCHEMAS: Final = {
    "vendor.github-workflows": WORKFLOWS,
    "custom.github-workflows-require-timeout": WORKFLOWS,
    "vendor.dependabot": [GITHUB / "dependabot.yml"],
    "vendor.github-issue-forms": [GITHUB / "ISSUE_TEMPLATE" / "bug.yml", GITHUB / "ISSUE_TEMPLATE" / "wish.yml"],
    "vendor.github-issue-config": [GITHUB / "ISSUE_TEMPLATE" / "config.yml"],
}

each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def given_workflow(path: Path) -> dict[str, Any]:
    """The workflow as it stands there; YAML takes `on` for true."""
    workflow: dict[str, Any] = yaml.safe_load(path.read_text())
    return workflow


def given_steps(path: Path) -> Iterator[dict[str, Any]]:
    """Every step of every job of its own."""
    for job in given_workflow(path)["jobs"].values():
        yield from job.get("steps", [])


def given_targets() -> set[str]:
    """What the Makefile makes."""
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_file_fits_its_schema(schema: str) -> None:
    """Also the one that asks each job for a time-out."""
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, SCHEMAS[schema])],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


def test_zizmor_finds_no_hole() -> None:
    """What it can tell without asking GitHub, of workflows, Dependabot and hooks, of whatever severity."""
    program = Path(sysconfig.get_path("scripts"), "zizmor")
    done = subprocess.run(
        [program, "--offline", "--no-progress", "--quiet", str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@each_workflow
def test_every_step_is_a_target_of_the_makefile(path: Path) -> None:
    """So that whatever fails there can be run anywhere; what a step takes from the event is in its environment."""
    for step in given_steps(path):
        for command in step.get("run", "").splitlines():
            target = re.match(r"make (\$\{\{ matrix\.target \}\}|[a-z-]+)", command)
            assert target is not None, command
            assert target[1] in given_targets() or "matrix" in target[1], command
    for job in given_workflow(path)["jobs"].values():
        assert set(job.get("strategy", {}).get("matrix", {}).get("target", [])) <= given_targets()


@each_workflow
def test_every_action_is_pinned_to_a_commit(path: Path) -> None:
    """With the version that the commit is, for people and for Dependabot."""
    uses = re.findall(r"uses: (?!\./)(.+)$", path.read_text(), re.MULTILINE)
    for use in uses:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use), use


@each_workflow
def test_no_right_is_given_by_default(path: Path) -> None:
    """Each job says its own; writing is for those that publish."""
    workflow = given_workflow(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        writes = {right for right, kind in job["permissions"].items() if kind == "write"}
        assert not writes or path.stem != "ci", name


def test_the_tests_run_on_every_python_that_the_package_names() -> None:
    """The matrix and the classifiers are the same list."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"'Programming Language :: Python :: (3\.\d+)'", str(project["classifiers"]))
    assert given_workflow(GITHUB / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"] == named


def test_the_hooks_are_the_checks_of_the_makefile() -> None:
    """Each runs a program of the development environment that `make lint`, `types` or `layers` runs."""
    makefile = (ROOT / "Makefile").read_text()
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        command = hook["entry"].removeprefix(".venv/bin/").removesuffix(" --force-exclude")
        assert f"$(BIN)/{command}" in makefile, hook["id"]
