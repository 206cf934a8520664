"""Who may send webhooks to a tenant: add a source, give it another secret, disable it."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.ids import is_slug, new_id
from factory_runtime.domain.webhook import SourceKind, SourceSecret, WebhookSource
from factory_runtime.ports import Clock, RunStore
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.secret_box import SecretBox
from factory_runtime.services.webhook_verify import PART
from factory_runtime.wire.webhook import SourceOptions

_SHORTEST = 16
_MOST_SECRETS = 5
_STANDARD = re.compile(r"whsec_[A-Za-z0-9+/]{32,88}={0,2}")

_SIGNATURE = frozenset({"header", "prefix", "encoding"})
_OPTIONS: Mapping[SourceKind, frozenset[str]] = {
    SourceKind.GITHUB: frozenset(),
    SourceKind.STANDARD: frozenset(),
    SourceKind.AZURE_DEVOPS: frozenset({"header", "user", "base_url", "token"}),
    SourceKind.CLOUDEVENTS: _SIGNATURE | {"auth"},
    SourceKind.HMAC: _SIGNATURE
    | {"signed", "id_header", "timestamp_header", "type_header", "tolerance_seconds"},
}


@dataclass(frozen=True)
class WebhookSources:
    """The sources of all tenants.

    Attributes:
        open_box: what seals their secrets; opened where one is read or written.
    """

    store: RunStore
    clock: Clock
    open_box: Callable[[], SecretBox]

    def add(
        self,
        tenant_id: str,
        by: str,
        name: str,
        kind: SourceKind,
        project_id: str,
        options: SourceOptions,
        secret: str | None = None,
    ) -> tuple[WebhookSource, str]:
        """A new source, and its secret, which nobody can read again.

        Raises:
            InputError: the name, the secret or an option cannot be one.
            WebhookTakenError: the tenant has one of this name.
            SettingsError: there is nothing to seal secrets with.
        """
        if not is_slug(name):
            raise InputError(f"{name!r} is no slug", hint="lower case, digits, - _ or .")
        kept = self._kept_options(kind, options)
        now, given = self.clock.now(), _secret_of(kind, secret)
        source = WebhookSource(
            tenant_id=tenant_id,
            id=new_id("hook"),
            name=name,
            kind=kind,
            project_id=project_id,
            secrets=(self._seal(given, now),),
            created_at=now,
            created_by=by,
            options=kept,
        )
        with self.store.begin(tenant_id) as tx:
            tx.add_webhook_source(source)
            facts = {"name": name, "kind": kind.value, "project": project_id}
            leave_audit(tx, by, "webhook.add", source.id, facts, now)
        return source, given

    def list(self, tenant_id: str) -> tuple[WebhookSource, ...]:
        """By name; disabled ones too."""
        with self.store.begin(tenant_id, read_only=True) as tx:
            return tx.list_webhook_sources()

    def rotate(
        self, tenant_id: str, by: str, named: str, overlap: timedelta, secret: str | None = None
    ) -> tuple[WebhookSource, str]:
        """The source with another secret; those before it count for the overlap, and no longer.

        Raises:
            WebhookNotFoundError: no such source.
            InputError: the secret cannot be one, it is disabled, or too many secrets overlap.
        """
        now = self.clock.now()
        with self.store.begin(tenant_id) as tx:
            source = tx.get_webhook_source(named)
            if source.disabled_at is not None:
                raise InputError(f"{source.name} is disabled", hint="add another source")
            given = _secret_of(source.kind, secret)
            living = [one for one in source.secrets if one.lives(now)]
            if len(living) >= _MOST_SECRETS:
                raise InputError(f"{len(living)} secrets of {source.name} overlap already")
            old = tuple(_until(one, now + overlap) for one in living)
            fresh = (self._seal(given, now), *old)
            rotated = replace(source, secrets=fresh, version=source.version + 1)
            tx.save_webhook_source(source, rotated)
            detail = {"overlap_seconds": overlap.total_seconds()}
            leave_audit(tx, by, "webhook.rotate", source.id, detail, now)
        return rotated, given

    def disable(self, tenant_id: str, by: str, named: str) -> WebhookSource:
        """Take nothing of the source any more, for good; once more is no error.

        Raises:
            WebhookNotFoundError: no such source.
        """
        now = self.clock.now()
        with self.store.begin(tenant_id) as tx:
            source = tx.get_webhook_source(named)
            if source.disabled_at is not None:
                return source
            # A disabled source keeps no secret that somebody could open with a stolen key.
            disabled = replace(source, secrets=(), disabled_at=now, version=source.version + 1)
            tx.save_webhook_source(source, disabled)
            leave_audit(tx, by, "webhook.disable", source.id, {"name": source.name}, now)
        return disabled

    def _seal(self, secret: str, now: datetime) -> SourceSecret:
        return SourceSecret(self.open_box().seal(secret), now)

    def _kept_options(self, kind: SourceKind, options: SourceOptions) -> dict[str, Any]:
        kept = options.model_dump(exclude_none=True)
        if unfit := kept.keys() - _OPTIONS[kind]:
            raise InputError(f"a source of the kind {kind} takes no {', '.join(sorted(unfit))}")
        if kind is SourceKind.AZURE_DEVOPS:
            _check_base_url(options.base_url)
        if kind is SourceKind.CLOUDEVENTS:
            kept.setdefault("auth", "bearer")
        _check_signed(options)
        if options.token is not None:
            kept["token"] = self.open_box().seal(options.token)
        return kept


def _secret_of(kind: SourceKind, given: str | None) -> str:
    if given is None:
        made = base64.b64encode(secrets.token_bytes(32)).decode()
        return f"whsec_{made}" if kind is SourceKind.STANDARD else secrets.token_urlsafe(32)
    if kind is SourceKind.STANDARD and not _STANDARD.fullmatch(given):
        raise InputError("the secret is none of Standard Webhooks", hint="whsec_ and base64")
    if len(given) < _SHORTEST or not given.isascii():
        raise InputError(f"a secret has {_SHORTEST} characters of ASCII at least")
    return given


def _until(secret: SourceSecret, end: datetime) -> SourceSecret:
    return replace(secret, until=end if secret.until is None else min(secret.until, end))


def _check_base_url(url: str | None) -> None:
    parts = urlsplit(url or "")
    bare = not parts.query and not parts.fragment and "@" not in parts.netloc
    if parts.scheme not in ("https", "http") or not parts.hostname or not bare:
        raise InputError(
            "azure-devops needs the base_url of its organisation",
            hint="like https://dev.azure.com/my-organisation",
        )


def _check_signed(options: SourceOptions) -> None:
    shape = options.signed
    if shape is None:
        if options.timestamp_header is not None:
            raise InputError(
                "a timestamp that is not signed says nothing",
                hint="say what is signed, like {timestamp}.{body}",
            )
        return
    named = [part.decode() for part in PART.findall(shape.encode())]
    given = {"body", *(("timestamp",) if options.timestamp_header else ())}
    given |= {"id"} if options.id_header else set()
    if named.count("body") != 1 or not set(named) <= given:
        raise InputError(
            f"{shape!r} is not what a source can sign",
            hint="{body} once; {timestamp} and {id} where their headers are named",
        )
