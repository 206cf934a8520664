from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.compiler.plan import compile_plan, plan_from_json, plan_to_json
from factory_runtime.domain.errors import (
    CorruptStoreError,
    InvalidInputsError,
    PlanCycleError,
    UnknownJobTypeError,
)
from factory_runtime.domain.plan import Plan
from tests.authoring import JOB_TYPES, loaded
from tests.builders import a_step, a_template

FAN = """
    inputs:
      type: object
      properties: {l: {type: array, default: []}, n: {type: string}, on: {default: true}}
    steps:
      - {name: a, type: note}
      - {name: b, type: note, needs: [a], each: "${{ inputs.l }}", with: {text: "${{ item }}"}}
      - {name: c, type: note, needs: [b]}
    """


def plan_of(folder: Path, text: str, **inputs: Any) -> Plan:
    return compile_plan(loaded(folder, text), inputs, JOB_TYPES)


def needs_of(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {job.name: job.needs for job in plan.jobs}


def refused(folder: Path, text: str, **inputs: Any) -> list[str]:
    with pytest.raises(InvalidInputsError) as caught:
        plan_of(folder, text, **inputs)
    return [str(problem) for problem in caught.value.problems]


def test_each_makes_a_job_per_item_and_who_needs_the_step_needs_them_all(tmp_path: Path):
    plan = plan_of(tmp_path, FAN, l=["order", {"name": "line", "x": 1}, 7])
    assert needs_of(plan) == {
        "a": (),
        "b[order]": ("a",),
        "b[line]": ("a",),
        "b[7]": ("a",),
        "c": ("b[order]", "b[line]", "b[7]"),
    }
    assert plan.job("b[line]").item == {"name": "line", "x": 1}
    assert plan.job("b[line]").item_key == "line"
    assert plan.job("b[order]").with_ == {"text": "${{ item }}"}
    assert plan.each_steps == ("b",)


def test_needs_on_an_empty_each_become_what_it_would_have_waited_for(tmp_path: Path):
    assert needs_of(plan_of(tmp_path, FAN)) == {"a": (), "c": ("a",)}


@pytest.mark.parametrize(
    ("items", "word"),
    [
        (["a", "a"], "there already"),
        (["a", {"key": "a"}], "there already"),
        (["A b"], "cannot be a key"),
        (["../x"], "cannot be a key"),
        ([""], "cannot be a key"),
        ([None], "has no key"),
        ([True], "has no key"),
        ([["a"]], "has no key"),
        ([{"title": "a"}], "has no key"),
    ],
)
def test_item_keys_are_slugs_and_differ(tmp_path: Path, items: list[Any], word: str):
    assert word in refused(tmp_path, FAN, l=items)[0]


def test_all_bad_items_are_named_at_once(tmp_path: Path):
    assert len(refused(tmp_path, FAN, l=["A", None, "ok", "ok"])) == 3


def test_each_must_give_a_list(tmp_path: Path):
    text = FAN.replace('each: "${{ inputs.l }}"', 'each: "${{ inputs.n }}"')
    assert "gives no list" in refused(tmp_path, text, n="x")[0]
    assert "inputs.n is undefined" in refused(tmp_path, text)[0]


def test_a_condition_on_inputs_is_answered_now_and_others_stay(tmp_path: Path):
    text = """
        inputs: {properties: {l: {type: array}, on: {type: boolean}}}
        steps:
          - {name: a, type: note, when: "${{ inputs.on }}"}
          - {name: b, type: note, when: "${{ item != 'x' }}", each: "${{ inputs.l }}"}
          - {name: c, type: note, needs: [a], when: "${{ steps.a.outputs.x and inputs.on }}"}
          - {name: d, type: note, when: "${{ not inputs.on }}"}
        """
    plan = plan_of(tmp_path, text, l=["x", "y"], on=False)
    assert {j.name: (j.skip, j.when) for j in plan.jobs} == {
        "a": (True, None),
        "b[x]": (True, None),
        "b[y]": (False, None),
        "c": (False, "${{ steps.a.outputs.x and inputs.on }}"),
        "d": (False, None),
    }


def test_thousands_of_items_are_looked_for_among_a_thousand_names(tmp_path: Path):
    text = """
        inputs: {type: object, properties: {l: {type: array}, on: {type: array}}}
        steps:
          - {name: b, type: note, each: "${{ inputs.l }}", when: "${{ item.name in inputs.on }}"}
        """
    names = [f"service-{number:05d}-in-production" for number in range(5000)]
    plan = plan_of(tmp_path, text, l=[{"name": name} for name in names], on=names[4000:])
    assert [job.item_key for job in plan.jobs if not job.skip] == names[4000:]


def test_a_condition_on_an_input_that_was_not_given_says_so(tmp_path: Path):
    text = """
        inputs: {properties: {on: {type: boolean}}}
        steps: [{name: a, type: note, when: "${{ inputs.on }}"}]
        """
    assert "inputs.on is undefined" in refused(tmp_path, text)[0]


def test_a_fallback_stands_between_a_step_and_those_who_need_it(tmp_path: Path):
    text = """
        inputs: {properties: {l: {type: array, default: [x, y]}}}
        steps:
          - {name: a, type: note, each: "${{ inputs.l }}", on_failure: {fallback: f}}
          - {name: b, type: note, needs: [a]}
          - {name: f, type: note, on_failure: {fallback: g}}
          - {name: g, type: note}
        """
    plan = plan_of(tmp_path, text)
    assert needs_of(plan) == {
        "a[x]": (),
        "a[y]": (),
        "f": ("a[x]", "a[y]"),
        "g": ("f",),
        "b": ("a[x]", "a[y]", "f", "g"),
    }
    assert plan.job("f").fallback_for == ("a[x]", "a[y]")
    assert plan.job("g").fallback_for == ("f",)
    idle = plan_of(tmp_path, text, l=[]).job("f")
    assert (idle.skip, idle.fallback_for) == (True, ())


def test_a_fallback_with_the_same_each_stands_in_item_by_item(tmp_path: Path):
    text = """
        inputs: {properties: {l: {type: array, default: [x, y]}}}
        steps:
          - {name: first, type: note}
          - {name: a, type: note, needs: [first], each: "${{ inputs.l }}", on_failure: {fallback: f}}
          - {name: b, type: note, needs: [a]}
          - {name: f, type: note, needs: [first], each: "${{ inputs.l }}"}
        """
    plan = plan_of(tmp_path, text)
    assert needs_of(plan) == {
        "first": (),
        "a[x]": ("first",),
        "a[y]": ("first",),
        "f[x]": ("first", "a[x]"),
        "f[y]": ("first", "a[y]"),
        "b": ("a[x]", "a[y]", "f[x]", "f[y]"),
    }
    assert [plan.job(f"f[{key}]").fallback_for for key in "xy"] == [("a[x]",), ("a[y]",)]
    assert needs_of(plan_of(tmp_path, text, l=[])) == {"first": (), "b": ("first",)}


def test_jobs_stand_in_the_order_declared_as_far_as_needs_allow(tmp_path: Path):
    text = """
        steps:
          - {name: d, type: note, needs: [a]}
          - {name: c, type: note}
          - {name: b, type: note, needs: [c]}
          - {name: a, type: note}
        """
    assert list(needs_of(plan_of(tmp_path, text))) == ["c", "b", "a", "d"]


def test_policies_come_from_the_step_then_the_template_then_the_job_type(tmp_path: Path):
    text = """
        defaults: {timeout: 3m}
        steps: [{name: a, type: note, retry: {jitter: 0}}, {name: b, type: note, timeout: 1s}]
        """
    first, second = plan_of(tmp_path, text).jobs
    assert (first.retry.max_attempts, first.retry.jitter) == (3, 0)
    assert (first.timeout.seconds, second.timeout.seconds) == (180, 1)
    assert second.retry == JOB_TYPES["note"].retry
    assert first.type_version == "1"


def test_text_of_inputs_stays_data_in_the_plan(tmp_path: Path):
    text = """
        inputs: {properties: {n: {type: string}}}
        steps: [{name: a, type: note, with: {text: "${{ inputs.n }}"}}]
        """
    plan = plan_of(tmp_path, text, n="${{ run.id }}")
    assert plan.job("a").with_ == {"text": "${{ inputs.n }}"}
    assert plan.inputs == {"n": "${{ run.id }}"}


def test_too_many_jobs_or_needs_are_refused_before_they_are_made(tmp_path: Path):
    assert "more than" in refused(tmp_path, FAN, l=list(range(20_001)))[0]
    text = FAN.replace("needs: [b]", 'needs: [b], each: "${{ inputs.l }}"')
    assert "more than" in refused(tmp_path, text, l=list(range(1_500)))[0]


def test_an_unchecked_template_still_cannot_loop_or_name_what_is_not_there():
    circle = a_template(steps=(a_step(name="a", needs=("b",)), a_step(name="b", needs=("a",))))
    with pytest.raises(PlanCycleError) as caught:
        compile_plan(circle, {}, JOB_TYPES)
    assert caught.value.steps == ("a", "b")
    with pytest.raises(UnknownJobTypeError):
        compile_plan(a_template(steps=(a_step(type="nope"),)), {}, JOB_TYPES)


def test_a_plan_survives_its_json_and_broken_json_is_told(tmp_path: Path):
    plan = plan_of(tmp_path, FAN, l=["x", {"id": 1}], n="ä ${{ x }}")
    text = plan_to_json(plan)
    assert plan_from_json(text) == plan
    assert plan_to_json(plan_from_json(text)) == text
    for broken in ("", "[]", "{}", text[:-1], text.replace("PT10M", "soon")):
        with pytest.raises(CorruptStoreError):
            plan_from_json(broken)


@pytest.mark.parametrize(
    ("steps", "megabytes"), [(2_500, 120), pytest.param(10_000, 300, marks=pytest.mark.soak)]
)
def test_thousands_of_steps_stay_below_their_memory(steps: int, megabytes: int):
    code = f"from benchmarks.compile import measure; print(measure({steps})[2])"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert float(answer.stdout) < megabytes


def test_a_chain_of_ten_thousand_steps_is_no_recursion():
    steps = tuple(
        a_step(name=f"s{n}", type="note", needs=(f"s{n - 1}",) if n else ()) for n in range(10_000)
    )
    plan = compile_plan(a_template(steps=steps[::-1]), {}, JOB_TYPES)
    assert [job.name for job in plan.jobs] == [f"s{n}" for n in range(10_000)]
