"""``deployments/compose.yaml``, as far as it can be checked without containers."""

from __future__ import annotations

import prefect.settings
import pytest
from prefect_redis.client import (  # pyright: ignore[reportMissingTypeStubs] - it has none
    RedisMessagingSettings,
)

from factory_runtime.settings import Settings
from tests.production import ROOT, services

OURS = {
    name: service for name, service in services().items() if service["image"] == "factory-runtime"
}


REDIS = str(RedisMessagingSettings.model_config.get("env_prefix"))


def means_something(name: str) -> bool:
    if name.startswith("FACTORY_"):
        return name.removeprefix("FACTORY_").lower() in Settings.model_fields
    if name.startswith(REDIS):
        return name.removeprefix(REDIS).lower() in RedisMessagingSettings.model_fields
    return hasattr(prefect.settings, name)


@pytest.mark.parametrize("name", OURS)
def test_every_variable_of_a_part_means_something(name: str):
    assert [one for one in OURS[name]["environment"] if not means_something(one)] == []
    assert not means_something("PREFECT_NO_SUCH_SETTING")


def test_who_shares_a_store_is_told_the_same():
    def ours(name: str) -> dict[str, str]:
        given = OURS[name]["environment"]
        return {k: v for k, v in given.items() if k.startswith("FACTORY_") and k != "FACTORY_HOOKS"}

    assert ours("worker") == ours("dispatcher")
    assert ours("factory-api").items() > ours("dispatcher").items()


def test_the_cap_is_what_the_workers_can_execute_at_once():
    worker = OURS["worker"]
    limit = int(worker["command"].rpartition("--limit ")[2])
    assert OURS["dispatcher"]["environment"]["FACTORY_MAX_RUNNING_RUNS"] == str(
        limit * worker["deploy"]["replicas"]
    )


def test_there_are_two_of_what_may_be_killed():
    two = {name for name, one in OURS.items() if one.get("deploy") == {"replicas": 2}}
    assert two == {"prefect-api", "factory-api", "worker", "dispatcher"}


def test_an_image_has_the_locked_packages_and_nothing_of_the_checkouts_own():
    build = services()["prefect-database"]["build"]["dockerfile_inline"]
    assert "--constraint requirements.lock" in build
    assert ".[minilm,production,report,tracing]" in build
    left_out = (ROOT / ".dockerignore").read_text().split("\n")
    assert {"**/.factory/", ".git/", ".venv/", "**/.env*"} <= set(left_out)
