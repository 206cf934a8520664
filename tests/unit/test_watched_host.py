"""A proof sees what a run asks the git host that it keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from deployments.prove.watched import Watch, WatchedHost
from factory_runtime.hosts.chosen import ChosenHosts
from factory_runtime.hosts.in_memory import InMemoryGitHost
from factory_runtime.hosts.opening import OpenedHost
from factory_runtime.ports import ChoiceOfHosts
from tests.small_factory import SettableClock


class Asked:
    """A watch that notes what was asked for."""

    def __init__(self) -> None:
        self.nouns: list[str] = []

    def ask(self, step: str | None, noun: str, act: Callable[[], Any]) -> Any:
        del step
        self.nouns.append(noun)
        return act()


def test_the_host_that_a_run_keeps_is_watched_as_well() -> None:
    here, watch = InMemoryGitHost(), Asked()

    def elsewhere(tenant_id: str, choice: str) -> OpenedHost:
        raise AssertionError(f"{tenant_id} is at {choice}")

    hosts = ChosenHosts(here, lambda _tenant_id: "block:other", elsewhere, SettableClock())
    host = WatchedHost(hosts, cast(Watch, watch))
    assert isinstance(host, ChoiceOfHosts)
    kept = host.at("local")
    kept.ensure_repository("acme", "shop", "orders", effect_key="run-1:make", description="")
    assert watch.nouns == ["repository"]
    assert here.find_repository("acme", "shop", "orders") is not None
