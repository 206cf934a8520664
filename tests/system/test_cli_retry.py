"""`factory runs retry` and `jobs retry` with other inputs, more time, or another version."""

from __future__ import annotations

import io
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.bootstrap import Runtime, open_runtime
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Run, RunRequest, RunStatus
from factory_runtime.services.plans import read_plan
from factory_runtime.services.request_run import request_run
from tests.cli_home import Factory, fail_run, get_jobs, get_run

HEAD = "id: demo\nversion: {}\ntitle: Demo\ndescription: Shows a rule.\n"


@pytest.fixture
def failed(runtime: Runtime) -> Run:
    return fail_run(runtime)


def inputs_of(factory: Factory, run: Run) -> Any:
    return factory.runtime.inputs_of(get_run(factory.runtime, run))


def test_inputs_that_are_set_replace_those_of_the_run(factory: Factory, failed: Run) -> None:
    before = inputs_of(factory, failed)
    words = ("--set", "service_name=stock", "--set", "entities=item,shelf")
    said = factory("runs", "retry", failed.id, *words)
    assert (said.code, said.err) == (0, "")
    assert inputs_of(factory, failed) == {
        **before, "service_name": "stock", "entities": ["item", "shelf"],
    }  # fmt: skip
    jobs = get_jobs(factory.runtime, failed)
    assert {job.status for job in jobs.values()} == {JobStatus.PENDING}
    assert "apply-domain[shelf]" in jobs


def test_inputs_come_from_a_file_and_null_takes_one_away(
    factory: Factory, failed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "more.yaml").write_text("owner: shop\ndescription: Other.\n")
    assert factory("runs", "retry", failed.id, "--inputs", "more.yaml").code == 0
    assert inputs_of(factory, failed)["owner"] == "shop"
    fail_again(factory, failed)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"owner": null}')))
    assert factory("runs", "retry", failed.id, "--inputs", "-").code == 0
    assert inputs_of(factory, failed)["owner"] == "platform"
    assert inputs_of(factory, failed)["description"] == "Other."


def test_a_job_that_is_no_longer_planned_is_shown_as_such(factory: Factory, failed: Run) -> None:
    factory("runs", "retry", failed.id, "--set", "entities=item")
    fail_again(factory, failed)
    factory("runs", "retry", failed.id, "--set", "entities=shelf")
    shown = factory("runs", "show", failed.id)
    assert (shown.code, shown.err) == (0, "")
    assert re.search(r"apply-domain\[item\] +Skipped .*not-planned", shown.out)
    assert re.search(r"apply-domain\[shelf\] +Pending", shown.out)
    why = factory("jobs", "show", failed.id, "apply-domain[item]").out
    assert "the run's plan was changed, and has it no more" in why
    timeline = factory("runs", "logs", failed.id).out
    assert "cycle 2" in timeline


def fail_again(factory: Factory, run: Run) -> None:
    with factory.runtime.store.begin("local") as tx:
        stands = tx.lock_run(run.id)
        tx.save_run(stands, stands.move_to(RunStatus.FAILED, factory.runtime.clock.now()))


@pytest.mark.parametrize("word", ["runs", "jobs"])
def test_a_job_gets_more_time(factory: Factory, failed: Run, word: str) -> None:
    step = ("generate-repo",) if word == "jobs" else ()
    assert factory(word, "retry", failed.id, *step, "--timeout", "3h").code == 0
    plan = read_plan(factory.runtime.storage, get_run(factory.runtime, failed))
    assert plan.job("generate-repo").timeout == timedelta(hours=3)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--set", "service_name=Not A Name", "--set", "owner=X"), 2, "2 problems"),
        (("--set", "colour=red"), 2, "colour"),
        (("--set", "colour"), 2, "write --set name=value"),
        (("--inputs", "nowhere.yaml"), 2, "nowhere.yaml"),
        (("--timeout", "soon"), 2, "--timeout is 'soon', which is no duration"),
        (("--timeout", "0s"), 2, "--timeout"),
        (("--template-version", "9.9.9"), 2, "no version 9.9.9"),
    ],
)
@pytest.mark.parametrize("word", ["runs", "jobs"])
def test_a_change_that_cannot_be_made_leaves_the_run_as_it_was(
    factory: Factory, failed: Run, words: tuple[str, ...], code: int, message: str, word: str
) -> None:
    step = ("generate-repo",) if word == "jobs" else ()
    before = get_run(factory.runtime, failed), get_jobs(factory.runtime, failed)
    said = factory(word, "retry", failed.id, *step, *words)
    assert (said.code, said.out) == (code, "")
    assert message in said.err
    assert (get_run(factory.runtime, failed), get_jobs(factory.runtime, failed)) == before


def test_what_is_set_within_an_input_changes_that_alone(
    factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "templates" / "demo"
    folder.mkdir(parents=True)
    shape = "{type: object, properties: {a: {type: integer}, b: {type: integer}}}"
    text = f"inputs: {{type: object, properties: {{size: {shape}}}}}\nsteps:\n"
    step = "  - {name: build, type: repo-generation, with: {repository: x, source: files}}\n"
    (folder / "files").mkdir()
    (folder / "files" / "readme.txt").write_text("hello\n")
    (folder / "template.yaml").write_text(HEAD.format("1.0.0") + text + step)
    monkeypatch.setenv("FACTORY_TEMPLATE_FOLDERS", f'["{folder.parent}"]')
    request = RunRequest("local", "shop", "demo", {"size": {"a": 1, "b": 2}}, "ada")
    run = request_run(open_runtime().desk, request)
    fail_again(factory, run)
    said = factory("runs", "retry", run.id, "--set", "size.b=3")
    assert (said.code, said.err) == (0, "")
    assert inputs_of(factory, run) == {"size": {"a": 1, "b": 3}}
