"""A run keeps the git host that it began at, and so do its ledger and its undo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from factory_runtime.domain.errors import PermanentError, PolicyUnavailableError
from factory_runtime.domain.records import EffectStatus
from factory_runtime.domain.run import RunStatus
from factory_runtime.domain.secrets import Secrets
from factory_runtime.hosts.chosen import ChosenHosts
from factory_runtime.hosts.in_memory import InMemoryGitHost
from factory_runtime.hosts.opening import OpenedHost
from tests.builders import TENANT
from tests.small_factory import raises
from tests.undoing import SERVICE, UndoFactory


class MovingFactory(UndoFactory):
    """Its tenant's repositories go ``elsewhere`` once ``choice`` says so."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.here, self.elsewhere = InMemoryGitHost(), InMemoryGitHost()
        self.choice = "local"
        self.is_broken = False
        moving = ChosenHosts(self.here, self._choose, self._open, self.clock)
        self.host = moving  # type: ignore[assignment]  # tests look at ``here`` and ``elsewhere``
        self.engine = replace(self.engine, host=moving)

    def _choose(self, tenant_id: str) -> str:
        assert tenant_id == TENANT
        if self.is_broken:
            raise PolicyUnavailableError("the policy cannot be read")
        return self.choice

    def _open(self, tenant_id: str, choice: str) -> OpenedHost:
        assert (tenant_id, choice) == (TENANT, "block:acme")
        return OpenedHost(self.elsewhere, Secrets())

    def has(self, host: InMemoryGitHost) -> bool:
        return host.find_repository(TENANT, "shop", "orders") is not None


@pytest.fixture
def factory(tmp_path: Path) -> MovingFactory:
    return MovingFactory(tmp_path)


def test_a_run_goes_on_where_it_began(factory: MovingFactory) -> None:
    factory.template(SERVICE)
    run = factory.request()
    walk = factory.took(run)
    factory.finish(walk, "generate")
    factory.choice = "block:acme"
    assert factory.drive(walk).status is RunStatus.SUCCEEDED
    assert (factory.has(factory.here), factory.has(factory.elsewhere)) == (True, False)
    assert factory.run(run).git_host == "local"
    later = factory.walk(factory.request())
    assert later.git_host == "block:acme"
    assert factory.has(factory.elsewhere)


def test_a_run_is_undone_where_it_was_made(factory: MovingFactory) -> None:
    run = factory.made()
    factory.choice = "block:acme"
    undoing = factory.undo(run)
    assert factory.walk(undoing).status is RunStatus.SUCCEEDED
    assert not factory.has(factory.here)
    assert set(factory.ledger(run).values()) == {EffectStatus.UNDONE}


def test_what_was_begun_is_looked_for_where_it_was(
    factory: MovingFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factory.here, "ensure_commit", raises(PermanentError("refused")))
    run = factory.made()
    assert run.status is RunStatus.FAILED
    assert factory.ledger(run)["generate repository"] is EffectStatus.INTENDED
    factory.choice = "block:acme"
    factory.tidy()
    assert factory.ledger(run)["generate repository"] is EffectStatus.CONFIRMED


def test_a_run_does_not_begin_while_nobody_can_tell_where(factory: MovingFactory) -> None:
    factory.template(SERVICE)
    run = factory.admit(factory.request())
    factory.is_broken = True
    with pytest.raises(PolicyUnavailableError):
        factory.took(run)
    factory.is_broken = False
    assert factory.walk(run).git_host == "local"
