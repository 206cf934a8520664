"""`factory webhooks` and `factory callbacks`: who sends events, and who is told of ends."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from factory_runtime.services.webhook_verify import Sent
from tests.cli_home import Factory


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_SECRET_KEYS", f'["{Fernet.generate_key().decode()}"]')


def test_a_source_is_added_rotated_and_disabled(factory: Factory):
    made = factory("webhooks", "add", "shop-github", "--kind", "github", "--project", "shop")
    secret = made.out.strip()
    assert (made.code, len(secret)) == (0, 43)
    assert "shown this once" in made.err
    assert secret not in made.err
    (source,) = factory("webhooks", "list", "--json").json["sources"]
    assert (source["name"], source["kind"], source["project_id"]) == (
        "shop-github",
        "github",
        "shop",
    )
    other = factory("webhooks", "rotate", "shop-github", "--overlap", "2h").out.strip()
    assert other != secret
    listed = factory("webhooks", "list")
    assert "github" in listed.out
    for said in (listed.out, factory("webhooks", "list", "--json").out):
        assert secret not in said
        assert other not in said
    assert "disabled" in factory("webhooks", "disable", source["id"]).out
    assert factory("webhooks", "rotate", "shop-github").code == 2
    assert "no sources" in factory("webhooks", "list", "--tenant", "acme").out


def test_deliveries_are_shown_and_decided_again(factory: Factory):
    secret = factory("webhooks", "add", "gh", "--kind", "github").out.strip()
    (source,) = factory("webhooks", "list", "--json").json["sources"]
    body = b'{"ref": "refs/heads/main"}'
    headers = (
        ("content-type", "application/json"),
        ("x-github-delivery", "d-1"),
        ("x-github-event", "push"),
        ("x-hub-signature-256", f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"),
    )
    delivery = factory.runtime.webhook_desk.receive(
        source["id"], Sent(headers, body), lambda _source, _key: None
    )
    shown = factory("webhooks", "deliveries", "--source", "gh", "--status", "unmatched")
    assert (delivery.id in shown.out, "push" in shown.out) == (True, True)
    (again,) = factory("webhooks", "deliveries", "--again", delivery.id, "--json").json[
        "deliveries"
    ]
    assert (again["delivery_id"], again["status"]) == ("d-1", "unmatched")
    assert factory("webhooks", "deliveries", "--cursor", "dlv-9").code == 2
    assert factory("webhooks", "deliveries", "--status", "lost").code == 2
    assert factory("webhooks", "deliveries", "--source", "none").code == 3
    assert hashlib.sha256(body).hexdigest() == delivery.body_digest


def test_a_secret_of_one_s_own_comes_from_a_file(factory: Factory, tmp_path: Path):
    file = tmp_path / "secret"
    file.write_text("a secret that is long enough\n")
    words = ("webhooks", "add", "theirs", "--kind", "hmac", "--secret-file", str(file))
    assert factory(*words, "--option", "header=X-Sign").out.strip() == file.read_text().strip()
    file.write_text("a-token")
    base = "base_url=https://dev.azure.com/fabrikam"
    azure = ("webhooks", "add", "ado", "--kind", "azure-devops", "--option", base)
    assert "a-token" not in factory(*azure, "--token-file", str(file), "--json").out
    for wrong in (
        ("--kind", "gitlab"),
        ("--kind", "hmac", "--option", "colour=red"),
        ("--kind", "azure-devops"),
    ):
        assert factory("webhooks", "add", "x", *wrong).code == 2, wrong
    assert factory("webhooks", "add", "theirs", "--kind", "github").code == 4


def test_the_local_host_tells_of_nothing(factory: Factory):
    base = "base_url=https://dev.azure.com/fabrikam"
    factory("webhooks", "add", "ado", "--kind", "azure-devops", "--option", base)
    words = ("webhooks", "subscribe", "ado", "--event", "build.complete", "--url")
    said = factory(*words, "https://factory.example.com")
    assert (said.code, said.out) == (2, "")
    assert "repositories alone" in said.err
    assert factory(*words, "http://factory.example.com").code == 2
    assert factory("webhooks", "subscribe", "none", *words[3:], "https://f.example").code == 3


def test_callbacks_are_added_listed_and_removed(factory: Factory):
    url = "https://hooks.example.com/factory"
    made = factory("callbacks", "add", url, "--project", "shop", "--status", "Failed")
    assert made.out.startswith("whsec_")
    (callback,) = factory("callbacks", "list", "--json").json["callbacks"]
    assert (callback["url"], callback["statuses"]) == (url, ["Failed"])
    assert "secret" not in callback
    assert "Failed" in factory("callbacks", "list").out
    assert factory("callbacks", "remove", callback["id"]).code == 0
    assert "removed by" in factory("callbacks", "list").out
    assert factory("callbacks", "remove", "call-9").code == 3
    assert factory("callbacks", "add", url, "--status", "Running").code == 2
    assert factory("callbacks", "add", "http://hooks.example.com/").code == 2
    assert "no callbacks" in factory("callbacks", "list", "--tenant", "acme").out
