"""The main job, whole: request, dispatch, Prefect, render, publish, record, remember, show."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.artifact import ArtifactKind
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.memory import Collection
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RecallQuery
from factory_runtime.services.recall import recall
from factory_runtime.services.topics import BACKGROUND
from tests.factory import Factory, git, until
from tests.recipes import DELIVERY

pytestmark = pytest.mark.slow

ENTITIES = ["customer", "line-item"]


def committing(factory: Factory, run: Run) -> dict[str, Job]:
    """The jobs that render and commit: all but those that the local host has nothing for."""
    return {name: job for name, job in factory.jobs(run).items() if name not in DELIVERY}


@pytest.fixture(scope="module")
def run(factory: Factory) -> Run:
    return factory.complete("microservice", "first", service_name="orders", entities=ENTITIES)


def test_the_run_succeeds_and_every_record_of_it_stands(factory: Factory, run: Run):
    assert run.status is RunStatus.SUCCEEDED, run.error
    jobs = factory.jobs(run)
    assert {job.status for job in jobs.values()} == {JobStatus.SUCCEEDED}
    outputs = [jobs[step].outputs for step in DELIVERY]
    assert {one.inline["offered"] for one in outputs if one is not None} == {False}
    assert {f"apply-domain[{entity}]" for entity in ENTITIES} < set(jobs)
    with factory.runtime.store.begin(run.tenant_id, read_only=True) as tx:
        attempts = tx.list_attempts(run.id)
        events = tx.list_events(run.id)
        effects = tx.list_effects(run_id=run.id)
    assert sorted(attempt.step for attempt in attempts) == sorted(jobs)
    assert all(a.outcome == "succeeded" and a.cpu_seconds and a.worker for a in attempts)
    assert [e.to_status for e in events if e.kind == "run"] == [
        "Requested", "Validated", "Queued", "Running", "Succeeded",
    ]  # fmt: skip
    assert {effect.status for effect in effects} == {EffectStatus.CONFIRMED}


def test_the_repository_has_one_commit_per_step(factory: Factory, run: Run, tmp_path: Path):
    (repository,) = (a for a in factory.artifacts(run) if a.kind is ArtifactKind.REPOSITORY)
    git("clone", "--quiet", repository.uri, tmp_path / "orders")
    steps = git("log", "--format=%(trailers:key=Factory-Step,valueonly,separator=)",
                cwd=tmp_path / "orders").split()  # fmt: skip
    runs = git("log", "--format=%(trailers:key=Factory-Run,valueonly,separator=)",
               cwd=tmp_path / "orders").split()  # fmt: skip
    assert sorted(steps) == sorted(committing(factory, run))
    assert set(runs) == {run.id}
    assert git("fsck", "--strict", cwd=tmp_path / "orders") == ""
    assert (tmp_path / "orders" / "azure-pipelines.yml").is_file()


def test_artifacts_carry_what_people_ask_of_them(factory: Factory, run: Run):
    artifacts = factory.artifacts(run)
    trees = [a for a in artifacts if a.kind is ArtifactKind.TREE]
    assert len(trees) == len(committing(factory, run))
    for tree in trees:
        assert tree.sha256 is not None
        assert tree.size is not None
        assert factory.runtime.storage.verify(run.tenant_id, tree.sha256)
        assert tree.creator.startswith(f"{run.id}:{tree.step}:")


def test_prefect_shows_the_run_under_its_names(factory: Factory, run: Run):
    flow_run = factory.prefect("GET", f"/flow_runs/{run.flow_run_id}")
    assert flow_run["state_type"] == "COMPLETED"
    assert flow_run["flow_version"] == run.template_version
    assert factory.prefect("GET", f"/flows/{flow_run['flow_id']}")["name"] == "microservice"

    def names() -> set[str]:
        found = factory.prefect(
            "POST",
            "/task_runs/filter",
            {"flow_runs": {"id": {"any_": [run.flow_run_id]}}, "limit": 200, "sort": "ID_DESC"},
        )
        return {task["name"] for task in found}

    wanted = set(factory.jobs(run)) | {f"render {name}" for name in committing(factory, run)}
    until(lambda: wanted == names(), "every job and render is a task run of its own")


def test_prefect_holds_a_summary_a_table_a_link_and_the_progress(factory: Factory, run: Run):
    def artifacts() -> dict[str, tuple[str, object]]:
        found = factory.prefect(
            "POST",
            "/artifacts/filter",
            {"flow_runs": {"id": {"any_": [run.flow_run_id]}}, "limit": 50},
        )
        return {artifact["key"]: (artifact["type"], artifact["data"]) for artifact in found}

    until(lambda: len(artifacts()) >= 4, "the outbox was drained into Prefect")
    shown = artifacts()
    assert shown["progress"] == ("progress", 100.0)
    assert shown["microservice-artifacts"][0] == "table"
    kind, text = shown["microservice-summary"]
    assert kind == "markdown"
    assert "Succeeded" in str(text)
    assert "file://" in str(shown["repository-1"][1])


def test_the_same_run_into_another_project_renders_nothing_and_commits_everything(
    factory: Factory, run: Run
):
    again = factory.complete("microservice", "second", service_name="orders", entities=ENTITIES)
    jobs = committing(factory, again)
    assert {name: job.cached for name, job in jobs.items()} == dict.fromkeys(jobs, True)
    assert len([a for a in factory.artifacts(again) if a.kind is ArtifactKind.COMMIT]) == len(jobs)


def test_another_name_renders_only_what_depends_on_it(factory: Factory, run: Run):
    billing = factory.complete("microservice", "first", service_name="billing", entities=ENTITIES)
    assert billing.status is RunStatus.SUCCEEDED
    cached = {name: job.cached for name, job in committing(factory, billing).items()}
    assert cached["generate-repo"] is False
    assert all(cached[f"apply-domain[{entity}]"] for entity in ENTITIES)


def test_a_hit_never_crosses_tenants(factory: Factory, run: Run):
    other = factory.complete(
        "microservice", "first", tenant="other", service_name="orders", entities=ENTITIES[:1]
    )
    assert {job.cached for job in committing(factory, other).values()} == {False}


def test_the_run_and_the_template_are_found_by_what_they_mean(factory: Factory, run: Run):
    runtime = factory.runtime

    def found() -> set[Collection]:
        hits = recall(
            runtime.memory,
            runtime.embedder,
            run.tenant_id,
            RecallQuery("a web service for orders with customers", limit=10),
        )
        ids = {hit.memory.run_id for hit in hits} | {hit.memory.template_id for hit in hits}
        assert not ids or "microservice" in ids
        return {hit.memory.collection for hit in hits}

    both = {Collection.RUNS, Collection.TEMPLATES}
    until(lambda: found() == both, "both are indexed", 60, every=0.5)


def test_the_second_run_into_the_same_repository_commits_on_top(factory: Factory, run: Run):
    again = factory.complete("microservice", "first", service_name="orders", entities=ENTITIES)
    assert again.status is RunStatus.SUCCEEDED, again.error


def due_topics(runtime: Runtime) -> set[str]:
    """What is to be done now, but for what may take long."""
    return {one.topic for one in runtime.store.due_messages(runtime.clock.now())} - BACKGROUND


def test_the_code_of_a_run_is_found_where_it_was_committed(factory: Factory, run: Run):
    runtime = factory.runtime
    query = RecallQuery("a readiness check of the service", (Collection.CODE,), project_id="first")

    def is_found() -> bool:
        runtime.learn_code()  # the executor may be at it
        return bool(recall(runtime.memory, runtime.embedder, run.tenant_id, query))

    until(is_found, "the code is learned", every=0.5)
    found = recall(runtime.memory, runtime.embedder, run.tenant_id, query)[0].memory
    assert found.path == "src/service/health.py"
    repository = factory.settings.git_folder / run.tenant_id / "first" / "orders.git"
    lines = git("show", f"{found.commit}:{found.path}", cwd=repository).splitlines()
    assert found.first_line is not None
    assert any(line.strip() in found.text for line in lines[found.first_line - 1 : found.last_line])


def test_with_the_memory_broken_runs_succeed_and_the_index_catches_up(factory: Factory, run: Run):
    runtime, folder = factory.runtime, factory.settings.memory_folder
    until(lambda: not due_topics(runtime), "the memory is at rest")
    folder.rename(folder.with_name("aside"))
    folder.write_text("not a folder")
    inputs = ("--set", "service_name=orders", "--set", f"entities={','.join(ENTITIES)}")
    done = factory.cli("run", "microservice", *inputs, "--project", "forgotten")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "memory" in done.stdout
    folder.unlink()
    folder.with_name("aside").rename(folder)

    def remembered() -> bool:
        query = RecallQuery("a service called orders", project_id="forgotten", limit=3)
        hits = recall(runtime.memory, runtime.embedder, run.tenant_id, query)
        return any(hit.memory.project_id == "forgotten" for hit in hits)

    until(remembered, "what was learned meanwhile is found", every=0.5)
