"""Where the memory's index is, by the settings; what makes no sense is told without a secret."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest

from cli.door import BadSettingsError, read_settings
from factory_runtime.domain.errors import SettingsError
from factory_runtime.memory.lance import Place
from factory_runtime.memory.lance.chosen import chosen_place
from factory_runtime.settings import Settings

KEY = "c2VjcmV0IG9mIHRoZSBhY2NvdW50Li4uLi4uLi4uLg=="
SIGNED = "sv=2026-02-06&sp=rwdl&sig=c2lnbmF0dXJl%3D"


def azure(**others: Any) -> Settings:
    given: dict[str, Any] = {
        "memory_url": "az://factory/of/ours",
        "memory_account": "shop",
        **others,
    }
    return Settings(**given)


def test_without_an_address_it_is_a_folder_of_the_home(tmp_path: Path) -> None:
    assert chosen_place(Settings(home=tmp_path)) == Place(str(tmp_path / "memory"))


def test_an_address_is_opened_with_the_key_at_azure_or_where_the_settings_say() -> None:
    place = chosen_place(azure(memory_account_key=KEY))
    assert place.of("acme") == "az://factory/of/ours/acme"
    assert place.options.items() >= {"account_name": "shop", "account_key": KEY}.items()
    assert "azure_storage_endpoint" not in place.options

    here = azure(memory_account_key=KEY, memory_endpoint="http://127.0.0.1:10000/shop/")
    assert chosen_place(here).options["azure_storage_endpoint"] == "http://127.0.0.1:10000/shop"
    assert chosen_place(here).options["allow_http"] == "true"


def test_a_token_is_taken_with_the_question_mark_that_the_portal_shows() -> None:
    options = chosen_place(azure(memory_sas_token=f"?{SIGNED}")).options
    assert options["azure_storage_sas_key"] == SIGNED
    assert "account_key" not in options


def test_without_either_nothing_is_shown_and_the_identity_of_the_machine_counts() -> None:
    assert not {"account_key", "azure_storage_sas_key"} & set(chosen_place(azure()).options)


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ({"memory_account": None}, "FACTORY_MEMORY_ACCOUNT"),
        ({"memory_account_key": "no key, but secret!"}, "FACTORY_MEMORY_ACCOUNT_KEY"),
        ({"memory_account_key": KEY[:-3]}, "FACTORY_MEMORY_ACCOUNT_KEY"),
        ({"memory_account_key": ""}, "FACTORY_MEMORY_ACCOUNT_KEY"),
        ({"memory_sas_token": "?"}, "FACTORY_MEMORY_SAS_TOKEN"),
        ({"memory_account_key": KEY, "memory_sas_token": SIGNED}, "FACTORY_MEMORY_SAS_TOKEN"),
    ],
)
def test_what_does_not_go_together_is_told_without_a_secret(
    others: dict[str, Any], told: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        chosen_place(azure(**others))
    assert told in caught.value.explain()
    shown = "".join(traceback.format_exception(caught.value))
    for name in ("memory_account_key", "memory_sas_token"):
        secret = others.get(name, "")
        assert len(secret) < 2 or secret not in shown


@pytest.mark.parametrize(
    "url",
    [
        *("s3://factory/memory", "/var/memory", "az://", "az://ab", "az://Factory", "az://a--b"),
        *("az://factory/../other", "az://factory/.", "az://factory//memory", "az://factory?x=1"),
        *("az://factory-", f"az://{'a' * 64}", "az://factory/a b", "az://user@factory/memory"),
    ],
)
def test_what_is_no_address_of_a_container_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_MEMORY_URL", url)
    with pytest.raises(BadSettingsError) as caught:
        read_settings()
    assert "FACTORY_MEMORY_URL" in caught.value.explain()


@pytest.mark.parametrize(
    "url", ["az://abc", "az://factory/memory", "az://factory-2/of/Ours_1.x/", f"az://{'a' * 63}/b"]
)
def test_what_is_one_is_taken(url: str) -> None:
    assert Settings(memory_url=url).memory_url == url


@pytest.mark.parametrize(
    "url",
    [
        *("http://storage.example.com", "http://10.0.0.7:10000/shop", "ftp://127.0.0.1/shop", "x"),
        *("https://shop.example.com?sig=1", "https://key@shop.example.com", "https://"),
    ],
)
def test_an_endpoint_is_https_or_on_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_MEMORY_ENDPOINT", url)
    with pytest.raises(BadSettingsError) as caught:
        read_settings()
    assert "FACTORY_MEMORY_ENDPOINT" in caught.value.explain()


def test_no_secret_is_shown_where_settings_or_places_are() -> None:
    settings = azure(memory_account_key=KEY)
    assert KEY not in f"{settings!r} {settings.model_dump_json()} {chosen_place(settings)!r}"
    assert SIGNED not in repr(azure(memory_sas_token=SIGNED))
