"""The index in a container of blob storage: what opens it, what does not, and who makes it."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from factory_runtime.bootstrap import open_runtime
from factory_runtime.domain.errors import MemoryUnavailableError
from factory_runtime.domain.health import Health
from factory_runtime.memory.container import Container
from factory_runtime.memory.lance import LanceMemoryIndex, Place
from factory_runtime.memory.lance.faults import check_place
from factory_runtime.settings import Settings
from tests.azurite import Azurite
from tests.contract.memory_rows import Axes, a_row, found

pytestmark = pytest.mark.service

WAYS: dict[str, Callable[[LanceMemoryIndex, Place], object]] = {
    "search": lambda index, _: found(index),
    "upsert": lambda index, _: index.upsert("acme", [a_row()]),
    "tenants": lambda index, _: index.tenants(),
    "size": lambda index, _: index.size("acme"),
    "check": lambda _, place: check_place(place),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_key_is_told_by_its_setting_and_not_shown(
    azurite: Azurite, azure_address: str, way: str
) -> None:
    key = base64.b64encode(b"not the account's" * 4).decode()
    _refused(
        azurite.place(azure_address, memory_account_key=key), way, "FACTORY_MEMORY_ACCOUNT_KEY", key
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_token_is_told_by_its_setting_and_not_shown(
    azurite: Azurite, azure_address: str, way: str
) -> None:
    token = azurite.token().replace("sig=", "sig=AAAA")
    _refused(
        azurite.place(azure_address, memory_sas_token=token),
        way,
        "FACTORY_MEMORY_SAS_TOKEN",
        token.split("sig=")[1],
    )


def _refused(place: Place, way: str, setting: str, secret: str) -> None:
    with pytest.raises(MemoryUnavailableError, match="refuses us") as caught:
        WAYS[way](LanceMemoryIndex(place, Axes()), place)
    assert setting in caught.value.explain()
    assert secret not in "".join(traceback.format_exception(caught.value))


def test_a_token_that_has_run_out_under_a_process_is_told_and_not_shown(
    azurite: Azurite, azure_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = LanceMemoryIndex(azurite.place(azure_address), Axes())
    index.upsert("acme", [a_row()])
    token = azurite.token().replace("sig=", "sig=AAAA")
    place = azurite.place(azure_address, memory_sas_token=token)
    # It was good when it was last asked.
    monkeypatch.setattr(type(place.ground), "has", was_there)
    with pytest.raises(MemoryUnavailableError, match="refuses us") as caught:
        found(LanceMemoryIndex(place, Axes()))
    assert token.split("sig=")[1] not in "".join(traceback.format_exception(caught.value))


def was_there(container: Container, folder: str) -> bool:
    del container, folder
    return True


def test_a_token_opens_it(azurite: Azurite, azure_address: str) -> None:
    place = azurite.place(azure_address, memory_sas_token=azurite.token(write=True, delete=True))
    index = LanceMemoryIndex(place, Axes())
    index.upsert("acme", [a_row("a"), a_row("b")])
    assert found(index) == ["a", "b"]
    assert index.tenants() == ("acme",)
    index.forget("acme", ["a"])
    assert found(index) == ["b"]
    # To drop it is one request for many blobs, which Azurite does not do for a token.


def test_a_container_that_is_not_there_holds_nothing_and_is_made_by_who_writes(
    azurite: Azurite, azure_address: str
) -> None:
    place = azurite.place(azure_address)
    index = LanceMemoryIndex(place, Axes())
    assert found(index) == []
    assert index.tenants() == ()
    assert index.size("acme").bytes_used == 0
    assert not azurite.container(azure_address).exists(), "asking makes none"
    index.upsert("acme", [a_row()])
    assert found(index) == ["m-1"]

    azurite.container(azure_address).delete_container()
    with pytest.raises(MemoryUnavailableError, match="container"):
        index.upsert("acme", [a_row()])
    assert index.replace("acme", [a_row("a"), a_row("b")]) == 2, "as a rebuild does"
    assert found(index) == ["a", "b"]


def test_one_that_may_not_be_made_is_told_of(azurite: Azurite, azure_address: str) -> None:
    place = azurite.place(azure_address, memory_sas_token=azurite.token())
    for ask in (
        lambda: check_place(place),
        lambda: WAYS["upsert"](LanceMemoryIndex(place, Axes()), place),
    ):
        with pytest.raises(MemoryUnavailableError, match="may not make one") as caught:
            ask()
        assert "az storage container create" in caught.value.explain()


def test_what_it_takes_is_counted_and_a_dropped_tenant_takes_nothing(
    azurite: Azurite, azure_address: str
) -> None:
    place = azurite.place(azure_address)
    index = LanceMemoryIndex(place, Axes())
    index.upsert("acme", [a_row()])
    with azurite.container(azure_address) as container:
        sizes = [blob.size for blob in container.list_blobs()]
        taken = index.size("acme")
        assert (taken.files, taken.bytes_used) == (len(sizes), sum(sizes))
        index.drop("acme")
        assert list(container.list_blobs()) == []
    assert index.size("acme").files == 0


def test_health_looks_at_the_container_without_lancedb(
    azurite: Azurite, azure_address: str, tmp_path: Path
) -> None:
    def finding(**others: str) -> tuple[Health, str | None]:
        settings = azurite.settings(azure_address, home=tmp_path, **others)
        found = open_runtime(settings).health.looks["knowledgeSystem"].begin().result(30)
        return found.health, found.about

    assert finding()[0] is Health.HEALTHY
    health, about = finding(memory_account_key=base64.b64encode(b"another").decode())
    assert health is Health.UNHEALTHY
    assert "refuses us" in str(about)


def test_settings_that_do_not_go_together_are_what_health_tells(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, memory_url="az://factory/memory")
    told = open_runtime(settings).health.looks["knowledgeSystem"].begin().result(30)
    assert told.health is Health.UNHEALTHY
    assert "whose storage" in str(told.about)
