"""A generated pipeline finds out by itself which request it comes from: its files are cached."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment

from factory_runtime.domain.tree import TreeFile
from factory_runtime.hosts.local import LocalGitHost
from factory_runtime.jobs.pipeline_generation import PipelineGeneration
from factory_runtime.jobs.publishing import naming_of
from factory_runtime.ports import CommitOrder
from factory_runtime.telemetry.trace_context import read_traceparent, root_span_id
from tests.builders import NOON

RUN = "run-01m7ysxj55z4e7h9b9jygnnpt3"
TRACE = "0af7651916cd43dd8448eb211c80319c"
FILES = {"github-actions": ".github/workflows/ci.yml", "azure-pipelines": "azure-pipelines.yml"}
EXPECTED = {
    "FACTORY_RUN": RUN,
    "FACTORY_STEP": "apply[a]",
    "FACTORY_TRACE": TRACE,
    "TRACEPARENT": f"00-{TRACE}-{root_span_id(RUN)}-01",
}


def pipeline(flavour: str) -> Any:
    """What the type renders of it."""
    folder = PipelineGeneration.facts.sources[flavour] / "template"
    text = (folder / f"{FILES[flavour]}.jinja").read_text()
    rendered = Environment(autoescape=False).from_string(text).render(database="postgres")  # noqa: S701 - YAML
    return yaml.safe_load(rendered)


def the_step(flavour: str) -> str:
    """The shell script of the step that traces."""
    if flavour == "github-actions":
        steps = pipeline(flavour)["jobs"]["image"]["steps"]
        return str(next(step["run"] for step in steps if step.get("name") == "Trace"))
    (image,) = (stage for stage in pipeline(flavour)["stages"] if stage["stage"] == "image")
    steps = image["jobs"][0]["steps"]
    return str(next(step["script"] for step in steps if step.get("displayName") == "Trace"))


def told(flavour: str, repository: Path, folder: Path) -> Mapping[str, str]:
    """The variables that the service would set after the step."""
    said = folder / "environment"
    said.touch()
    done = subprocess.run(
        ["bash", "-e", "-c", the_step(flavour)],
        cwd=repository,
        env={"PATH": "/usr/bin:/bin", "GITHUB_ENV": str(said)},
        capture_output=True,
        text=True,
        check=True,
    )
    if flavour == "github-actions":
        assert done.stdout == ""
        return dict(line.split("=", 1) for line in said.read_text().splitlines())
    found = re.findall(r"##vso\[task\.setvariable variable=(\w+)\](.*)\n", done.stdout)
    assert len(found) == len(done.stdout.splitlines())
    return dict(found)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the factory leaves it, checked out."""
    folder = tmp_path_factory.mktemp("made")
    host = LocalGitHost(folder / "git")
    made = host.ensure_repository("acme", "shop", "orders", effect_key="k", description="d")
    trailers = (*naming_of(RUN, "apply[a]"), ("Factory-Trace", TRACE))
    order = CommitOrder("shop", "orders", "Add it", trailers, "Ann", NOON)
    host.ensure_commit("acme", order, [TreeFile("a.txt", b"a")])
    subprocess.run(["git", "clone", "-q", made.url, folder / "here"], check=True)
    return folder / "here"


def commit(repository: Path, message: str) -> None:
    who = ("-c", "user.name=Bob", "-c", "user.email=bob@localhost")
    subprocess.run(
        ["git", *who, "commit", "-q", "--allow-empty", "-m", message], cwd=repository, check=True
    )


@pytest.mark.parametrize("flavour", FILES)
def test_a_pipeline_reads_run_step_and_trace_in_the_repository(
    flavour: str, repository: Path, tmp_path: Path
) -> None:
    variables = told(flavour, repository, tmp_path)
    assert variables == EXPECTED
    assert read_traceparent([variables["TRACEPARENT"]]) is not None


def test_commits_of_people_on_top_leave_it_as_it_is(repository: Path, tmp_path: Path) -> None:
    commit(repository, "Mend it\n\nFactory-Trace: not one")
    assert told("github-actions", repository, tmp_path) == EXPECTED


@pytest.mark.parametrize("flavour", FILES)
def test_what_a_trailer_says_sets_no_other_variable(flavour: str, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    hostile = "run-1\n LD_PRELOAD=/tmp/x\n ##vso[task.setvariable variable=A]b"
    commit(tmp_path, f"Do it\n\nFactory-Run: {hostile}\nFactory-Trace: {TRACE}")
    assert set(told(flavour, tmp_path, tmp_path / ".git")) == set(EXPECTED)


def test_a_repository_of_others_says_nothing(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    commit(tmp_path, "Begin")
    assert told("github-actions", tmp_path, tmp_path / ".git") == {}
