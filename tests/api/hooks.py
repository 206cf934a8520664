"""Senders of webhooks, each as its kind signs; and a factory that templates answer them in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from standardwebhooks import Webhook

from factory_runtime.domain.run import Run
from factory_runtime.ports import RunFilter
from tests.api.site import TEMPLATE, ApiSite, somebody

HOOKS = "/api/v1/webhooks"

TRIGGER = """
triggers:
  webhook:
    source: {source}
    when: "{when}"
    map: {{service_name: "{text}"}}
"""


def payload(name: str) -> bytes:
    """The body of a captured delivery."""
    return (Path(__file__).parent / "payloads" / f"{name}.json").read_bytes()


def answering(
    site: ApiSite, name: str, source: str, when: str = "${{ true }}", text: str = "hello-world"
) -> None:
    """Have a template begin runs by events."""
    trigger = TRIGGER.format(source=source, when=when, text=text)
    site.template(name, TEMPLATE + trigger.replace("{", "{{").replace("}", "}}"))


@dataclass
class Sender:
    """Somebody who sends to one source.

    Attributes:
        late: seconds that its clock is behind.
    """

    client: TestClient
    kind: str
    source_id: str
    secret: str
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    late: float = 0

    @property
    def path(self) -> str:
        return f"{HOOKS}/{self.source_id}"

    def headers(self, body: bytes, delivery: str = "72d3162e-cc78-11e3-81ab-4c9367dc0958") -> Any:
        """What a good delivery of this body says beside it."""
        json_type = {"Content-Type": "application/json"}
        at = datetime.now(UTC).timestamp() - self.late
        match self.kind:
            case "github":
                event = "repository" if b'"action"' in body else "push"
                return {
                    **json_type,
                    "X-GitHub-Delivery": delivery,
                    "X-GitHub-Event": event,
                    "X-Hub-Signature-256": f"sha256={self.mac(body)}",
                }
            case "standard":
                moment = datetime.fromtimestamp(at, UTC)
                signature = Webhook(self.secret).sign(delivery, moment, body.decode())
                stamp = str(int(at))
                return {
                    **json_type,
                    "webhook-id": delivery,
                    "webhook-timestamp": stamp,
                    "webhook-signature": signature,
                }
            case "azure-devops":
                pair = base64.b64encode(f"hook:{self.secret}".encode()).decode()
                return {**json_type, "Authorization": f"Basic {pair}"}
            case "cloudevents":
                return {
                    "Content-Type": "application/cloudevents+json; charset=utf-8",
                    "Authorization": f"Bearer {self.secret}",
                }
            case _:
                stamp = str(int(at))
                signed = f"{delivery}.{stamp}.".encode() + body
                return {
                    **json_type,
                    "X-Id": delivery,
                    "X-Time": stamp,
                    "X-Sign": f"v1={self.mac(signed)}",
                }

    def mac(self, covered: bytes) -> str:
        return hmac.new(self.secret.encode(), covered, hashlib.sha256).hexdigest()

    def send(self, body: bytes, headers: Any = None, **more: Any) -> Any:
        """Send it, signed well unless headers are given."""
        given = self.headers(body) if headers is None else headers
        return self.client.post(self.path, content=body, headers={**given, **more})


OPTIONS: dict[str, dict[str, Any]] = {
    "hmac": {
        "header": "X-Sign",
        "prefix": "v1=",
        "idHeader": "X-Id",
        "timestampHeader": "X-Time",
        "signed": "{id}.{timestamp}.{body}",
    },
    "azure-devops": {"baseUrl": "https://dev.azure.com/fabrikam"},
}


def a_sender(
    site: ApiSite, kind: str, name: str = "", tenant: str = "acme", **options: Any
) -> Sender:
    """A sender whose source an admin has just added."""
    admin = site.client(somebody(tenant))
    given = {**OPTIONS.get(kind, {}), **options}
    asked = {"name": name or f"our-{kind}", "kind": kind, "projectId": "shop", "options": given}
    answer = admin.post(HOOKS, json=asked)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    return Sender(site.client(), kind, made["sourceId"], made["secret"], given)


def runs_of(site: ApiSite, tenant: str = "acme") -> tuple[Run, ...]:
    """All of a tenant's, the newest first."""
    with site.store.begin(tenant, read_only=True) as tx:
        return tx.list_runs(RunFilter()).items


def changed(body: bytes, **members: Any) -> bytes:
    """The same object with other members."""
    return json.dumps({**json.loads(body), **members}).encode()
