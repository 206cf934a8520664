"""Inputs that a dispatcher has to get past Prefect."""

from __future__ import annotations

import pytest

from factory_runtime.domain.run import RunStatus
from tests.factory import Factory
from tests.recipes import a_source, a_template

pytestmark = pytest.mark.slow


def test_inputs_that_the_schema_lets_in_unnamed_reach_the_run(factory: Factory):
    lets_in = a_template("open-inputs").replace(
        "  type: object\n", "  type: object\n  additionalProperties: true\n", 1
    )
    factory.template("open-inputs", lets_in, a_source())
    run = factory.complete("open-inputs", "open-inputs", name="svc", extra="one more")
    assert run.status is RunStatus.SUCCEEDED, run.error


def test_inputs_too_large_for_prefect_fail_their_run_and_no_other(factory: Factory):
    factory.template("large", a_template("large"), a_source())
    large = factory.request("large", "large", name="x" * 600_000)
    after = factory.complete("large", "large", name="svc")
    assert after.status is RunStatus.SUCCEEDED, after.error
    ended = factory.run(large)
    assert ended.status is RunStatus.FAILED
    assert "512 KiB" in str(ended.error)
