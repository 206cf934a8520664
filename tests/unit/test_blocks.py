"""The blocks' own rules: what is a secret is one, and none stands in the open."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.blocks.core import Block
from prefect_azure import AzureBlobStorageCredentials
from pydantic import SecretStr, ValidationError

from blocks import (
    ArtifactStorageCredentials,
    GitHostCredentials,
    HttpCredentials,
    ModelEndpoint,
    NotificationTarget,
)

CANARY = "s3cr3tCanary7391"


def a_git_host(**values: Any) -> GitHostCredentials:
    given = {"kind": "azure-devops", "url": "https://dev.azure.com/acme", "token": CANARY}
    return GitHostCredentials.model_validate(given | values)


def an_endpoint(**values: Any) -> ModelEndpoint:
    given = {"url": "https://models.example.com/v1", "model": "small", "key": CANARY}
    return ModelEndpoint.model_validate(given | values)


def a_service(**values: Any) -> HttpCredentials:
    given = {"secret": CANARY, "hosts": ["api.example.com", "*.example.com:8443"]}
    return HttpCredentials.model_validate(given | values)


def a_storage(**values: Any) -> ArtifactStorageCredentials:
    key = f"DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={CANARY}"
    credentials = AzureBlobStorageCredentials(connection_string=SecretStr(key))
    given = {"credentials": credentials, "prefix": "bodies"}
    return ArtifactStorageCredentials.model_validate(given | values)


@pytest.mark.parametrize(
    "block",
    [
        a_git_host(),
        an_endpoint(),
        a_service(),
        a_storage(),
        NotificationTarget.model_validate({"url": f"slack://{CANARY}/b/c"}),
    ],
    ids=lambda block: type(block).__name__,
)
def test_a_block_shows_its_secret_to_nobody_who_prints_or_dumps_it(block: Block):
    assert CANARY not in f"{block} {block!r} {block.model_dump()} {block.model_dump_json()}"


@pytest.mark.parametrize("make", [a_git_host, an_endpoint])
@pytest.mark.parametrize("user", [f"ada:{CANARY}", CANARY])
def test_a_secret_in_an_address_that_stands_in_the_open_is_refused(make: Any, user: str):
    with pytest.raises(ValidationError, match="stand in the open") as refused:
        make(url=f"https://{user}@example.com/")
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize("url", ["", "ops", "://host", "slack://", "json:// "])
def test_what_is_no_address_is_no_notification_target(url: str):
    with pytest.raises(ValidationError, match="has to be an address"):
        NotificationTarget.model_validate({"url": url})


@pytest.mark.parametrize("prefix", ["", "a" * 21, "../x", "a/b", "Upper", "a--b", "-ab", "ab-"])
def test_containers_are_called_as_azure_allows(prefix: str):
    with pytest.raises(ValidationError, match="prefix"):
        a_storage(prefix=prefix)


@pytest.mark.parametrize(
    "values", [{"kind": "subversion"}, {"url": "file:///etc"}, {"token": None}]
)
def test_a_git_host_is_one_that_we_know_by_http_with_a_token(values: dict[str, Any]):
    with pytest.raises(ValidationError):
        a_git_host(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"hosts": ["*"]},
        {"hosts": ["https://api.example.com"]},
        {"hosts": ["api.example.com\n"]},
        {"hosts": None},
        {"secret": f"{CANARY}\r\nX-Admin: 1"},
        {"secret": f" {CANARY}"},
        {"header": "X-Key: 1\r\nX-Admin"},
        {"header": ""},
    ],
)
def test_a_service_is_named_by_its_hosts_and_its_secret_fits_a_header(values: dict[str, Any]):
    with pytest.raises(ValidationError) as refused:
        a_service(**values)
    assert CANARY not in str(refused.value)
