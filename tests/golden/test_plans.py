"""Template + inputs → plan, kept word for word: whoever changes a plan sees it here.

To take over a wanted change: FACTORY_GOLDEN=write pytest tests/golden
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.compiler.load import load_template
from factory_runtime.compiler.plan import compile_plan, plan_from_json, plan_to_json
from factory_runtime.domain.template import JobTypeFacts, RetryPolicy
from factory_runtime.jobs.registry import job_type_facts
from factory_runtime.services.catalog import BUILT_IN

HERE = Path(__file__).parent
CASES = sorted(folder.name for folder in HERE.iterdir() if (folder / "template.yaml").exists())
JOB_TYPES = {
    name: JobTypeFacts(
        name=name,
        version="1",
        with_schema={"type": "object"},
        undos=("delete-repository",),
        retry=RetryPolicy(),
    )
    for name in (
        "repo-generation",
        "template-layer",
        "infrastructure",
        "pipeline-generation",
        "documentation",
    )
}


@pytest.mark.parametrize("case", CASES)
def test_a_template_with_inputs_compiles_into_the_plan_on_file(case: str):
    inputs = json.loads((HERE / f"{case}.inputs.json").read_text())
    check_plan(HERE / case, JOB_TYPES, inputs)


def test_the_built_in_report_compiles_by_default_into_the_plan_on_file():
    check_plan(BUILT_IN / "report", job_type_facts(), {})


def check_plan(folder: Path, job_types: Mapping[str, JobTypeFacts], inputs: Mapping[str, Any]):
    template = load_template(folder, job_types)
    plan = compile_plan(template, inputs, job_types)
    text = json.dumps(json.loads(plan_to_json(plan)), indent=2, sort_keys=True) + "\n"
    golden = HERE / f"{folder.name}.plan.json"
    if os.environ.get("FACTORY_GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()
    assert plan_from_json(text) == plan


def test_there_are_plans_on_file():
    assert CASES
