"""Each tenant's git host: chosen by its policy or the settings, opened by a block it may use."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from factory_runtime.bootstrap import Runtime
from factory_runtime.bootstrap.ground import SystemClock
from factory_runtime.domain.errors import HostBusyError, InputError
from factory_runtime.domain.secrets import Secrets
from factory_runtime.hosts.chosen import FRESH, ChosenHosts
from factory_runtime.hosts.in_memory import InMemoryGitHost
from factory_runtime.hosts.opening import KIND, OpenedHost, open_host
from factory_runtime.ports import Credentials
from factory_runtime.settings import Settings
from tests.small_factory import SettableClock


class Book:
    """Keeps one block, of one kind, for one tenant."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def credentials_of(self, kind: str, name: str) -> Credentials:
        assert kind == KIND
        fields = {"kind": self.kind, "url": "https://dev.azure.com/acme", "token": "s3cr3t-t0k3n"}
        return Credentials(name, fields, frozenset({"s3cr3t-t0k3n"}), frozenset({"acme"}))


def make(host: InMemoryGitHost | ChosenHosts, tenant_id: str) -> None:
    host.ensure_repository(tenant_id, "shop", "orders", effect_key="run-1:base", description="")


def test_each_tenant_has_its_own_host():
    local, elsewhere = InMemoryGitHost(), InMemoryGitHost()
    choices = {"acme": "block:acme", "other": "local"}
    opened: list[tuple[str, str]] = []

    def open_elsewhere(tenant_id: str, choice: str) -> OpenedHost:
        opened.append((tenant_id, choice))
        return OpenedHost(elsewhere, Secrets())

    hosts = ChosenHosts(local, choices.__getitem__, open_elsewhere, SettableClock())
    make(hosts, "acme")
    make(hosts, "other")
    assert opened == [("acme", "block:acme")]
    assert elsewhere.find_repository("acme", "shop", "orders") is not None
    assert local.find_repository("acme", "shop", "orders") is None
    assert local.find_repository("other", "shop", "orders") is not None
    assert elsewhere.find_repository("other", "shop", "orders") is None


def test_a_token_that_was_changed_counts_after_a_while_and_one_tenant_s_is_not_another_s():
    clock, opened = SettableClock(), list[str]()

    def open_elsewhere(tenant_id: str, choice: str) -> OpenedHost:
        opened.append(tenant_id)
        return OpenedHost(InMemoryGitHost(), Secrets())

    hosts = ChosenHosts(InMemoryGitHost(), lambda _: "block:acme", open_elsewhere, clock)
    for tenant_id in ("acme", "acme", "other", "acme"):
        make(hosts, tenant_id)
    assert opened == ["acme", "other"]
    clock.pass_time(FRESH - timedelta(seconds=1))
    make(hosts, "acme")
    clock.pass_time(timedelta(seconds=1))
    make(hosts, "acme")
    assert opened == ["acme", "other", "acme"]


def test_a_block_is_for_the_tenants_that_it_names(tmp_path: Path):
    with pytest.raises(InputError, match="not for the tenant other"):
        open_host(Book("azure-devops"), "other", "block:acme", tmp_path)


def test_a_policy_goes_before_the_settings_and_neither_may_name_a_path(tmp_path: Path):
    (tmp_path / "acme.yaml").write_text("git_host: block:acme")
    settings = Settings(home=tmp_path / "home", policy_folder=tmp_path, git_host="block:all")
    runtime = Runtime(settings, SystemClock())
    with pytest.raises(HostBusyError):  # nobody keeps blocks here: it is asked for one
        runtime.host.find_repository("acme", "shop", "orders")
    assert runtime.policies.git_host_of("acme") == "block:acme"
    assert runtime.policies.git_host_of("other") is None
    with pytest.raises(ValueError, match="git_host"):
        Settings(git_host="block:../acme")


def test_a_service_that_nobody_speaks_with_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="gitea") as refused:
        open_host(Book("gitea"), "acme", "block:acme", tmp_path)
    assert "s3cr3t-t0k3n" not in refused.value.explain()
