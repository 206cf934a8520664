"""`factory doctor` looks at the git host of each tenant that has one elsewhere."""

from __future__ import annotations

from collections.abc import Generator
from hashlib import sha256
from pathlib import Path
from secrets import token_hex

import pytest

from blocks import GitHostCredentials
from cli import host_checks
from cli.desk.local import LocalDesk
from cli.doctor import LOOKS
from cli.door import StoreDoor
from cli.store_checks import Check
from factory_runtime.domain.policy import PolicyRecord
from tests.factory import Factory
from tests.forge import Forge, running_forge
from tests.prefect_server import Prefect

pytestmark = pytest.mark.slow


@pytest.fixture
def forge(tmp_path: Path, prefect: Prefect) -> Generator[Forge]:
    del prefect
    with running_forge(tmp_path / "forge") as running:
        running.add_project("default")
        yield running


def choose(factory: Factory, forge: Forge, token: str) -> str:
    """A tenant whose policy names a block with this token."""
    tenant = f"looked-at-{token_hex(4)}"
    document = f"git_host: block:{tenant}\n"
    digest = sha256(document.encode()).hexdigest()
    with factory.runtime.store.begin(tenant) as tx:
        now = factory.runtime.clock.now()
        tx.save_policy(PolicyRecord(tenant, 1, document, digest, now, "ada"))
    given = {"kind": "azure-devops", "url": forge.url, "token": token, "tenants": [tenant]}
    GitHostCredentials.model_validate(given).save(tenant)
    return tenant


def look(factory: Factory, *tenants: str) -> Check:
    """At these tenants' alone: those of other tests have forges that are gone."""
    runtime = factory.runtime
    door = StoreDoor(LocalDesk(runtime, tenants[0]), json=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime.policies, "tenants", lambda: tenants)
        return LOOKS["git hosts"]("git hosts", door)


def test_a_host_that_knows_us_is_ok_and_each_that_does_not_is_named(
    factory: Factory, forge: Forge, monkeypatch: pytest.MonkeyPatch
):
    good = choose(factory, forge, forge.add_token())
    token = forge.add_token(expired=True)
    bad, poor = (
        choose(factory, forge, token),
        choose(factory, forge, forge.add_token("GenericRead")),
    )
    found = look(factory, good)
    assert found.state == "ok", found
    assert f"block:{good}" in found.found
    assert look(factory, poor).state == "warn"
    all_three = look(factory, good, poor, bad)
    assert (all_three.state, token in all_three.found) == ("fail", False)
    assert "does not accept the token" in all_three.found
    monkeypatch.setattr(host_checks, "_SECONDS", 1.0)
    forge.delay("connection", 3)
    late = look(factory, good)
    assert (late.state, "does not answer within 1 s" in late.found) == ("fail", True)


def test_without_a_host_elsewhere_nothing_is_asked(factory: Factory):
    found = look(factory, f"plain-{token_hex(4)}")
    assert (found.state, found.found) == ("ok", "a folder of ours")
