"""Runs and jobs live as a plain model says, whatever two workers and their people do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    run_state_machine_as_test,  # pyright: ignore[reportUnknownVariableType] - partly untyped
)

from factory_runtime.run_store import SqlRunStore
from tests.property.lifecycle_machine import Lifecycles
from tests.property.lifecycle_model import LOSSES, RECIPES
from tests.small_factory import SmallFactory


def check_lifecycles(
    store: SqlRunStore, folder: Path, monkeypatch: pytest.MonkeyPatch, examples: int
) -> None:
    monkeypatch.setattr("factory_runtime.services.take_back.LOSSES", LOSSES)
    factory = SmallFactory(folder, store)
    for recipe in RECIPES:
        factory.template(recipe.text(), name=recipe.name)
    run_state_machine_as_test(
        cast(Any, lambda: Lifecycles(factory)),  # a factory does as well as a class
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


EXAMPLES = 7
MANY_EXAMPLES = 200


def test_runs_and_jobs_live_as_the_model_says(
    database_store: SqlRunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    check_lifecycles(database_store, tmp_path / "templates", monkeypatch, EXAMPLES)


@pytest.mark.soak
def test_runs_and_jobs_live_as_the_model_says_for_long(
    database_store: SqlRunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    check_lifecycles(database_store, tmp_path / "templates", monkeypatch, MANY_EXAMPLES)
