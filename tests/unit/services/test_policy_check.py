"""What policies refuse, and how a refusal names its rules."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.compiler.policy_file import load_policy
from factory_runtime.domain.errors import (
    FactoryError,
    InputError,
    PolicyRefusedError,
    PolicyUnavailableError,
    UnknownJobTypeError,
)
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.policy import Policy, PolicyRecord
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.jobs.approval import ApprovalGate
from factory_runtime.ports import RunFilter
from factory_runtime.run_store import SqlRunStore
from factory_runtime.services.plan_request import plan_under_policy
from factory_runtime.services.plans import read_plan
from factory_runtime.services.policy import PolicyBook
from factory_runtime.services.policy_check import (
    PolicyFacts,
    Ruling,
    refusals,
    rule_on,
    template_refusals,
)
from factory_runtime.services.preview import preview_run
from factory_runtime.services.request_desk import RequestDesk
from tests.builders import NOON, TENANT, a_run_request, after
from tests.small_factory import SmallFactory, steps

TEXT = (
    "inputs: {type: object, properties: {size: {type: integer, default: 1},"
    " place: {type: string}}}\n" + steps("a: ", "b: needs: [a]")
)


def policy(text: str, source: str = "file acme.yaml") -> Policy:
    return load_policy(text.encode(), "acme.yaml", source)


def facts(**values: Any) -> PolicyFacts:
    return replace(PolicyFacts("microservice", "1.2.0", {}), **values)


def check_policy(policies: Sequence[Policy], asked: PolicyFacts) -> None:
    refusals(policies, asked).raise_any("the run")


def refusal(*texts: str, **values: Any) -> list[str]:
    with pytest.raises(PolicyRefusedError) as caught:
        check_policy([policy(text) for text in texts], facts(**values))
    return [str(problem) for problem in caught.value.problems]


def test_without_rules_everything_is_allowed():
    check_policy([], facts())
    check_policy([policy("{}")], facts(deadline=timedelta(days=400)))


def test_a_template_that_is_not_named_is_refused():
    assert refusal("templates: {microservic: {}}") == [
        "file acme.yaml: templates microservice is not allowed (did you mean 'microservic'?)"
    ]
    assert refusal("templates: {}") == [
        "file acme.yaml: templates microservice is not allowed (none is allowed)"
    ]


def test_the_rule_for_all_others_is_not_for_those_with_their_own():
    text = "templates: {'*': {}, microservice: {versions: '<1'}}"
    assert template_refusals([policy(text)], "microservice", "1.2.0")
    assert not template_refusals([policy(text)], "report", "9.9.9")


@pytest.mark.parametrize(
    ("versions", "version", "allowed"),
    [
        (">=1.2,<2", "1.2.0", True),
        (">=1.2,<2", "1.99.0", True),
        (">=1.2,<2", "2.0.0", False),
        (">=1.2,<2", "1.10.0", True),  # by number, not by letter
        ("==1.4.*", "1.4.7", True),
        ("!=1.4.1", "1.4.1", False),
        (">=1.2", "2.0.0-rc.1", False),
        (">=2.0.0-rc.1", "2.0.0-rc.2", True),
        (">=1.2", "2.0.0-alpha.beta", False),
    ],
)
def test_versions_are_compared_as_versions(versions: str, version: str, allowed: bool):
    rules = [policy(f"templates: {{microservice: {{versions: '{versions}'}}}}")]
    assert bool(template_refusals(rules, "microservice", version)) is not allowed


def test_without_specifiers_every_version_is_allowed():
    assert not template_refusals([policy("templates: {a: {}}")], "a", "1.0.0-alpha.beta")


def test_a_withdrawn_version_is_refused_with_its_reason():
    text = "templates: {microservice: {withdrawn: {'1.2.0': it leaks}}}"
    assert refusal(text) == [
        "file acme.yaml: templates.microservice.withdrawn 1.2.0 is withdrawn: it leaks"
        " (take another version)"
    ]
    check_policy([policy(text)], facts(template_version="1.2.1"))


def test_inputs_have_to_meet_the_schema_of_their_template_and_that_of_all():
    text = """
inputs:
  microservice: {properties: {size: {maximum: 3}}, required: [owner]}
  "*": {properties: {place: {enum: [eu]}}}
  report: {required: [nothing]}
"""
    assert refusal(text, inputs={"size": 4, "place": "us"}) == [
        "file acme.yaml: inputs.microservice owner is missing",
        "file acme.yaml: inputs.microservice size: 4 is greater than the maximum of 3",
        "file acme.yaml: inputs.* place: 'us' is not one of 'eu'",
    ]
    check_policy([policy(text)], facts(inputs={"size": 3, "place": "eu", "owner": "ada"}))


def test_a_longer_deadline_is_refused_and_one_as_long_is_not():
    assert refusal("max_deadline: 2h", deadline=timedelta(hours=2, seconds=1)) == [
        "file acme.yaml: max_deadline a deadline of 2h1s is longer than 2h (ask for 2h at most)"
    ]
    check_policy([policy("max_deadline: 2h")], facts(deadline=timedelta(hours=2)))


def test_every_rule_that_refuses_is_named_at_once_with_its_source():
    first = policy("templates: {microservice: {versions: '<1', withdrawn: {'1.2.0': bad}}}")
    second = policy(
        "templates: {report: {}}\nmax_deadline: 1h\ninputs: {'*': {maxProperties: 0}}", "table"
    )
    with pytest.raises(PolicyRefusedError) as caught:
        check_policy([first, second], facts(deadline=timedelta(hours=2), inputs={"a": 1}))
    assert [(p.file, p.code) for p in caught.value.problems] == [
        ("file acme.yaml", "templates.microservice.versions"),
        ("file acme.yaml", "templates.microservice.withdrawn"),
        ("table", "templates"),
        ("table", "inputs.*"),
        ("table", "max_deadline"),
    ]
    assert str(caught.value).endswith("5 rules refuse")


def wanted(text: str, **values: Any) -> list[str]:
    return [rule.name for rule in rule_on([policy(text)], facts(**values)).approvals]


def test_approvals_are_wanted_where_template_and_condition_fit():
    text = """
approval:
  - {name: all}
  - {name: report, templates: [report]}
  - {name: large, templates: [microservice], when: "${{ inputs.size > 3 }}"}
"""
    assert wanted(text, inputs={"size": 4}) == ["all", "large"]
    assert wanted(text, inputs={"size": 3}) == ["all"]


def test_where_nobody_can_tell_whether_an_approval_is_wanted_it_is():
    text = "approval: [{name: large, when: '${{ inputs.size > 3 }}'}]"
    assert wanted(text, inputs={}) == ["large"]
    assert wanted(text, inputs={"size": "many"}) == ["large"]


def test_approvals_of_two_policies_add_up_under_names_of_their_own():
    one, other = "approval: [{name: a, by: [ada]}]", "approval: [{name: a, by: [bob]}]"
    rules = rule_on([policy(one), policy(other, "table"), policy(one)], facts()).approvals
    assert [(rule.name, rule.question.by) for rule in rules] == [
        ("a", ("ada",)),
        ("a-too", ("bob",)),
    ]


def test_the_shortest_deadline_counts():
    rules = [policy("max_deadline: 2h"), policy("{}"), policy("max_deadline: 1h")]
    assert rule_on(rules, facts()).max_deadline == timedelta(hours=1)
    assert rule_on([], facts()) == Ruling()


# --- through request and preview


class Governed:
    """A small factory whose tenants have policies."""

    def __init__(self, folder: Path, store: SqlRunStore | None = None) -> None:
        (folder / "policies").mkdir()
        self.folder = folder / "policies"
        self.factory = SmallFactory(folder / "templates", store)
        self.factory.job_types["approval"] = ApprovalGate()
        self.factory.catalog.job_types["approval"] = ApprovalGate.facts  # pyright: ignore[reportIndexIssue] - a dict
        self.book = PolicyBook(lambda: self.factory.store, self.folder, self.factory.clock)
        desk = self.factory.desk
        self.factory.desk = RequestDesk(
            desk.store, desk.storage, desk.catalog, desk.clock, self.book
        )
        self.factory.template(TEXT)

    def rules(self, text: str, tenant: str = TENANT) -> None:
        (self.folder / f"{tenant}.yaml").write_text(text)

    def refusal(self, **values: Any) -> PolicyRefusedError:
        with pytest.raises(PolicyRefusedError) as caught:
            self.factory.request(**values)
        return caught.value

    def preview(self, **values: Any) -> Any:
        request = a_run_request(**{"template": "demo", "inputs": {}, **values})
        factory = self.factory
        return preview_run(factory.catalog, factory.job_types, request, lambda _: False, self.book)

    def run_count(self) -> int:
        with self.factory.store.begin(TENANT, read_only=True) as tx:
            return len(tx.list_runs(RunFilter(), limit=100).items)


@pytest.fixture
def governed(tmp_path: Path) -> Generator[Governed]:
    governed = Governed(tmp_path)
    yield governed
    governed.factory.store.close()


def test_a_refused_request_is_recorded_as_a_failed_run_with_all_rules(governed: Governed):
    governed.rules("templates: {other: {}}\nmax_deadline: 1h")
    refused = governed.refusal(deadline=timedelta(hours=2))
    assert refused.run_id is not None
    with governed.factory.store.begin(TENANT, read_only=True) as tx:
        run = tx.get_run(refused.run_id)
        (event,) = (e for e in tx.list_events(run.id) if e.to_status == RunStatus.FAILED)
    assert (run.status, run.plan) == (RunStatus.FAILED, None)
    assert "demo is not allowed" in str(run.error)
    assert "a deadline of 2h is longer than 1h" in str(run.error)
    assert event.detail == {"reason": "policy-refused"}


def test_a_preview_is_refused_alike_and_leaves_nothing(governed: Governed):
    governed.rules("templates: {demo: {withdrawn: {'1.0.0': old}}}")
    with pytest.raises(PolicyRefusedError, match="one rule refuses"):
        governed.preview()
    assert governed.run_count() == 0


def test_a_broken_policy_refuses_for_now_and_nothing_is_recorded(governed: Governed):
    governed.rules("quotas: {runs: 3}")
    with pytest.raises(PolicyUnavailableError, match=r"acme\.yaml:1:10"):
        governed.factory.request()
    assert governed.run_count() == 0
    governed.factory.request(tenant_id="other")


def test_a_run_that_stands_is_told_even_while_the_policy_is_broken(governed: Governed):
    run = governed.factory.request(idempotency_key="k")
    governed.rules("weight: none")
    assert governed.factory.request(idempotency_key="k").id == run.id


def test_a_run_without_a_deadline_gets_the_longest_allowed(governed: Governed):
    governed.rules("max_deadline: 1h")
    run = governed.factory.request()
    assert run.deadline_at == after(3600)
    (event,) = (
        event for event in governed.factory.events(run) if event.to_status == RunStatus.VALIDATED
    )
    assert event.detail == {"deadline_of_policy": 3600}
    assert governed.factory.request(deadline=timedelta(minutes=5)).deadline_at == after(300)


def test_a_templates_longer_deadline_is_cut_and_that_is_told(governed: Governed):
    governed.factory.template("deadline: 5h\n" + TEXT)
    governed.rules("max_deadline: 1h")
    assert governed.factory.request().deadline_at == after(3600)
    preview = governed.preview()
    assert (preview.capped, preview.plan.deadline) == (True, timedelta(hours=1))
    governed.rules("max_deadline: 6h")
    preview = governed.preview()
    assert (preview.capped, preview.plan.deadline) == (False, timedelta(hours=5))


def test_an_approval_that_a_policy_wants_stands_before_every_job(governed: Governed):
    governed.rules("approval: [{name: large, when: '${{ inputs.size > 3 }}', by: [grace]}]")
    run = governed.factory.request(inputs={"size": 4})
    plan = read_plan(governed.factory.storage, run)
    gate, first, second = plan.jobs
    assert (gate.name, gate.type, gate.needs) == ("policy-large", "approval", ())
    assert gate.name in first.needs
    assert second.needs == ("a",)
    assert list(governed.factory.jobs(run)) == ["policy-large", "a", "b"]
    assert len(read_plan(governed.factory.storage, governed.factory.request()).jobs) == 2


def test_the_job_before_all_others_asks_whom_the_policy_names(governed: Governed):
    governed.rules("approval: [{name: all, by: [grace], message: 'May ${{ it }} run?'}]")
    walk = governed.factory.take_up(governed.factory.request())
    assert governed.factory.ready(walk) == ["policy-all"]
    governed.factory.attempt(walk, "policy-all")
    assert governed.factory.jobs(walk.run)["policy-all"].status is JobStatus.WAITING
    with governed.factory.store.begin(TENANT, read_only=True) as tx:
        (approval,) = tx.list_approvals(run_id=walk.run.id)
    assert (approval.by, approval.message) == (("grace",), "May ${{ it }} run?")


def test_a_preview_tells_what_will_need_an_approval_and_by_whom(governed: Governed):
    governed.rules("approval: [{name: all, by: [grace], count: 1}]")
    preview = governed.preview()
    assert [(r.name, r.question.by) for r in preview.ruling.approvals] == [("all", ("grace",))]
    assert preview.plan.jobs[0].name == "policy-all"


def test_an_approval_that_nothing_can_ask_for_refuses(governed: Governed):
    governed.rules("approval: [{name: all}]")
    del governed.factory.catalog.job_types["approval"]  # pyright: ignore[reportIndexIssue] - a dict
    with pytest.raises(UnknownJobTypeError, match="approval all"):
        governed.factory.request()


def test_a_step_called_like_a_policys_job_is_refused(governed: Governed):
    governed.factory.template(steps("policy-all: "))
    governed.rules("approval: [{name: all}]")
    with pytest.raises(InputError, match="policy-all"):
        governed.factory.request()


def test_what_goes_round_again_does_not_count_against_quotas(governed: Governed):
    governed.rules("quotas: {runs_per_day: 0}\ntemplates: {demo: {}}")
    template = governed.factory.catalog.load("demo")
    catalog = governed.factory.catalog
    plan, _ = plan_under_policy(catalog, governed.book, TENANT, template, {}, counts=False)
    assert len(plan.jobs) == 2
    with pytest.raises(PolicyRefusedError):
        plan_under_policy(catalog, governed.book, TENANT, template, {})


def test_the_days_quota_refuses_what_is_beyond_and_begins_anew_at_midnight(governed: Governed):
    governed.rules("quotas: {runs_per_day: 2}")
    for _ in range(2):
        governed.factory.request()
    refused = governed.refusal()
    assert [str(problem) for problem in refused.problems] == [
        "file acme.yaml: quotas.runs_per_day 2 of 2 runs were accepted today"
        " (it begins anew at 2026-11-22 00:00 UTC)"
    ]
    with pytest.raises(PolicyRefusedError):
        governed.preview()
    governed.refusal()  # a refused one is no accepted one: still 2 of 2
    governed.factory.request(tenant_id="other")
    governed.factory.clock.pass_time(timedelta(hours=12))
    governed.factory.request()


def test_the_quota_is_told_together_with_the_other_rules(governed: Governed):
    governed.rules("quotas: {runs_per_day: 0}\ntemplates: {}")
    refused = governed.refusal()
    assert [p.code for p in refused.problems] == ["templates", "quotas.runs_per_day"]


def test_a_repeated_request_counts_once(governed: Governed):
    governed.rules("quotas: {runs_per_day: 1}")
    first = governed.factory.request(idempotency_key="k")
    assert governed.factory.request(idempotency_key="k").id == first.id


def test_a_quota_lowered_under_what_runs_stops_nothing_but_new_requests(governed: Governed):
    runs = [governed.factory.request() for _ in range(3)]
    governed.rules("quotas: {runs_per_day: 1, running_runs: 1}\ntemplates: {}\nmax_deadline: 1s")
    governed.refusal()
    for run in runs:
        walk = governed.factory.take_up(run, f"flow-of-{run.id}")
        assert governed.factory.drive(walk).status is RunStatus.SUCCEEDED


def test_the_table_refuses_beside_a_file_that_allows(governed: Governed):
    governed.rules("templates: {demo: {}}")
    document = "templates: {demo: {versions: '>=2'}}"
    with governed.factory.store.begin(TENANT) as tx:
        tx.save_policy(PolicyRecord(TENANT, 1, document, "d" * 64, NOON, "ada"))
    refused = governed.refusal()
    assert [(p.file, p.code) for p in refused.problems] == [("table", "templates.demo.versions")]


def test_who_is_accepted_between_the_check_and_the_commit_counts(
    governed: Governed, monkeypatch: pytest.MonkeyPatch
):
    governed.rules("quotas: {runs_per_day: 1}")
    rule = governed.book.rule

    def others_come_first(*arguments: Any, **named: Any) -> Ruling:
        ruling = rule(*arguments, **named)
        monkeypatch.undo()
        governed.factory.request()
        return ruling

    monkeypatch.setattr(governed.book, "rule", others_come_first)
    assert governed.refusal().run_id is not None
    assert governed.run_count() == 2  # the accepted one, and the record of the refusal


def test_of_two_requests_at_once_one_takes_the_last_of_the_quota(
    tmp_path: Path, database_store: SqlRunStore
):
    governed = Governed(tmp_path, database_store)
    governed.rules("quotas: {runs_per_day: 3}")
    governed.factory.request()
    results: list[Run | FactoryError] = []
    barrier = threading.Barrier(6)

    def ask() -> None:
        barrier.wait()
        try:
            results.append(governed.factory.request())
        except FactoryError as error:
            results.append(error)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    accepted = [result for result in results if isinstance(result, Run)]
    refused = [result for result in results if isinstance(result, PolicyRefusedError)]
    assert (len(accepted), len(refused)) == (2, 4)
