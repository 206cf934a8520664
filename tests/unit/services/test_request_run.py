"""Taking a request: accepted means committed, refused means recorded."""

from __future__ import annotations

import datetime as dt
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from factory_runtime.compiler.plan import plan_from_json
from factory_runtime.domain.body import INLINE_LIMIT
from factory_runtime.domain.errors import (
    ConflictError,
    FactoryError,
    HostileTemplateError,
    InputError,
    InvalidInputsError,
    InvalidTemplateError,
    RequestConflictError,
    StorageFullError,
    TemplateChangedError,
    UnknownTemplateError,
)
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import Priority, Run, RunStatus
from factory_runtime.domain.tree import read_tree
from factory_runtime.ports import RunFilter, StoredBody
from factory_runtime.services import topics
from factory_runtime.services.bodies import from_body
from factory_runtime.services.plan_request import preview_plan
from factory_runtime.services.request_desk import RequestDesk, Write
from factory_runtime.services.request_run import request_run
from tests.builders import TENANT, a_run_request, after
from tests.small_factory import SmallFactory, steps

ORDERS = """
inputs:
  type: object
  required: [name]
  properties:
    name: {type: string, pattern: "^[a-z]+$"}
    size: {type: integer, default: 3}
    notes: {type: string}
steps:
  - {name: base, type: paint, with: {source: files, data: {name: "${{ inputs.name }}"}}}
  - {name: after, type: act, needs: [base], retry: {max_attempts: 2}, priority: high}
"""


@pytest.fixture
def orders(factory: SmallFactory) -> SmallFactory:
    factory.template(ORDERS)
    return factory


def all_runs(factory: SmallFactory, tenant: str = TENANT) -> tuple[Run, ...]:
    with factory.store.begin(tenant, read_only=True) as tx:
        return tx.list_runs(RunFilter()).items


def refused(factory: SmallFactory, kind: type[FactoryError], **request: Any) -> Run:
    """The record that a refused request left."""
    with pytest.raises(kind) as caught:
        factory.request(**request)
    assert caught.value.run_id is not None
    run = factory.run(replace(all_runs(factory)[0], id=caught.value.run_id))
    assert run.status is RunStatus.FAILED
    assert run.plan is None
    assert run.error == caught.value.explain()
    assert run.completed_at == factory.clock.now()
    assert factory.jobs(run) == {}
    assert factory.moves(run) == ["Requested", "Failed"]
    return run


# --- accepted


def test_an_accepted_run_stands_in_the_store_with_its_jobs(orders: SmallFactory):
    given = orders.request(
        inputs={"name": "orders"}, priority=Priority.HIGH, module_id="m-1", correlation_id="c-1"
    )
    run = orders.run(given)
    assert run == given
    assert run.status is RunStatus.VALIDATED
    assert (run.priority, run.module_id, run.correlation_id) == (Priority.HIGH, "m-1", "c-1")
    jobs = orders.jobs(run)
    assert [job.status for job in jobs.values()] == [JobStatus.PENDING] * 2
    assert [(j.position, j.type, j.needs) for j in jobs.values()] == [
        (0, "paint", ()),
        (1, "act", ("base",)),
    ]
    assert jobs["after"].max_attempts == 2
    assert jobs["after"].priority is Priority.HIGH
    assert orders.moves(run) == ["Requested", "Validated"]


def test_an_accepted_runs_inputs_have_their_defaults(orders: SmallFactory):
    run = orders.request(inputs={"name": "orders"})
    assert from_body(orders.storage, TENANT, run.inputs) == {"name": "orders", "size": 3}


def test_an_accepted_runs_plan_lies_in_storage_and_names_its_template(orders: SmallFactory):
    run = orders.request(inputs={"name": "orders"})
    assert run.plan is not None
    assert run.plan.reference is not None
    body = orders.storage.read(TENANT, run.plan.reference.digest)
    assert len(body) == run.plan.reference.size
    plan = plan_from_json(body.decode())
    assert [job.name for job in plan.jobs] == ["base", "after"]
    assert (plan.template_id, plan.template_version) == ("demo", "1.0.0")
    assert plan.template_digest == run.template_digest


def test_an_accepted_run_keeps_its_sources_whatever_becomes_of_the_folder(orders: SmallFactory):
    run = orders.request(inputs={"name": "orders"})
    (orders.folder / "demo" / "files" / "readme.txt").write_text("changed\n")
    walk = orders.take_up(run)
    with orders.storage.open(TENANT, walk.plan.sources["files"]) as body:
        assert {file.path: file.content for file in read_tree(body)} == {"readme.txt": b"hello\n"}


def test_a_published_template_is_remembered_once_however_many_runs_it_has(orders: SmallFactory):
    for name in ("a", "b"):
        orders.request(inputs={"name": name})
    (message,) = orders.messages(topics.MEMORY_OF_TEMPLATE)
    assert message.payload == {"template_id": "demo", "version": "1.0.0"}


def test_a_run_without_a_correlation_id_is_its_own(orders: SmallFactory):
    run = orders.request(inputs={"name": "orders"})
    assert run.correlation_id == run.id
    assert len(run.trace_id) == 32


def test_a_template_may_make_no_job_at_all(factory: SmallFactory):
    text = """
    inputs: {type: object, properties: {names: {type: array, items: {type: string}, default: []}}}
    steps:
      - {name: each-name, type: act, each: "${{ inputs.names }}"}
    """
    factory.template(text)
    run = factory.request()
    assert run.status is RunStatus.VALIDATED
    assert factory.jobs(run) == {}


@pytest.mark.parametrize(
    ("asked", "template", "left"),
    [(None, None, None), (60, None, 60), (None, 7200, 7200), (60, 7200, 60), (9000, 7200, 7200)],
)
def test_the_deadline_is_the_sooner_of_the_requests_and_the_templates(
    factory: SmallFactory, asked: int | None, template: int | None, left: int | None
):
    factory.template((f"deadline: {template}s\n" if template else "") + steps("a:"))
    run = factory.request(deadline=timedelta(seconds=asked) if asked else None)
    assert run.deadline_at == (after(left) if left else None)


def test_a_deadline_beyond_the_calendar_is_refused_on_record(factory: SmallFactory):
    factory.template(steps("a:"))
    refused(factory, InputError, deadline=timedelta.max)


def test_large_inputs_go_to_storage_and_come_back(orders: SmallFactory):
    inputs = {"name": "orders", "notes": "ü" * INLINE_LIMIT}
    run = orders.request(inputs=inputs)
    assert run.inputs.inline is None
    assert run.inputs.reference is not None
    assert from_body(orders.storage, TENANT, orders.run(run).inputs) == inputs | {"size": 3}


def test_the_runs_of_tenants_do_not_meet(orders: SmallFactory):
    orders.request(inputs={"name": "orders"})
    orders.request(inputs={"name": "orders"}, tenant_id="other")
    assert [run.tenant_id for run in all_runs(orders, "other")] == ["other"]
    digests = {tenant for tenant, _digest in orders.storage.bodies}
    assert digests == {TENANT, "other"}


# --- refused


def test_refused_inputs_are_recorded_with_every_problem(orders: SmallFactory):
    run = refused(orders, InvalidInputsError, inputs={"name": "Orders!", "size": "x", "more": 1})
    for part in ("name", "size", "more"):
        assert part in (run.error or "")
    assert run.inputs.inline == {"name": "Orders!", "size": "x", "more": 1}
    assert (run.template_id, run.template_digest) == ("demo", "")


def test_an_unknown_template_is_recorded_and_one_is_suggested(orders: SmallFactory):
    run = refused(orders, UnknownTemplateError, template="dema")
    assert "did you mean 'demo'?" in (run.error or "")
    assert run.template_id == "dema"


@pytest.mark.parametrize("name", ["../demo", "/etc", "", "demo/", "x" * 5000, "a\x00b", "\ud800"])
def test_a_hostile_template_name_is_an_unknown_template(orders: SmallFactory, name: str):
    refused(orders, UnknownTemplateError, template=name)


def test_another_version_than_the_one_here_is_recorded_as_unknown(orders: SmallFactory):
    run = refused(orders, UnknownTemplateError, version="2.0.0", inputs={"name": "orders"})
    assert run.template_version == "2.0.0"


def test_a_template_that_does_not_pass_its_check_is_recorded(factory: SmallFactory):
    factory.template(steps("a: needs: [nobody]", "b: typo: 1"))
    run = refused(factory, InvalidTemplateError)
    assert "nobody" in (run.error or "")
    assert "typo" in (run.error or "")


def test_a_template_that_goes_by_another_name_is_recorded(factory: SmallFactory):
    factory.template(steps("a:"), name="demo").rename(factory.folder / "other")
    refused(factory, InputError, template="other")


def test_an_edited_published_version_is_refused_on_record(orders: SmallFactory):
    orders.request(inputs={"name": "orders"})
    (orders.folder / "demo" / "files" / "readme.txt").write_text("edited\n")
    run = refused(orders, TemplateChangedError, inputs={"name": "orders"})
    assert "raise `version`" in (run.error or "")
    orders.template(ORDERS, version="1.0.1")
    assert orders.request(inputs={"name": "orders"}).template_version == "1.0.1"


def test_a_link_that_leads_out_of_a_source_is_refused_on_record(
    orders: SmallFactory, tmp_path: Path
):
    (tmp_path / "secret").write_text("s3cret")
    (orders.folder / "demo" / "files" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises((HostileTemplateError, InvalidTemplateError)) as caught:
        orders.request(inputs={"name": "orders"})
    assert caught.value.run_id is not None
    assert not any(b"s3cret" in body for body in orders.storage.bodies.values())


@pytest.mark.parametrize(
    ("tenant", "project", "named"),
    [("Acme", "shop", "tenant"), ("../x", "shop", "tenant"), ("", "shop", "tenant"),
     ("acme", "a/b", "project"), ("acme", "x" * 64, "project"), ("acme", "nul\x00", "project")],
)  # fmt: skip
def test_a_bad_tenant_or_project_name_is_refused_and_leaves_nothing(
    orders: SmallFactory, tenant: str, project: str, named: str
):
    with pytest.raises(InputError, match=named) as caught:
        orders.request(tenant_id=tenant, project_id=project, inputs={"name": "orders"})
    assert caught.value.run_id is None
    assert all_runs(orders) == ()
    assert orders.storage.bodies == {}


@pytest.mark.parametrize(
    "value",
    ["\ud800", "a\x00b", math.nan, math.inf, 2**70, dt.date(2026, 1, 2), {1: "x", "1": 2}, {2, 3}],
)
def test_inputs_that_cannot_be_stored_are_refused_on_record(orders: SmallFactory, value: Any):
    refused(orders, InvalidInputsError, inputs={"name": value}, idempotency_key="k")


def test_inputs_nested_without_end_are_refused_on_record(orders: SmallFactory):
    value: Any = "x"
    for _ in range(5000):
        value = [value]
    refused(orders, InvalidInputsError, inputs={"name": value})


def test_a_full_disk_is_no_refusal_the_same_request_may_come_again(
    orders: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    def full(tenant_id: str, body: Any) -> StoredBody:
        raise StorageFullError("no room left")

    with monkeypatch.context() as patch:
        patch.setattr(orders.storage, "put", full)
        with pytest.raises(StorageFullError) as caught:
            orders.request(inputs={"name": "orders"}, idempotency_key="k")
    assert caught.value.run_id is None
    assert all_runs(orders) == ()
    again = orders.request(inputs={"name": "orders"}, idempotency_key="k")
    assert again.status is RunStatus.VALIDATED


# --- the idempotency key


def test_the_same_key_and_body_give_the_run_that_stands(orders: SmallFactory):
    first = orders.request(inputs={"name": "orders"}, idempotency_key="k")
    orders.take_up(first)
    again = orders.request(inputs={"name": "orders"}, idempotency_key="k", requested_by="bob")
    assert again == orders.run(first)
    assert again.status is RunStatus.RUNNING
    assert len(all_runs(orders)) == 1


def test_the_same_key_finds_its_run_when_the_template_is_gone(orders: SmallFactory):
    first = orders.request(inputs={"name": "orders"}, idempotency_key="k")
    (orders.folder / "demo" / "template.yaml").unlink()
    assert orders.request(inputs={"name": "orders"}, idempotency_key="k").id == first.id


@pytest.mark.parametrize(
    "other",
    [{"inputs": {"name": "billing"}}, {"version": "1.0.0"},
     {"template": "another"}, {"module_id": "m-2"}, {"priority": Priority.LOW},
     {"deadline": timedelta(hours=1)}],
)  # fmt: skip
def test_the_same_key_with_another_body_is_a_conflict(orders: SmallFactory, other: dict[str, Any]):
    request: dict[str, Any] = {"inputs": {"name": "orders"}, "idempotency_key": "k"}
    first = orders.request(**request)
    with pytest.raises(RequestConflictError) as caught:
        orders.request(**request | other)
    assert first.id in caught.value.explain()
    assert len(all_runs(orders)) == 1


def test_a_key_belongs_to_its_project(orders: SmallFactory):
    asked: dict[str, Any] = {"inputs": {"name": "orders"}, "idempotency_key": "k"}
    mine, theirs = orders.request(**asked), orders.request(**asked, project_id="other")
    assert mine.id != theirs.id
    assert orders.request(**asked).id == mine.id
    assert orders.request(**asked, project_id="other").id == theirs.id


def test_a_key_that_the_release_before_kept_is_known_in_its_project(orders: SmallFactory):
    asked: dict[str, Any] = {"inputs": {"name": "orders"}}
    mine = orders.request(**asked, idempotency_key="k")
    with orders.store.begin(TENANT) as tx:
        kept = tx.find_request(f"project:{mine.project_id}:k")
        assert kept is not None
        tx.add_request(replace(kept, idempotency_key="old"))
    assert orders.request(**asked, idempotency_key="old").id == mine.id
    with pytest.raises(RequestConflictError, match="'old'"):
        orders.request(inputs={"name": "billing"}, idempotency_key="old")
    assert orders.request(**asked, idempotency_key="old", project_id="other").id != mine.id


def test_a_key_belongs_to_its_tenant(orders: SmallFactory):
    mine = orders.request(inputs={"name": "orders"}, idempotency_key="k")
    theirs = orders.request(inputs={"name": "billing"}, idempotency_key="k", tenant_id="other")
    assert mine.id != theirs.id


def test_a_refused_request_does_not_use_up_its_key(orders: SmallFactory):
    refused(orders, InvalidInputsError, inputs={"name": "Orders"}, idempotency_key="k")
    assert orders.request(inputs={"name": "orders"}, idempotency_key="k").id


def test_two_that_race_with_one_key_get_one_run(orders: SmallFactory):
    together = Barrier(2)

    def ask(_: int) -> Run:
        together.wait()
        return orders.request(inputs={"name": "orders"}, idempotency_key="k")

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))
    assert first.id == second.id
    assert len(all_runs(orders)) == 1


def test_who_commits_a_key_second_gets_the_first_ones_run(
    orders: SmallFactory, monkeypatch: pytest.MonkeyPatch
):
    # The moment between looking for the key and committing it, made certain.
    quick: list[Run] = []
    commit = RequestDesk.commit

    def overtaken(desk: RequestDesk, tenant_id: str, write: Write, **more: Any) -> None:
        monkeypatch.setattr(RequestDesk, "commit", commit)
        quick.append(orders.request(inputs={"name": "orders"}, idempotency_key="k"))
        commit(desk, tenant_id, write, **more)

    monkeypatch.setattr(RequestDesk, "commit", overtaken)
    late = orders.request(inputs={"name": "orders"}, idempotency_key="k")
    assert [late.id] == [run.id for run in quick]


# --- the plan alone


def test_the_plan_alone_is_recorded_nowhere(orders: SmallFactory):
    request = a_run_request(template="demo", inputs={"name": "orders"})
    template, plan, _ = preview_plan(orders.catalog, request)
    assert (template.id, len(plan.jobs)) == ("demo", 2)
    with pytest.raises(InvalidInputsError) as caught:
        preview_plan(orders.catalog, replace(request, inputs={}))
    assert caught.value.run_id is None
    assert all_runs(orders) == ()
    assert orders.storage.bodies == {}


def test_a_run_that_began_in_prefect_carries_its_flow_run(orders: SmallFactory):
    request = a_run_request(template="demo", inputs={"name": "orders"}, flow_run_id="flow-9")
    run = request_run(orders.desk, request)
    with orders.store.begin(TENANT, read_only=True) as tx:
        assert tx.find_run_by_flow_run("flow-9") == run
    with pytest.raises(ConflictError):
        request_run(orders.desk, request)
