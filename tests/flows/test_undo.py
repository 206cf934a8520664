"""Undos on the whole stack: asked for, walked like any run, shown in Prefect, and done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.end_run import cancel_run
from tests.factory import Factory, until
from tests.recipes import a_layer, a_source, a_template

pytestmark = pytest.mark.slow

SLOW = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"
NEVER = "{{ none.nothing.at_all }}"


def undoable(name: str, *extra_steps: str) -> str:
    text = a_template(name, *extra_steps)
    step = "    type: repo-generation\n"
    assert step in text
    return text.replace(step, f"{step}    undo: delete-repository\n")


def place_of(factory: Factory, run: Run) -> Path:
    return factory.settings.git_folder / "local" / run.project_id / "svc.git"


def undoing(factory: Factory, run: Run) -> Run:
    """The run that undoes it, once that has ended."""

    def find() -> Run | None:
        with factory.runtime.store.begin("local", read_only=True) as tx:
            return tx.find_undoing_run(run.id)

    until(find, "an undo is made")
    found = find()
    assert found is not None
    return factory.wait(found)


def statuses(factory: Factory, run: Run) -> set[EffectStatus]:
    with factory.runtime.store.begin("local", read_only=True) as tx:
        return {effect.status for effect in tx.list_effects(run_id=run.id)}


def test_a_failure_that_says_so_is_undone_without_anybody_asking(factory: Factory):
    layer = a_layer("bad", "files/bad", on_failure="compensate", retry="{max_attempts: 1}")
    sources = {**a_source(), **a_source(NEVER, "files/bad")}
    factory.template("compensating", undoable("compensating", *layer), sources)
    failed = factory.complete("compensating", "compensating", name="svc")
    assert failed.status is RunStatus.FAILED
    other = undoing(factory, failed)
    assert (other.status, other.requested_by) == (RunStatus.SUCCEEDED, "system")
    assert not place_of(factory, failed).exists()
    assert statuses(factory, failed) == {EffectStatus.UNDONE}
    flow_run = factory.prefect("GET", f"/flow_runs/{other.flow_run_id}")
    assert flow_run["name"] == other.id
    assert f"undoes:{failed.id}" in flow_run["tags"]
    until(
        lambda: (
            factory.prefect("GET", f"/flow_runs/{other.flow_run_id}")["state_type"] == "COMPLETED"
        ),
        "Prefect shows it",
    )


def test_a_run_cancelled_at_work_is_undone_when_it_has_stopped(factory: Factory):
    layer = a_layer("slow", "files/slow", undo="revert-commit")
    sources = {**a_source(), **a_source(SLOW, "files/slow")}
    factory.template("stopping", undoable("stopping", *layer), sources)
    run = factory.request("stopping", "stopping", name="svc")
    until(lambda: factory.jobs(run)["slow"].status is JobStatus.RUNNING, "it is at work")
    cancel_run(factory.runtime.store, factory.runtime.clock, "local", run.id, "ada", undo=True)
    assert factory.wait(run).status is RunStatus.CANCELLED
    other = undoing(factory, run)
    assert other.status is RunStatus.SUCCEEDED
    assert set(factory.jobs(other)) == {"undo-base"}
    assert not place_of(factory, run).exists()
    assert (factory.run(run).status, other.requested_by) == (RunStatus.CANCELLED, "ada")


def test_a_person_has_a_run_that_succeeded_undone_and_follows_it(factory: Factory):
    layer = a_layer("more", "files/more", undo="revert-commit")
    sources = {**a_source(), **a_source("more\n", "files/more")}
    layered = undoable("listed", *layer)
    factory.template("listed", layered, {**sources, "files/more/content/readme.txt.jinja": "new\n"})
    run = factory.complete("listed", "listed", name="svc")
    assert run.status is RunStatus.SUCCEEDED, run.error
    done = factory.cli("runs", "undo", run.id, "--watch", "--json")
    assert done.returncode == 0, done.stderr
    other = undoing(factory, run)
    assert json.loads(done.stdout.splitlines()[0])["undone_by"]["id"] == other.id
    until(lambda: statuses(factory, run) == {EffectStatus.UNDONE}, "the ledger is settled")
    assert not place_of(factory, run).exists()
    listed = factory.cli("effects", "list", "--run", run.id, "--json")
    assert {row["undone_by"] for row in json.loads(listed.stdout)["effects"]} == {other.id}
