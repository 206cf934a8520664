"""Take what a webhook brings: verify it, record it, and begin the runs that it asks for, each once.

A delivery is recorded before anything is begun, with a message in the outbox. Who decides what it
begins holds its lock; whoever is killed at it is followed by the sender's next try, or the outbox.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property

from factory_runtime.domain.errors import (
    DeliveryNotFoundError,
    FactoryError,
    ReplayedDeliveryError,
    SettingsError,
    TransientError,
    UnreadableEventError,
    UnsupportedEventError,
)
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.domain.webhook import (
    DeliveryStatus,
    SourceKind,
    WebhookDelivery,
    WebhookSource,
)
from factory_runtime.ports import Clock, RunStore, RunTransaction
from factory_runtime.services.audit import leave_audit
from factory_runtime.services.bodies import to_body
from factory_runtime.services.drain_outbox import GivenUpError
from factory_runtime.services.locks import take_lock
from factory_runtime.services.outbox import leave
from factory_runtime.services.topics import DELIVERY
from factory_runtime.services.webhook_event import SentEvent, read_event
from factory_runtime.services.webhook_runs import RunBeginner
from factory_runtime.services.webhook_sources import WebhookSources
from factory_runtime.services.webhook_verify import Sent, refusal, verify
from factory_runtime.telemetry import worker_is_gone
from factory_runtime.wire.webhook import SourceOptions

_HOLD = timedelta(minutes=2)
"""How long one process keeps a delivery to itself; that of a killed one is free at once here."""
_GRACE = timedelta(seconds=30)
"""How long the outbox leaves a delivery to the request that brought it."""
_PATIENCE_SECONDS = 5.0
_LOOK_SECONDS = 0.02
_GIVE_UP_AFTER = timedelta(days=1)

Admit = Callable[[WebhookSource, str], None]
"""Lets a delivery of a source in, or raises; the text tells it from the others of the source."""

_LOG = logging.getLogger("factory.webhooks")


@dataclass(frozen=True)
class WebhookDesk:
    """Takes deliveries, decides what they begin, and looks at old ones again.

    Attributes:
        holder: who decides, for people and for locks: a worker's name.
    """

    sources: WebhookSources
    beginner: RunBeginner
    holder: str

    def receive(self, source_id: str, sent: Sent, admit: Admit) -> WebhookDelivery:
        """What the request brought, recorded, and decided where that takes no asking outside.

        The same delivery again, also at the same moment, gives the one that stands.

        Args:
            source_id: from the address that it came to.
            sent: the request.
            admit: asked of what is verified, before anything is kept of it; also of what is no event.

        Raises:
            FactoryError: whatever ``admit`` refuses it with.
            UnauthenticatedError: unknown source, disabled, wrong signature, late: nobody can tell.
            UnsupportedEventError, UnreadableEventError: it is verified, and no event.
            ReplayedDeliveryError: its id was used for another body.
            TransientError: it could not be recorded.
        """
        source = self._store.find_webhook_source(source_id)
        kind, options, living = self._check_by(source)
        covered = verify(kind, options, living, sent, self._clock.now())
        if source is None:
            raise refusal()  # nobody knows the secret that it was compared with
        try:
            event = read_event(kind, options, sent)
        except (UnsupportedEventError, UnreadableEventError):
            admit(source, _replay_key(covered, "", sent))
            raise
        key = _replay_key(covered, event.id, sent)
        admit(source, key)
        holder = new_id(self.holder)
        delivery = self._delivery_of(source, event, key, sent)
        at_once = kind is not SourceKind.AZURE_DEVOPS
        stands = self._record(delivery, holder if at_once else None)
        if stands is not None and stands.body_digest != delivery.body_digest:
            raise ReplayedDeliveryError(
                f"delivery {delivery.delivery_id} came before with another body",
                hint="a new event has a new id",
            )
        if not at_once:
            return stands or delivery
        if stands is None:
            return self._decide_or_leave(source, delivery, holder, fresh=True)
        return self._wait_for(source, stands.id, holder)

    def finish(self, message: OutboxMessage) -> None:
        """Decide a delivery that nobody has decided yet: the handler of ``DELIVERY``.

        Raises:
            TransientError: not now.
            GivenUpError: it cannot be found out; the delivery says why.
        """
        holder = new_id(self.holder)
        with self._store.begin(message.tenant_id) as tx:
            try:
                delivery = tx.get_delivery(str(message.payload["delivery_id"]))
            except DeliveryNotFoundError:
                return  # decided, and older than they are kept
            if delivery.status is not DeliveryStatus.RECEIVED:
                return
            if not self._lock(tx, delivery, holder):
                raise TransientError("another process is at it")
            source = tx.get_webhook_source(delivery.source_id)
        try:
            if source.kind is SourceKind.AZURE_DEVOPS:
                delivery = self.beginner.with_resource(source, delivery)
            self._decide(source, delivery, holder, fresh=False)
        except FactoryError as error:
            late = self._clock.now() - delivery.asked_at > _GIVE_UP_AFTER
            if isinstance(error, TransientError) and not late:
                raise
            failed = replace(delivery, status=DeliveryStatus.FAILED, error=str(error))
            self._save(failed, holder)
            raise GivenUpError(str(error)) from error
        finally:
            self._unlock(delivery, holder)

    def again(self, tenant_id: str, by: str, delivery_id: str) -> WebhookDelivery:
        """Have a delivery decided once more, by the templates as they are now.

        A run that it has begun stays the one of its template.

        Raises:
            DeliveryNotFoundError: there is none, or none any more.
            TransientError: somebody is at it.
        """
        now, holder = self._clock.now(), new_id(self.holder)
        with self._store.begin(tenant_id) as tx:
            before = tx.get_delivery(delivery_id)
            if not self._lock(tx, before, holder):
                raise TransientError(
                    "the delivery is being decided", retry_after=timedelta(seconds=1)
                )
            source = tx.get_webhook_source(before.source_id)
            delivery = replace(
                before, status=DeliveryStatus.RECEIVED, asked_at=now, begun=(), error=None
            )
            tx.save_delivery(delivery)
            after = timedelta(0) if source.kind is SourceKind.AZURE_DEVOPS else _GRACE
            _leave_delivery(tx, delivery, after)
            leave_audit(tx, by, "webhook.again", delivery.id, {"source": source.name}, now)
            if source.kind is SourceKind.AZURE_DEVOPS:
                tx.unlock(_lock_of(delivery), holder)
                return delivery
        return self._decide_or_leave(source, delivery, holder, fresh=False)

    @property
    def _store(self) -> RunStore:
        return self.sources.store

    @property
    def _clock(self) -> Clock:
        return self.sources.clock

    # verifying

    def _check_by(
        self, source: WebhookSource | None
    ) -> tuple[SourceKind, SourceOptions, tuple[str, ...]]:
        """How to verify, and by which secrets; of no source by one that nobody knows."""
        sealed = () if source is None else source.living_secrets(self._clock.now())
        if source is None or not sealed:
            return SourceKind.HMAC, SourceOptions(), (self._unseal_nobody(),)
        options = {key: value for key, value in source.options.items() if key != "token"}
        opened = tuple(map(self.sources.open_box().unseal, sealed))
        return source.kind, SourceOptions(**options), opened

    def _unseal_nobody(self) -> str:
        """The work that a known source takes, so that an unknown one does not answer sooner."""
        return self._nobody[1] or self.sources.open_box().unseal(self._nobody[0])

    @cached_property
    def _nobody(self) -> tuple[str, str]:
        secret = secrets.token_hex(32)
        try:
            return self.sources.open_box().seal(secret), ""
        except SettingsError:  # no source can be added here either
            return "", secret

    # recording

    def _delivery_of(
        self, source: WebhookSource, event: SentEvent, key: str, sent: Sent
    ) -> WebhookDelivery:
        now, digest = self._clock.now(), hashlib.sha256(sent.body).hexdigest()
        kept = {"id": event.id, "type": event.type, "body": event.body}
        return WebhookDelivery(
            tenant_id=source.tenant_id,
            id=new_id("dlv"),
            source_id=source.id,
            delivery_id=event.id or key,
            replay_key=key,
            body_digest=digest,
            type=event.type,
            received_at=now,
            asked_at=now,
            event=to_body(self.beginner.storage, source.tenant_id, kept),
        )

    def _record(self, delivery: WebhookDelivery, holder: str | None) -> WebhookDelivery | None:
        """What stands where it came before; else None, and it is recorded and held."""
        with self._store.begin(delivery.tenant_id) as tx:
            stands = tx.add_delivery(delivery)
            if stands is None:
                _leave_delivery(tx, delivery, timedelta(0) if holder is None else _GRACE)
                if holder is not None:
                    self._lock(tx, delivery, holder)
            return stands

    # deciding

    def _wait_for(self, source: WebhookSource, delivery_id: str, holder: str) -> WebhookDelivery:
        """The delivery once somebody else has decided it; or decide it, where nobody is at it."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            with self._store.begin(source.tenant_id, read_only=True) as tx:
                delivery = tx.get_delivery(delivery_id)
                other = tx.find_lock_holder(_lock_of(delivery), self._clock.now())
            if delivery.status is not DeliveryStatus.RECEIVED:
                return delivery
            if (other is None or worker_is_gone(other)) and self._take(delivery, holder):
                return self._decide_or_leave(source, delivery, holder, fresh=False)
            if time.monotonic() >= until:
                return delivery
            time.sleep(_LOOK_SECONDS)

    def _take(self, delivery: WebhookDelivery, holder: str) -> bool:
        """Hold a delivery, if it is still to be decided and nobody else does."""
        with self._store.begin(delivery.tenant_id) as tx:
            now = tx.get_delivery(delivery.id)
            return now.status is DeliveryStatus.RECEIVED and self._lock(tx, delivery, holder)

    def _decide_or_leave(
        self, source: WebhookSource, delivery: WebhookDelivery, holder: str, *, fresh: bool
    ) -> WebhookDelivery:
        """The delivery as decided; as it stands where that cannot be done now: the outbox will."""
        try:
            return self._decide(source, delivery, holder, fresh=fresh)
        except FactoryError as error:
            _LOG.warning("delivery %s is decided later: %s", delivery.id, error)
        except Exception:
            _LOG.exception("delivery %s is decided later", delivery.id)
        self._unlock(delivery, holder)
        return delivery

    def _decide(
        self, source: WebhookSource, delivery: WebhookDelivery, holder: str, *, fresh: bool
    ) -> WebhookDelivery:
        begun = self.beginner.begin(source, delivery, fresh=fresh)
        status = DeliveryStatus.MATCHED if begun else DeliveryStatus.UNMATCHED
        decided = replace(delivery, status=status, begun=begun)
        self._save(decided, holder)
        return decided

    def _save(self, delivery: WebhookDelivery, holder: str) -> None:
        with self._store.begin(delivery.tenant_id, durable=False) as tx:  # or the outbox does it
            tx.save_delivery(delivery)
            tx.unlock(_lock_of(delivery), holder)

    def _unlock(self, delivery: WebhookDelivery, holder: str) -> None:
        with self._store.begin(delivery.tenant_id, durable=False) as tx:
            tx.unlock(_lock_of(delivery), holder)

    def _lock(self, tx: RunTransaction, delivery: WebhookDelivery, holder: str) -> bool:
        now = self._clock.now()
        return take_lock(tx, _lock_of(delivery), holder, now, now + _HOLD)


def source_of(message: OutboxMessage) -> str:
    """Deliveries of one source wait for each other, and for no other's."""
    return str(message.payload["source_id"])


def _replay_key(covered: bytes | None, event_id: str, sent: Sent) -> str:
    if covered is None:
        covered = event_id.encode() or sent.body
    return hashlib.sha256(covered).hexdigest()


def _leave_delivery(tx: RunTransaction, delivery: WebhookDelivery, after: timedelta) -> None:
    payload = {"delivery_id": delivery.id, "source_id": delivery.source_id}
    key = f"{delivery.id}:{delivery.asked_at.isoformat()}"
    leave(tx, DELIVERY, key, payload, delivery.asked_at, after=after)


def _lock_of(delivery: WebhookDelivery) -> str:
    return f"delivery:{delivery.id}"
