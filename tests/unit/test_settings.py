"""Settings that would undo what protects the factory are refused, with words that help."""

from __future__ import annotations

import pytest

from cli.door import BadSettingsError, read_settings


@pytest.mark.parametrize(
    "given",
    ["*", "0.0.0.0/0", "::/0", "0.0.0.0/1", "", "proxy.internal", "10.0.0.1/8", " 10.0.0.7"],
)
def test_nobody_s_word_counts_for_where_a_request_came_from_but_a_proxy_s(
    given: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FACTORY_API_PROXIES", f'["127.0.0.1", "{given}"]')
    with pytest.raises(BadSettingsError) as refused:
        read_settings()
    assert "FACTORY_API_PROXIES" in refused.value.explain()
    assert '["10.0.0.7", "10.1.0.0/16"]' in refused.value.explain()


def test_proxies_are_addresses_and_networks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FACTORY_API_PROXIES", '["127.0.0.1", "::1", "10.0.0.0/8", "fc00::/7"]')
    assert read_settings().api_proxies == ("127.0.0.1", "::1", "10.0.0.0/8", "fc00::/7")


@pytest.mark.parametrize(
    "given",
    [
        *("", "azure", "az://", "az://Upper", "az://a--b", "az://a/b", f"az://{'a' * 21}"),
        *("block:", "block:a/b", "block:Upper", "local://x", "file:///tmp"),
    ],
)
def test_bodies_go_to_what_can_be_an_artifact_storage(given: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FACTORY_ARTIFACT_STORAGE", given)
    with pytest.raises(BadSettingsError) as refused:
        read_settings()
    assert "az://PREFIX" in refused.value.explain()
    monkeypatch.setenv("FACTORY_ARTIFACT_STORAGE", "az://factory-1")
    assert read_settings().artifact_storage == "az://factory-1"


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("FACTORY_PUBLIC_URL", "factory.example.com"),
        ("FACTORY_PUBLIC_URL", "https://ada:secret@factory.example.com"),
        ("FACTORY_PUBLIC_URL", "ftp://factory.example.com"),
        ("FACTORY_RUN_PAGE", "https://portal.example.com/runs"),
        ("FACTORY_RUN_PAGE", "javascript:{run}"),
    ],
)
def test_what_others_are_led_to_can_be_opened(
    name: str, given: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(name, given)
    with pytest.raises(BadSettingsError) as refused:
        read_settings()
    assert name in refused.value.explain()


def test_where_others_are_led_to_has_no_slash_at_its_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FACTORY_PUBLIC_URL", "https://factory.example.com/")
    assert read_settings().public_url == "https://factory.example.com"
