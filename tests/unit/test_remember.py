from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.body import Body
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.memory import Collection, Memory
from factory_runtime.domain.records import TemplateRecord
from factory_runtime.domain.redaction import REDACTED
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.run_memory import memory_of_run
from factory_runtime.services.template_memory import memories_of_template, memory_of_template

AT = datetime(2026, 5, 6, tzinfo=UTC)
TEMPLATE = TemplateRecord(
    tenant_id="acme",
    template_id="microservice",
    version="1.2.0",
    digest="d" * 64,
    title="Microservice",
    description="A service repository with pipelines and docs.",
    published_at=AT,
    inputs_schema={
        "type": "object",
        "properties": {
            "service_name": {"type": "string", "description": "lower case, digits, hyphens"},
            "database": {"enum": ["postgres", "none"]},
        },
    },
)


def a_run(**changes: Any) -> Run:
    run = Run(
        id="run-01k00000000000000000000000",
        tenant_id="acme",
        project_id="shop",
        template_id="microservice",
        template_version="1.2.0",
        template_digest="d" * 64,
        status=RunStatus.SUCCEEDED,
        inputs=Body(),
        requested_by="ann",
        requested_at=AT,
        updated_at=AT,
        trace_id="trace-1",
        correlation_id="correlation-1",
        module_id="orders-module",
        started_at=AT,
        completed_at=AT + timedelta(seconds=12),
    )
    return replace(run, **changes)


def a_job(step: str, **changes: Any) -> Job:
    job = Job(
        id=f"job-{step}",
        tenant_id="acme",
        run_id="run-1",
        step=step,
        position=0,
        type="documentation",
        status=JobStatus.SUCCEEDED,
        needs=(),
        max_attempts=5,
        updated_at=AT,
        attempt=1,
    )
    return replace(job, **changes)


def an_artifact(
    name: str, kind: ArtifactKind = ArtifactKind.REPOSITORY, **changes: Any
) -> Artifact:
    artifact = Artifact(
        id=f"art-{name}",
        tenant_id="acme",
        run_id="run-1",
        step="generate-repo",
        kind=kind,
        name=name,
        uri=f"file:///factory/git/{name}.git",
        media_type="text/plain",
        creator="run-1:generate-repo:1",
        created_at=AT,
        project_id="shop",
    )
    return replace(artifact, **changes)


def remember(
    run: Run | None = None,
    jobs: tuple[Job, ...] = (),
    artifacts: tuple[Artifact, ...] = (),
    inputs: dict[str, Any] | None = None,
) -> Memory:
    return memory_of_run(
        run or a_run(),
        jobs,
        artifacts,
        TEMPLATE.title,
        TEMPLATE.description,
        {"service_name": "orders"} if inputs is None else inputs,
        AT,
    )


def everything_in(memory: Memory) -> str:
    return "\n".join([memory.title, memory.text, json.dumps(memory.facts, ensure_ascii=False)])


def test_a_good_run_reads_as_what_it_was_for_and_asked() -> None:
    memory = remember(
        artifacts=(an_artifact("orders"), an_artifact("ci.yml", ArtifactKind.PIPELINE)),
        inputs={"service_name": "orders", "entities": ["order", "customer"], "database": "none"},
    )
    asked = "service name: orders; entities: order, customer; database: none"
    assert memory.text == (
        f"Microservice: A service repository with pipelines and docs.\nAsked for: {asked}."
    )
    assert memory.title == f"Microservice: {asked}"


def test_what_was_made_is_told_where_the_inputs_do_not() -> None:
    made = (an_artifact("orders"), an_artifact("orders-chart"), an_artifact("orders-chart"))
    memory = remember(artifacts=made)
    assert memory.text.endswith("\nMade: orders-chart.")
    assert [a["name"] for a in memory.facts["artifacts"]] == [a.name for a in made]
    assert memory.facts["repositories"][0] == "file:///factory/git/orders.git"


def test_a_failed_run_tells_which_step_failed_and_why() -> None:
    memory = remember(
        a_run(status=RunStatus.FAILED, error="job create-docs failed"),
        jobs=(
            a_job("generate-repo"),
            a_job("create-docs", status=JobStatus.FAILED, attempt=3, error="no such\n  variable x"),
        ),
    )
    assert memory.outcome == "failed"
    assert "\nFailed: job create-docs failed\n" in memory.text
    assert "Step create-docs (documentation) failed in attempt 3: no such variable x" in memory.text
    assert [(j["step"], j["status"]) for j in memory.facts["jobs"]] == [
        ("generate-repo", "Succeeded"),
        ("create-docs", "Failed"),
    ]


def test_a_cancelled_run_says_so() -> None:
    memory = remember(a_run(status=RunStatus.CANCELLED))
    assert memory.outcome == "cancelled"
    assert memory.text.endswith("\nCancelled.")


def test_a_run_that_never_started_has_no_duration() -> None:
    memory = remember(a_run(status=RunStatus.FAILED, started_at=None, error="bad inputs"))
    assert remember().facts["duration_seconds"] == 12
    assert memory.text.endswith("Failed: bad inputs")
    assert memory.facts["duration_seconds"] is None


def test_a_run_memory_carries_the_runs_ids() -> None:
    memory = remember()
    assert memory.collection is Collection.RUNS
    assert (memory.tenant_id, memory.project_id, memory.module_id) == (
        "acme",
        "shop",
        "orders-module",
    )
    assert (memory.run_id, memory.trace_id, memory.correlation_id) == (
        a_run().id,
        "trace-1",
        "correlation-1",
    )
    assert (memory.template_id, memory.template_version) == ("microservice", "1.2.0")
    assert memory.created_at == AT
    assert remember(a_run(repo_id="r-1")).facts["external_ids"] == {"repo_id": "r-1"}


def test_made_again_it_is_the_same_memory() -> None:
    assert remember() == remember()
    assert memory_of_template(TEMPLATE) == memory_of_template(TEMPLATE)


def test_an_id_stands_for_one_thing_of_one_tenant() -> None:
    memories = [
        remember(),
        remember(a_run(id="run-2")),
        remember(a_run(tenant_id="globex")),
        memory_of_template(TEMPLATE),
        memory_of_template(replace(TEMPLATE, version="1.2.1")),
        memory_of_template(replace(TEMPLATE, template_id="library")),
        memory_of_template(replace(TEMPLATE, tenant_id="globex")),
    ]
    assert len({memory.id for memory in memories}) == len(memories)


def test_an_id_does_not_change_with_what_was_learned() -> None:
    failed = a_run(status=RunStatus.FAILED, error="x", cycle=1)
    assert remember(failed).id == remember(inputs={"other": 1}).id


def test_a_template_reads_as_what_it_is_for_and_asks() -> None:
    memory = memory_of_template(TEMPLATE)
    assert memory.title == "Microservice (microservice 1.2.0)"
    assert memory.text == (
        "Microservice. A service repository with pipelines and docs.\n"
        "Asks for: service name: lower case, digits, hyphens; database (postgres, none)"
    )
    assert memory.collection is Collection.TEMPLATES
    assert (memory.project_id, memory.run_id, memory.outcome) == (None, None, None)


@pytest.mark.parametrize("schema", [{}, {"properties": None}, {"properties": {"a": True}}])
def test_a_template_with_a_bare_schema_is_remembered(schema: dict[str, Any]) -> None:
    assert memory_of_template(replace(TEMPLATE, inputs_schema=schema)).text


def test_no_secret_is_remembered_from_wherever_it_comes() -> None:
    secret = "hunter2hunter2"  # noqa: S105
    url = f"https://ann:{secret}@git.example/orders.git"
    memory = remember(
        a_run(status=RunStatus.FAILED, error=f"cannot push to {url}"),
        jobs=(a_job("push", status=JobStatus.FAILED, error=f"password={secret} refused"),),
        artifacts=(an_artifact("orders", uri=url), an_artifact(f"token={secret}", id="art-1")),
        inputs={
            "service_name": "orders",
            "db_password": secret,
            "nested": [{"apiKey": secret}],
            "note": f"postgres://app:{secret}@db/orders",
        },
    )
    assert secret not in everything_in(memory)
    assert REDACTED in memory.text
    template = replace(
        TEMPLATE, title=f"token={secret}", description=f"postgres://app:{secret}@db/orders"
    )
    assert secret not in everything_in(memory_of_template(template))


def test_a_secret_is_not_kept_in_half_by_a_cut() -> None:
    filler = "word " * 58
    memory = remember(inputs={"note": f"{filler} password=hunter2hunter2hunter2"})
    assert "hunter2" not in everything_in(memory)


def test_empty_and_switched_off_inputs_say_nothing() -> None:
    memory = remember(
        inputs={"a": None, "b": False, "c": "", "d": [], "e": {}, "public": True, "count": 0}
    )
    assert memory.text.endswith("Asked for: public: yes; count: 0.")


def test_huge_inputs_make_a_small_memory() -> None:
    deep: Any = "end"
    for _ in range(5_000):
        deep = {"deeper": deep}
    memory = remember(
        a_run(error="e" * 100_000, status=RunStatus.FAILED),
        jobs=tuple(a_job(f"s{i}", status=JobStatus.FAILED, error="e" * 1_000) for i in range(500)),
        artifacts=tuple(an_artifact(f"{i} " + "n" * 1_000, id=str(i)) for i in range(500)),
        inputs={"text": "long words " * 50_000, "many": ["item"] * 50_000, "deep": deep},
    )
    assert len(memory.text) < 6_000
    assert len(memory.title) <= 120
    assert len(json.dumps(memory.facts)) < 100_000


def test_control_characters_and_lone_surrogates_do_not_get_through() -> None:
    memory = remember(inputs={"name\x1b[31m": "a\x00b\x1b[2J\r\n\ud800c", "\u202e": "x"})
    assert memory.text.replace("\n", "").isprintable()
    memory.text.encode()
    memory.title.encode()


def test_all_but_the_newest_version_are_superseded_whichever_was_heard_of_first() -> None:
    versions = [replace(TEMPLATE, version=version) for version in ("1.10.0", "1.9.0", "1.2.0")]
    newest = memory_of_template(versions[0]).id
    for order in (versions, versions[::-1]):
        by = {m.template_version: m.superseded_by for m in memories_of_template(order)}
        assert by == {"1.10.0": None, "1.9.0": newest, "1.2.0": newest}
    assert memories_of_template([TEMPLATE])[0].superseded_by is None


def test_a_secret_input_is_told_by_no_error_of_the_run() -> None:
    canary = "correct horse battery"
    memory = remember(
        a_run(status=RunStatus.FAILED, error=f"cannot log in with {canary}"),
        jobs=(a_job("push", status=JobStatus.FAILED, error=f"{canary} was refused"),),
        artifacts=(an_artifact(f"of {canary}", id="art-1"),),
        inputs={"name": "orders", "db_password": canary, "note": f"it is {canary}"},
    )
    assert canary not in everything_in(memory)


def test_a_long_secret_is_taken_out_as_a_whole() -> None:
    canary = " ".join(f"canary{number}" for number in range(300))
    memory = remember(
        a_run(status=RunStatus.FAILED, error=f"{canary} is no key"),
        jobs=(a_job("push", status=JobStatus.FAILED, error=f"refused {canary}"),),
        inputs={"name": "orders", "api_key": canary, "certificates": {"password": [canary]}},
    )
    assert "canary" not in everything_in(memory)
    assert "Failed: (redacted) is no key" in memory.text
