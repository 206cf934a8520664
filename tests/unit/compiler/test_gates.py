"""Jobs that ask people before others begin: for a step, and for a whole plan."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.compiler.expressions import evaluate
from factory_runtime.compiler.gates import gate_all, with_of
from factory_runtime.compiler.load import check_template, load_template
from factory_runtime.compiler.plan import compile_plan, plan_from_json, plan_to_json
from factory_runtime.domain.approval import Question
from factory_runtime.domain.durations import parse_duration, spell_duration
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.job import JobStatus, SkipReason
from factory_runtime.domain.plan import Plan
from factory_runtime.domain.progress import Ending, Verdict, verdict
from factory_runtime.domain.template import OnFailure
from factory_runtime.jobs.approval import ApprovalGate, question_of
from tests.authoring import JOB_TYPES, problems, write_template

APPROVAL = ApprovalGate.facts
TYPES = {**JOB_TYPES, "approval": APPROVAL}
QUESTION = Question("May it?", ("grace", "group:ops"), 2, timedelta(days=1, minutes=5))


def plan_of(folder: Path, text: str, **inputs: Any) -> Plan:
    return compile_plan(load_template(write_template(folder, text), TYPES), inputs, TYPES)


def needs_of(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {job.name: job.needs for job in plan.jobs}


# --- of a step


def test_a_step_with_an_approval_waits_for_a_job_that_asks(tmp_path: Path):
    plan = plan_of(
        tmp_path,
        """
        steps:
          - {name: a, type: note}
          - name: b
            type: note
            needs: [a]
            priority: high
            approval: {by: [grace], count: 1, expires: 2d, escalate: {after: 1d, to: [boss]}}
          - {name: c, type: note, needs: [b]}
        """,
    )
    assert needs_of(plan) == {
        "a": (),
        "approve-b": ("a",),
        "b": ("a", "approve-b"),
        "c": ("b",),
    }
    gate = plan.job("approve-b")
    assert (gate.step, gate.type, gate.type_version) == ("approve-b", "approval", APPROVAL.version)
    assert (gate.retry, gate.timeout) == (APPROVAL.retry, APPROVAL.timeout)
    assert gate.priority == plan.job("b").priority
    assert question_of(gate.with_) == Question(
        "May b begin?", ("grace",), 1, timedelta(days=2), timedelta(days=1), ("boss",)
    )
    assert plan_from_json(plan_to_json(plan)) == plan


def test_each_item_of_a_step_is_asked_for_by_itself(tmp_path: Path):
    plan = plan_of(
        tmp_path,
        """
        inputs: {type: object, properties: {l: {type: array, default: []}}}
        steps:
          - name: b
            type: note
            each: "${{ inputs.l }}"
            when: "${{ item != 'us' }}"
            approval: {message: "Deploy ${{ item }}?"}
          - {name: c, type: note, needs: [b]}
        """,
        l=["eu", "us"],
    )
    assert needs_of(plan) == {
        "approve-b[eu]": (),
        "b[eu]": ("approve-b[eu]",),
        "approve-b[us]": (),
        "b[us]": ("approve-b[us]",),
        "c": ("b[eu]", "b[us]"),
    }
    gate = plan.job("approve-b[eu]")
    assert evaluate(gate.with_, {"inputs": {}, "item": gate.item}) == {"message": "Deploy eu?"}
    assert [job.skip for job in plan.jobs] == [False, False, True, True, False]


def test_nobody_is_asked_where_the_step_would_be_skipped(tmp_path: Path):
    plan = plan_of(
        tmp_path,
        """
        steps:
          - {name: a, type: note}
          - {name: b, type: note, needs: [a], when: "${{ steps.a.outputs.go }}", approval: {}}
        """,
    )
    assert plan.job("approve-b").when == plan.job("b").when == "${{ steps.a.outputs.go }}"


@pytest.mark.parametrize("on_failure", ["fail", "continue", "compensate", "{fallback: d}"])
@pytest.mark.parametrize("denied", [JobStatus.FAILED, JobStatus.CANCELLED])
def test_what_was_denied_never_runs_whatever_the_step_says_of_failures(
    tmp_path: Path, on_failure: str, denied: JobStatus
):
    plan = plan_of(
        tmp_path,
        f"""
        steps:
          - {{name: b, type: note, approval: {{}}, on_failure: {on_failure}}}
          - {{name: c, type: note, needs: [b]}}
          - {{name: d, type: note}}
        """,
    )
    endings = {"approve-b": Ending(denied)}
    for name in [job.name for job in plan.jobs if job.name not in endings]:
        if name == "d" and "fallback" not in on_failure:
            continue
        assert verdict(plan, plan.job(name), endings) is Verdict.SKIP_NEED_FAILED, name
        endings[name] = Ending(JobStatus.SKIPPED, SkipReason.NEED_FAILED)
    expected = OnFailure("compensate") if on_failure == "compensate" else OnFailure()
    assert plan.job("approve-b").on_failure == expected


@pytest.mark.parametrize(
    ("steps", "code", "place"),
    [
        ("[{name: b, type: note, approval: {}}, {name: approve-b, type: note}]", "duplicate-step", "approval"),
        ("[{name: b-c, type: note, approval: {}}, {name: approve_b_c, type: note}]", "duplicate-step", "approval"),
        ("[{name: b, type: note, on_failure: {fallback: c}}, {name: c, type: note, approval: {}}]", "bad-value", "approval"),
        ("[{name: b, type: approval, with: {message: x}, on_failure: continue}]", "bad-value", "on_failure"),
        ("[{name: b, type: approval, with: {message: x}, on_failure: {fallback: c}}, {name: c, type: note}]", "bad-value", "on_failure"),
        ("[{name: b, type: note, approval: {mesage: x}}]", "unknown-key", "approval"),
        ("[{name: b, type: note, approval: {message: 1}}]", "bad-value", "message"),
        ("[{name: b, type: note, approval: {by: ops}}]", "bad-value", "by"),
        ("[{name: b, type: note, approval: {by: [1]}}]", "bad-value", "by"),
        ("[{name: b, type: note, approval: {expires: soon}}]", "bad-value", "expires"),
        ("[{name: b, type: note, approval: {count: 0}}]", "bad-value", "count"),
        ("[{name: b, type: note, approval: {count: true}}]", "bad-value", "count"),
        ("[{name: b, type: note, approval: {count: two}}]", "bad-value", "count"),
        ("[{name: b, type: note, approval: {by: [x, x], count: 2}}]", "bad-value", "count"),
        ("[{name: b, type: note, approval: {by: []}}]", "bad-value", "by"),
        ("[{name: b, type: note, approval: {escalate: {after: 1d, to: []}}}]", "bad-value", "to"),
        ("[{name: b, type: approval, with: {message: x, by: []}}]", "bad-value", "by"),
        ("[{name: b, type: note, approval: {escalate: [x]}}]", "bad-value", "escalate"),
        ("[{name: b, type: note, approval: {escalate: {to: [x]}}}]", "missing-key", "escalate"),
        ("[{name: b, type: note, approval: {escalate: {after: 1d}}}]", "missing-key", "escalate"),
        ("[{name: b, type: note, approval: {escalate: {after: 7d, to: [x]}}}]", "bad-value", "after"),
        ("[{name: b, type: note, approval: {expires: 1h, escalate: {after: 1h, to: [x]}}}]", "bad-value", "after"),
        ("[{name: b, type: note, approval: {message: '${{ inputs.n }}'}}]", "unknown-input", "message"),
        ("[{name: b, type: note, approval: {message: '${{ item }}'}}]", "expression", "message"),
        ("[{name: b, type: note, approval: {message: '${{ '}}]", "expression", "message"),
    ],
)  # fmt: skip
def test_each_mistake_in_an_approval_is_told_at_its_place(
    tmp_path: Path, steps: str, code: str, place: str
):
    folder = write_template(tmp_path, f"steps: {steps}\n")
    (problem,) = check_template(folder, TYPES)
    line = (folder / "template.yaml").read_text().splitlines()[problem.line - 1]
    assert problem.code == code, problem
    assert line[: problem.column - 1].rstrip(" [{'").endswith(f"{place}:"), problem


def test_as_many_may_be_needed_as_there_may_be(tmp_path: Path):
    for by in ("[x, y]", "['group:ops']", "['${{ inputs.who }}']"):
        text = f"""
            inputs: {{type: object, properties: {{who: {{type: string}}}}}}
            steps: [{{name: b, type: note, approval: {{by: {by}, count: 2}}}}]
            """
        assert problems(tmp_path, text) == []


# --- of a whole plan


def test_a_gate_of_the_whole_plan_stands_before_everything(tmp_path: Path):
    plan = plan_of(
        tmp_path,
        """
        steps:
          - {name: a, type: note}
          - {name: b, type: note, needs: [a]}
          - {name: c, type: note, on_failure: {fallback: d}}
          - {name: d, type: note}
        """,
    )
    gated = gate_all(plan, "policy-size", QUESTION, APPROVAL)
    assert gated.jobs[0].name == "policy-size"
    assert needs_of(gated) == {
        "policy-size": (),
        "a": ("policy-size",),
        "b": ("a",),
        "c": ("policy-size",),
        "d": ("c",),
    }
    endings = {"policy-size": Ending(JobStatus.FAILED)}
    for job in gated.jobs[1:]:
        assert verdict(gated, job, endings) is Verdict.SKIP_NEED_FAILED
        endings[job.name] = Ending(JobStatus.SKIPPED, SkipReason.NEED_FAILED)
    assert question_of(gated.jobs[0].with_) == QUESTION
    assert plan_from_json(plan_to_json(gated)) == gated


def test_several_gates_are_asked_at_the_same_time(tmp_path: Path):
    plan = plan_of(
        tmp_path, "steps: [{name: a, type: note, approval: {}}, {name: b, type: note}]\n"
    )
    once = gate_all(plan, "policy-size", QUESTION, APPROVAL)
    twice = gate_all(once, "policy-cost", QUESTION, APPROVAL)
    assert needs_of(twice) == {
        "policy-cost": (),
        "policy-size": (),
        "approve-a": (),
        "a": ("approve-a", "policy-size", "policy-cost"),
        "b": ("policy-size", "policy-cost"),
    }


@pytest.mark.parametrize("name", ["a", "b-c", "b_c", "b[x]"])
def test_a_gate_is_not_called_as_something_else_in_the_plan(tmp_path: Path, name: str):
    plan = plan_of(
        tmp_path,
        """
        inputs: {type: object, properties: {l: {type: array, default: [x]}}}
        steps: [{name: a, type: note}, {name: b, type: note, each: "${{ inputs.l }}"}, {name: b-c, type: note}]
        """,
    )
    with pytest.raises(InputError, match="has a step") as refused:
        gate_all(plan, name, QUESTION, APPROVAL)
    assert refused.value.hint


@pytest.mark.parametrize(
    "text", ["${{ inputs.secret }}", "$${{ x }}", "$$${{", "{{ x }}", "${{", "a ${{ 1/0 }} b"]
)
def test_the_text_of_a_question_is_never_read_as_an_expression(text: str):
    question = Question(text, (text,), 1, timedelta(days=1), timedelta(hours=1), (text,))
    assert question_of(evaluate(with_of(question), {"inputs": {}})) == question


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(days=7), "7d"),
        (timedelta(days=1, hours=2, minutes=3, seconds=4), "1d2h3m4s"),
        (timedelta(hours=36), "1d12h"),
        (timedelta(milliseconds=1), "1s"),
        (timedelta(0), "0s"),
    ],
)
def test_durations_are_spelled_as_they_are_read(length: timedelta, text: str):
    assert spell_duration(length) == text
    assert parse_duration(text) == timedelta(seconds=-(-length // timedelta(seconds=1)))
