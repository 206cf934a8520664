"""What commands have done, by the services and in the stores that the settings name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cli.desk.local_looks import LocalLooks
from cli.person import person, person_groups
from factory_runtime.domain.dead_letter import ORDER_ENDED, OrderStatus

if TYPE_CHECKING:
    from cli.desk.local_hooks import LocalHooks
    from cli.desk.local_keeping import LocalKeeping
    from factory_runtime.domain.access import Principal
    from factory_runtime.domain.api_key import ApiKey
    from factory_runtime.domain.dead_letter import Change, DeadLetter, LetterFilter, RedriveOrder
    from factory_runtime.domain.document import Added, Document
    from factory_runtime.domain.memory import Erased, ForgetScope
    from factory_runtime.domain.run import Run, RunRequest
    from factory_runtime.services.api_keys import WantedKey
    from factory_runtime.services.approvals import Decided
    from factory_runtime.services.dead_letters import Discarded
    from factory_runtime.services.preview import Preview


@dataclass(frozen=True)
class LocalDesk(LocalLooks):
    """One tenant's records, read and written by who can reach the stores."""

    @property
    def hooks(self) -> LocalHooks:
        from cli.desk.local_hooks import LocalHooks

        return LocalHooks(self.runtime, self.tenant)

    @property
    def keeping(self) -> LocalKeeping:
        from cli.desk.local_keeping import LocalKeeping

        return LocalKeeping(self.runtime, self.tenant)

    def preview(self, request: RunRequest) -> Preview:
        from factory_runtime.services.memory_uses import refuse_unknown
        from factory_runtime.services.preview import preview_run

        runtime = self.runtime
        refuse_unknown(runtime.recaller.find, request)
        return preview_run(
            runtime.catalog,
            runtime.job_types,
            request,
            lambda key: runtime.has_render(self.tenant, key),
            runtime.policies,
        )

    def request(self, request: RunRequest) -> Run:
        from factory_runtime.services.request_run import request_run

        return request_run(self.runtime.desk, request)

    def add_document(self, document: Document) -> Added:
        from factory_runtime.services.add_document import add_document

        runtime = self.runtime
        store, clock, cutter = runtime.store, runtime.clock, runtime.cutter
        return add_document(store, clock, cutter, self.tenant, document, person())

    def index_added(self) -> None:
        self.runtime.indexer.catch_up_all()

    def forget(self, scope: ForgetScope, key: str) -> Erased:
        from factory_runtime.services.forget_memory import forget
        from factory_runtime.services.refold import refold

        store, clock = self.runtime.store, self.runtime.clock
        return forget(store, clock, refold, self.tenant, scope, key, person())

    def index_forgotten(self) -> bool:
        from factory_runtime.services.drain_outbox import drain_outbox
        from factory_runtime.telemetry import worker_name

        runtime = self.runtime
        handlers = runtime.forgetter.handlers
        return not drain_outbox(runtime.store, runtime.clock, handlers, worker_name()).failed

    def cancel(self, run_id: str, *, undo: bool = False) -> Run:
        from factory_runtime.services.end_run import cancel_run

        store, clock = self.runtime.store, self.runtime.clock
        return cancel_run(store, clock, self.tenant, run_id, person(), undo=undo)

    def pause(self, run_id: str) -> Run:
        from factory_runtime.services.pause_run import pause_run

        return pause_run(self.runtime.store, self.runtime.clock, self.tenant, run_id, person())

    def resume(self, run_id: str) -> Run:
        from factory_runtime.services.pause_run import resume_run

        return resume_run(self.runtime.store, self.runtime.clock, self.tenant, run_id, person())

    def retry(self, run_id: str, change: Change) -> Run:
        from factory_runtime.services.retry_run import retry_run

        runtime, desk = self.runtime, self.runtime.desk
        store, clock = runtime.store, runtime.clock
        return retry_run(store, clock, self.tenant, run_id, person(), change=change, desk=desk)

    def retry_job(self, run_id: str, step: str, change: Change) -> Run:
        from factory_runtime.services.retry_run import retry_job

        runtime, tenant = self.runtime, self.tenant
        store, clock, desk = runtime.store, runtime.clock, runtime.desk
        return retry_job(store, clock, tenant, run_id, step, person(), change=change, desk=desk)

    def undo(self, run_id: str) -> Run | None:
        return self.runtime.undoer.undo(self.tenant, run_id, person())

    def redrive(self, letter_id: str, change: Change, beside: Collection[str]) -> Run:
        redriver = self.runtime.redriver
        return redriver.redrive(self.tenant, letter_id, person(), change, beside=beside)

    def order(self, where: LetterFilter, change: Change, *, canary: bool) -> RedriveOrder:
        return self.runtime.redriver.order(self.tenant, where, person(), change, canary=canary)

    def carry_on(self, order: RedriveOrder) -> RedriveOrder:
        """As far as it goes now; what is left then is in the outbox."""
        from factory_runtime.services.drain_outbox import Drained, drain_outbox
        from factory_runtime.services.topics import GO_ON_REDRIVING
        from factory_runtime.telemetry import worker_name

        runtime = self.runtime
        handlers = {GO_ON_REDRIVING: runtime.redriver.handle}
        is_ours = not self.is_executed()
        while True:
            with self.reading() as tx:
                order = tx.find_redrive_order(order.id) or order
            if not is_ours or order.status in (*ORDER_ENDED, OrderStatus.CANARY):
                return order
            drained = drain_outbox(runtime.store, runtime.clock, handlers, worker_name())
            is_ours = drained != Drained()  # else another drain has it, or it is tried again later

    def stop_order(self, order_id: str, reason: str) -> RedriveOrder:
        from factory_runtime.services.redrive_order import stop_order

        store, clock = self.runtime.store, self.runtime.clock
        return stop_order(store, clock, self.tenant, order_id, person(), reason)

    def discard(self, letter_id: str, reason: str, *, undo: bool) -> DeadLetter:
        from factory_runtime.services.dead_letters import discard

        store, clock = self.runtime.store, self.runtime.clock
        return discard(store, clock, self.tenant, letter_id, person(), reason, undo=undo)

    def discard_group(self, where: LetterFilter, reason: str, *, undo: bool) -> Discarded:
        from factory_runtime.services.dead_letters import discard_group

        store, clock = self.runtime.store, self.runtime.clock
        return discard_group(store, clock, self.tenant, where, person(), reason, undo=undo)

    def decide(self, approval_id: str, *, granted: bool, comment: str) -> Decided:
        from factory_runtime.services.approvals import decide

        me, store, clock = self.me(), self.runtime.store, self.runtime.clock
        return decide(store, clock, self.tenant, approval_id, me.name, me.groups, granted, comment)

    def add_key(self, wanted: WantedKey) -> tuple[ApiKey, str]:
        from factory_runtime.services.api_keys import add_key

        given = add_key(self.runtime.store, self.runtime.clock, self._owner(), wanted)
        return given.key, given.fresh.text

    def rotate_key(
        self, key_id: str, *, overlap: timedelta, expires_in: timedelta | None
    ) -> tuple[ApiKey, str]:
        from factory_runtime.services.api_keys import rotate_key

        store, clock = self.runtime.store, self.runtime.clock
        given = rotate_key(
            store, clock, self._owner(), key_id, overlap=overlap, expires_in=expires_in
        )
        return given.key, given.fresh.text

    def revoke_key(self, key_id: str) -> ApiKey:
        from factory_runtime.services.api_keys import revoke_key

        return revoke_key(self.runtime.store, self.runtime.clock, self._owner(), key_id)

    def _owner(self) -> Principal:
        """Who can write to the stores may give anything."""
        from factory_runtime.domain.access import Grant, Principal, Role

        return Principal(person(), self.tenant, (Grant(Role.ADMIN),), person_groups())
