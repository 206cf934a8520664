"""A policy's text: every key is read, every mistake is named at its place."""

from __future__ import annotations

import textwrap
from datetime import timedelta
from typing import Any

import pytest

from factory_runtime.compiler.policy_file import Known, load_policy, read_policy
from factory_runtime.domain.approval import Question
from factory_runtime.domain.artifact import ArtifactType
from factory_runtime.domain.errors import InvalidPolicyError, Problem
from factory_runtime.domain.memory import Collection
from factory_runtime.domain.policy import (
    ApprovalRule,
    Expiry,
    Limits,
    NoticeRule,
    Policy,
    TemplateRule,
)

FULL = """
templates:
  microservice:
    versions: ">=1.2,<2"
    withdrawn: {"1.3.0": it leaks}
  report:
inputs:
  microservice:
    properties: {database: {enum: [none]}}
  "*": {maxProperties: 9}
approval:
  - name: production
    templates: [microservice]
    when: "${{ inputs.environment == 'production' }}"
    by: [ada, "group:ops"]
    count: 2
    expires: 2d
    escalate: {after: 4h, to: [grace]}
    message: May this go out?
  - {name: all}
quotas: {runs_per_day: 50, running_runs: 4, projects: {shop: 2, web: 0}}
topics: {documentation: 2}
weight: 2.5
max_deadline: 8h
notify:
  - {name: ops, to: "jsons://hooks.example.com/factory", kinds: [dead-letter, run-stuck]}
  - {name: chat, to: $CHAT_URL}
memory: {shared: [templates, domain, templates]}
git_host: block:acme
expiry: {data-export: 7d, message-content: downloaded}
"""


def problems(text: str | bytes) -> list[Problem]:
    body = text if isinstance(text, bytes) else textwrap.dedent(text).encode()
    reading = read_policy(body, "acme.yaml", "file acme.yaml")
    assert (reading.policy is None) is bool(reading.problems)
    return list(reading.problems)


def the_problem(text: str | bytes) -> Problem:
    (problem,) = problems(text)
    return problem


def loaded(text: str) -> Policy:
    return load_policy(text.encode(), "acme.yaml", "file acme.yaml")


def test_every_key_is_read():
    policy = loaded(FULL)
    assert policy.source == "file acme.yaml"
    assert policy.templates == {
        "microservice": TemplateRule(">=1.2,<2", {"1.3.0": "it leaks"}),
        "report": TemplateRule(),
    }
    assert policy.inputs["microservice"] == {"properties": {"database": {"enum": ["none"]}}}
    assert policy.inputs["*"] == {"maxProperties": 9}
    question = Question(
        message="May this go out?",
        by=("ada", "group:ops"),
        count=2,
        expires=timedelta(days=2),
        escalate_after=timedelta(hours=4),
        escalate_to=("grace",),
    )
    production, whole = policy.approvals
    assert production == ApprovalRule(
        "production", question, ("microservice",), "${{ inputs.environment == 'production' }}"
    )
    assert (whole.templates, whole.when, whole.question.by) == (("*",), None, ())
    assert "all" in whole.question.message
    assert (policy.runs_per_day, policy.max_deadline) == (50, timedelta(hours=8))
    assert policy.weight == 2.5
    assert policy.limits == Limits(2.5, 4, {"shop": 2, "web": 0}, {"documentation": 2})
    assert policy.notices == (
        NoticeRule("ops", "jsons://hooks.example.com/factory", ("dead-letter", "run-stuck")),
        NoticeRule("chat", "$CHAT_URL"),
    )
    assert policy.shared_memory == (Collection.TEMPLATES, Collection.DOMAIN)
    assert policy.git_host == "block:acme"
    assert policy.expiry == {
        ArtifactType.DATA_EXPORT: Expiry(timedelta(days=7)),
        ArtifactType.MESSAGE_CONTENT: Expiry(once_downloaded=True),
    }


def test_a_policy_without_rules_allows_everything():
    assert loaded("{}") == Policy("file acme.yaml")


def test_no_templates_at_all_is_a_rule():
    assert loaded("templates: {}").templates == {}


def test_all_mistakes_are_told_at_once_in_their_order():
    with pytest.raises(InvalidPolicyError) as caught:
        loaded("wait: 3\nquotas: {runs_per_day: -1, running_runs: 1.5}\nmax_deadline: long\n")
    assert str(caught.value) == "the policy acme.yaml has 4 problems"
    places = [(p.line, p.column, p.code) for p in caught.value.problems]
    assert places == [
        (1, 1, "unknown-key"),
        (2, 24, "bad-value"),
        (2, 42, "bad-value"),
        (3, 15, "bad-value"),
    ]
    assert caught.value.problems[0].hint == "did you mean 'weight'?"


@pytest.mark.parametrize("text", ["", "# cut off\n"])
def test_an_empty_policy_is_none(text: str):
    assert the_problem(text).code == "missing-key"


@pytest.mark.parametrize(
    "body", [b"weight: \xff", b"a: [", b"- 1", b"just text", b"---", b"a: 1\n---\nb: 2"]
)
def test_what_is_no_mapping_is_refused(body: bytes):
    assert problems(body)


@pytest.mark.parametrize(
    "text",
    [
        "templates:",
        "templates: [microservice]",
        "templates: microservice",
        "inputs: 3",
        "inputs: {a: 3}",
        "approval: {name: a}",
        "approval: [a]",
        "quotas: 3",
        "quotas: {running_runs: none}",
        "quotas: {running_runs: true}",
        "quotas: {running_runs: -1}",
        "quotas: {running_runs: null}",
        "quotas: {runs_per_day: '3'}",
        "quotas: {projects: [shop]}",
        "quotas: {projects: {shop: -1}}",
        "quotas: {projects: {Shop: 1}}",
        "topics: 3",
        "topics: {docs: 0.5}",
        "weight: 0",
        "weight: -1",
        "weight: 0.0000001",
        "weight: 1e300",
        "weight: true",
        "weight: heavy",
        "memory: {shared: [runs]}",
        "git_host: github",
        "git_host: block:../acme",
        "git_host: [local]",
        "expiry: 7d",
        "expiry: [data-export]",
        "expiry: {exports: 7d}",
        "expiry: {data-export: soon}",
        "expiry: {data-export: 0s}",
        "expiry: {data-export: 7}",
        "expiry: {data-export: }",
        "expiry: {data-export: [7d, downloaded]}",
        "memory: {shared: templates}",
        "memory: [templates]",
        "memory: {other: [templates]}",
        "max_deadline: 3",
        "max_deadline: 0s",
        "max_deadline: null",
        "notify: ops",
        "notify: [{name: a, to: 'log://', kinds: all}]",
    ],
)
def test_values_of_the_wrong_sort_are_refused(text: str):
    assert the_problem(text).line == 1


def test_how_long_things_are_kept_is_refused_by_its_key():
    wrong = the_problem("expiry: {message-content: 7d, data-export: soon}")
    assert (wrong.column, wrong.code) == (44, "bad-value")
    assert "data-export of expiry" in wrong.message
    assert "downloaded" in wrong.message
    unknown = the_problem("expiry: {data-exports: 7d}")
    assert (unknown.code, unknown.hint) == ("unknown-key", "did you mean 'data-export'?")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{versions: 1.2}", "versions"),
        ("{versions: newest}", "versions"),
        ("{version: '>=1'}", "did you mean 'versions'"),
        ("{withdrawn: ['1.1.0']}", "withdrawn"),
        ("{withdrawn: {'1.1.0': }}", "1.1.0"),
        ("all", "mapping"),
    ],
)
def test_bad_rules_of_a_template_are_refused(rule: str, said: str):
    assert said in str(the_problem(f"templates: {{microservice: {rule}}}"))


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("{type: strin}", "strin"),
        ("{propertys: {}}", "did you mean 'properties'"),
        ("{properties: {a: {pattern: '('}}}", "regular expression"),
        ("{properties: {a: {$ref: 'https://example.com/a'}}}", "leaves the file"),
        ("{$ref: '#'}", "without end"),
        ("{required: a}", "required"),
    ],
)
def test_bad_schemas_of_inputs_are_refused(schema: str, said: str):
    found = the_problem(f"inputs:\n  microservice: {schema}\n")
    assert said in str(found)
    assert found.line == 2


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("by: [ada]", "no 'name'"),
        ("name: Production", "short and plain"),
        ("name: a.b", "short and plain"),
        ("name: a, when: 'true'", "one expression"),
        ("name: a, when: true", "one expression"),
        ("name: a, when: '${{ steps.a.outputs.b }}'", "one expression over inputs"),
        ("name: a, when: '${{ inputs.a == }}'", "${{ inputs.a == }}"),
        ("name: a, when: '${{ inputs.a() }}'", "called"),
        ("name: a, templates: []", "list of templates"),
        ("name: a, templates: microservice", "list of text"),
        ("name: a, by: [ada, '']", "names of users"),
        ("name: a, by: ['role:admin']", "names of users"),
        ("name: a, count: 0", "from 1 to 100"),
        ("name: a, count: true", "from 1 to 100"),
        ("name: a, by: [ada], count: 2", "at most 1"),
        ("name: a, expires: never", "duration"),
        ("name: a, escalate: {after: 1d}", "no 'to'"),
        ("name: a, escalate: {to: [b]}", "no 'after'"),
        ("name: a, escalate: {after: 1d, to: []}", "at least one"),
        ("name: a, by: []", "at least one"),
        ("name: a, expires: 1d, escalate: {after: 1d, to: [b]}", "earlier than its expiry"),
        ("name: a, escalation: {}", "did you mean 'escalate'"),
        ("name: a, message: 3", "text"),
    ],
)
def test_bad_approval_rules_are_refused(rule: str, said: str):
    found = the_problem(f"approval:\n  - {{{rule}}}\n")
    assert said in str(found)
    assert found.line == 2


def test_those_it_is_escalated_to_count_as_well():
    text = "approval: [{name: a, by: [ada], count: 2, escalate: {after: 1d, to: [bob]}}]"
    assert loaded(text).approvals[0].question.count == 2


def test_a_group_may_be_asked_for_more_votes_than_names():
    assert loaded('approval: [{name: a, by: ["group:ops"], count: 3}]').approvals[0].question.count


@pytest.mark.parametrize("key", ["approval", "notify"])
def test_rules_of_one_list_have_names_of_their_own(key: str):
    rest = ", to: $A" if key == "notify" else ""
    found = the_problem(f"{key}:\n  - {{name: a{rest}}}\n  - {{name: a{rest}}}\n")
    assert (found.line, "only one" in found.message) == (3, True)


@pytest.mark.parametrize(
    "address",
    [
        "mailto://ada:geheim@example.com",
        "jsons://user:12345@hooks.example.com",
        "jsons://:geheim@hooks.example.com",
        "https://hooks.example.com/?token=geheim",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnl4zkcOXrIdevi7FQ",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(address: str):
    found = the_problem(f"notify: [{{name: a, to: '{address}'}}]")
    assert "environment variable" in str(found)
    assert "geheim" not in str(found)
    assert "TIiajkdnl4zkcOXrIdevi7FQ" not in str(found)


@pytest.mark.parametrize(
    "address",
    [
        "log://",
        "json://127.0.0.1:8080/hook",
        "mailto://ops@example.com",
        "$OPS_URL",
        "block:on-call",
    ],
)
def test_addresses_without_a_secret_are_taken(address: str):
    (rule,) = loaded(f"notify: [{{name: a, to: '{address}'}}]").notices
    assert rule.to == address


@pytest.mark.parametrize(
    "address",
    ["ops", "$", "$1", "http//x", "", "$A$B", "json://a b", "block:", "block:A", "block:a/../b"],
)
def test_what_is_no_address_is_refused(address: str):
    assert the_problem(f"notify: [{{name: a, to: '{address}'}}]").code == "bad-value"


def test_an_unknown_kind_of_notice_is_refused():
    found = the_problem("notify: [{name: a, to: $A, kinds: [dead-leter]}]")
    assert found.hint == "did you mean 'dead-letter'?"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("templates: {microservce: {}, '*': {}}", "did you mean 'microservice'?"),
        ("inputs: {microservce: {}}", "did you mean 'microservice'?"),
        ("approval: [{name: a, templates: [microservce]}]", "did you mean 'microservice'?"),
        ("topics: {documentatio: 1}", "did you mean 'documentation'?"),
    ],
)
def test_a_name_that_is_not_here_is_a_warning_and_no_mistake(text: str, hint: str):
    known: Any = Known(templates=("microservice",), job_types=("documentation",))
    reading = read_policy(text.encode(), "acme.yaml", "table", known)
    assert reading.policy is not None
    assert [warning.hint for warning in reading.warnings] == [hint]
    assert read_policy(text.encode(), "acme.yaml", "table").warnings == ()


def test_anchors_that_grow_without_end_are_refused():
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{n}: &{n} [{', '.join([f'*{m}'] * 9)}]" for m, n in zip("abcdef", "bcdefg", strict=True)
    ]
    assert any(p.code == "too-large" for p in problems("\n".join(lines)))
