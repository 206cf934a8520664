"""Template + inputs → plan, kept word for word: whoever changes a plan sees it here.

To take over a wanted change: FACTORY_GOLDEN=write pytest tests/golden
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from factory_runtime.compiler.load import load_template
from factory_runtime.compiler.plan import compile_plan, plan_from_json, plan_to_json
from factory_runtime.domain.template import JobTypeFacts, RetryPolicy

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
    template = load_template(HERE / case, JOB_TYPES)
    inputs = json.loads((HERE / f"{case}.inputs.json").read_text())
    plan = compile_plan(template, inputs, JOB_TYPES)
    text = json.dumps(json.loads(plan_to_json(plan)), indent=2, sort_keys=True) + "\n"
    golden = HERE / f"{case}.plan.json"
    if os.environ.get("FACTORY_GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()
    assert plan_from_json(text) == plan


def test_there_are_plans_on_file():
    assert CASES
