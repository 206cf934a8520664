"""What the factory's automations are about, without a server that they stand on."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.states import AwaitingRetry, Late, Pending, Scheduled

from deployments import our_automations as ours
from factory_runtime.orchestration.states import replaced_state


@pytest.mark.parametrize(
    "state", [Scheduled(), AwaitingRetry(), Late(), Pending(), replaced_state("run-1")]
)
def test_a_flow_run_that_waits_or_has_ended_is_no_zombie(state: Any) -> None:
    trigger: Any = ours.zombies().automation.trigger
    assert f"prefect.flow-run.{state.name}" in trigger.expect


@pytest.mark.parametrize("with_ours", [True, False])
def test_only_our_own_sweep_is_run_after_a_crash(
    monkeypatch: pytest.MonkeyPatch, with_ours: bool
) -> None:
    own = uuid4()
    standing: list[dict[str, Any]] = [
        {"id": str(uuid4()), "name": "a-nightly", "entrypoint": "their/code.py:sweep"},
        {"id": str(uuid4()), "name": "b-nightly", "entrypoint": None},
        {"id": str(own), "name": "every-minute", "entrypoint": "flows.sweep.sweep"},
    ]

    def ask(method: str, path: str, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        assert (method, path) == ("POST", "/deployments/filter")
        found = standing if with_ours else standing[:-1]
        return found[: wanted.get("limit", 200)]

    monkeypatch.setattr(ours, "ask", ask)
    assert ours.find_sweep() == (UUID(str(own)) if with_ours else None)
