"""Have a tenant's git host tell a source of webhooks: a service hook there, made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.loopback import is_loopback
from factory_runtime.domain.webhook import SourceKind, SourceSecret, Subscription, WebhookSource
from factory_runtime.ports import Clock, Delivery, GitHost, HookOrder, RunStore
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.secret_box import SecretBox
from factory_runtime.wire.paths import API_PREFIX
from factory_runtime.wire.webhook import NewSubscription

_USER = "factory"
"""Of basic authentication, where the source takes any."""


@dataclass(frozen=True)
class WebhookSubscriber:
    """Subscribes the sources of all tenants.

    Attributes:
        open_box: what their secrets are sealed in.
        public_url: of the API, where who asks says none.
    """

    store: RunStore
    host: GitHost
    clock: Clock
    open_box: Callable[[], SecretBox]
    public_url: str | None = None

    def subscribe(
        self, tenant_id: str, by: str, named: str, wanted: NewSubscription
    ) -> Subscription:
        """Find or make it. What is asked and what came of it stand in the audit log.

        Of one source, secret, address, project, event and repository there is one: a source that
        has another secret by now is subscribed anew.

        Raises:
            WebhookNotFoundError: no such source.
            InputError: the source or the address cannot be told, or the host has no such thing.
            HostBusyError, HostRejectedError: as the host says.
        """
        address = _address(wanted.url or self.public_url)
        with self.store.begin(tenant_id, read_only=True) as tx:
            source = tx.get_webhook_source(named)
        secret = _newest(source)
        project_id = wanted.project_id or source.project_id
        url = f"{address}{API_PREFIX}/webhooks/{source.id}"
        delivery = self._delivery_of(tenant_id)
        parts = (source.id, project_id, wanted.event, wanted.repository or "", url)
        order = HookOrder(
            project_id=project_id,
            event=wanted.event,
            url=url,
            effect_key=":".join((*parts, secret.since.isoformat())),
            repository=wanted.repository,
        )
        order = _showing(order, source, self.open_box().unseal(secret.sealed))
        facts = {"project": project_id, "event": wanted.event, "url": url}
        # Before it is made: who is killed in between has left what was about to be.
        self._note(tenant_id, by, "webhook.subscribe", source.id, facts)
        made = delivery.ensure_hook(tenant_id, order)
        self._note(tenant_id, by, "webhook.subscribed", source.id, {**facts, "hook": made})
        return Subscription(made, source.id, project_id, wanted.event, wanted.repository, url)

    def _delivery_of(self, tenant_id: str) -> Delivery:
        delivery = self.host.delivery_of(tenant_id)
        if delivery is None:
            raise InputError(
                "the tenant's git host has repositories alone: it tells nobody of events",
                hint="docs/azure-devops.md says how a tenant gets another host",
            )
        return delivery

    def _note(
        self, tenant_id: str, by: str, action: str, source_id: str, facts: dict[str, str]
    ) -> None:
        with self.store.begin(tenant_id) as tx:
            leave_audit(tx, by, action, source_id, facts, self.clock.now())


def _newest(source: WebhookSource) -> SourceSecret:
    if source.kind is not SourceKind.AZURE_DEVOPS:
        raise InputError(
            f"{source.name} is of the kind {source.kind}", hint="subscribe one of azure-devops"
        )
    if source.disabled_at is not None:
        raise InputError(f"{source.name} is disabled", hint="add another source")
    return source.secrets[0]


def _showing(order: HookOrder, source: WebhookSource, secret: str) -> HookOrder:
    """The order, with the secret shown as ``webhook_verify`` looks for it."""
    if header := source.options.get("header"):
        return replace(order, headers={header: secret})
    return replace(order, login=(source.options.get("user") or _USER, secret))


def _address(url: str | None) -> str:
    """Of the API; the secret goes there with each event."""
    if url is None:
        raise InputError(
            "nobody says where the host reaches the API", hint="say its url, or FACTORY_PUBLIC_URL"
        )
    parts = urlsplit(url)
    bare = not parts.query and not parts.fragment and "@" not in parts.netloc and parts.hostname
    safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    if not bare or not safe:
        raise InputError(
            f"{url[:80]!r} is no address of the API that a secret may be sent to",
            hint="like https://factory.example.com",
        )
    return url.rstrip("/").removesuffix(API_PREFIX)
