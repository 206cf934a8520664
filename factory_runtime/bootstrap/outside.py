"""Those outside: webhooks that come, and callbacks and notices that go."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from factory_runtime.bootstrap.opened_once import opened_once
from factory_runtime.bootstrap.runs import RunParts
from factory_runtime.telemetry import worker_name

if TYPE_CHECKING:
    from factory_runtime.services.callbacks import Callbacks
    from factory_runtime.services.drain_outbox import Drained
    from factory_runtime.services.lanes import Lanes
    from factory_runtime.services.send_notices import NoticeSender
    from factory_runtime.services.webhook_sources import WebhookSources
    from factory_runtime.services.webhook_subscriptions import WebhookSubscriber
    from factory_runtime.services.webhooks import WebhookDesk


class OutsideParts(RunParts):
    """What hears from others, and tells them."""

    @opened_once
    def webhook_sources(self) -> WebhookSources:
        from factory_runtime.services.webhook_sources import WebhookSources

        return WebhookSources(self.store, self.clock, lambda: self.secret_box)

    @opened_once
    def webhook_subscriber(self) -> WebhookSubscriber:
        """Has git hosts tell of events."""
        from factory_runtime.services.webhook_subscriptions import WebhookSubscriber

        return WebhookSubscriber(
            self.store,
            self.host,
            self.clock,
            lambda: self.secret_box,
            self.settings.public_url,
        )

    @opened_once
    def webhook_desk(self) -> WebhookDesk:
        """Takes what webhooks bring."""
        from factory_runtime.services.azure_resource import AzureResources
        from factory_runtime.services.webhook_runs import RunBeginner
        from factory_runtime.services.webhook_triggers import TriggerBook
        from factory_runtime.services.webhooks import WebhookDesk

        resources = AzureResources(self.settings.callback_hosts, lambda: self.secret_box)
        beginner = RunBeginner(self.desk, TriggerBook(self.catalog), resources)
        return WebhookDesk(self.webhook_sources, beginner, worker_name())

    @opened_once
    def deliveries(self) -> Lanes:
        """Decides the deliveries that their requests have not."""
        from factory_runtime.services.lanes import Lanes
        from factory_runtime.services.topics import DELIVERY
        from factory_runtime.services.webhooks import source_of

        return Lanes(
            self.store,
            self.clock,
            DELIVERY,
            source_of,
            lambda message: self.webhook_desk.finish(message),
            worker_name(),
        )

    @opened_once
    def callbacks(self) -> Callbacks:
        from factory_runtime.services.callbacks import Callbacks

        hosts = self.settings.callback_hosts
        return Callbacks(self.store, self.clock, hosts, lambda: self.secret_box)

    @opened_once
    def told_callbacks(self) -> Lanes:
        """Tells callbacks of ends."""
        from factory_runtime.services.lanes import Lanes
        from factory_runtime.services.send_callbacks import CallbackSender, host_of
        from factory_runtime.services.topics import CALLBACK

        send = CallbackSender(self.callbacks).send
        return Lanes(self.store, self.clock, CALLBACK, host_of, send, worker_name())

    @opened_once
    def notices(self) -> NoticeSender:
        """Sends notices. Prefect's events and the rest of the outbox are ``drain``'s."""
        from factory_runtime.notifications.notifier import AppriseNotifier
        from factory_runtime.orchestration.notification_blocks import NotificationBlocks
        from factory_runtime.services.send_notices import NoticeSender
        from factory_runtime.services.tell import Teller

        log_file = self.settings.stack_folder / "notices.log"
        notifier = AppriseNotifier(log_file, addresses=NotificationBlocks())
        rules_of = self.policies.notices_of
        teller = Teller(self.store, self.storage, self.clock, notifier, rules_of)
        return NoticeSender(self.store, self.clock, teller, worker_name())

    def tell(self, patience: timedelta = timedelta(0)) -> Drained:
        """Begin to send what waits for somebody outside, and wait so long for what comes of it.

        Those are notices, callbacks, and deliveries of webhooks that are not decided yet.
        """
        from factory_runtime.services.drain_outbox import Drained

        until = time.monotonic() + patience.total_seconds()
        senders = (self.notices, self.told_callbacks, self.deliveries)
        did = [sender.send_due() for sender in senders]
        for sender in senders:
            left = timedelta(seconds=max(0.0, until - time.monotonic()))
            did.append(sender.send_due(left))
        return Drained(sum(one.done for one in did), sum(one.failed for one in did))
