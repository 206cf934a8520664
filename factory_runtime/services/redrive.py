"""Send dead letters round again: one, or a group, with one of it ahead of the others."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from factory_runtime.domain.dead_letter import (
    MAY_GO_ROUND,
    Change,
    DeadLetter,
    LetterFilter,
    LetterStatus,
    OrderStatus,
    RedriveOrder,
)
from factory_runtime.domain.errors import (
    ConflictError,
    FactoryError,
    StaleVersionError,
    TransientError,
)
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.domain.run import Run
from factory_runtime.ports import Clock, RunStore, RunTransaction
from factory_runtime.services.letters import ALL, REDRIVE
from factory_runtime.services.outbox import leave
from factory_runtime.services.redrive_order import (
    OrderEndedError,
    OrderStandsError,
    Standing,
    add_order,
    change_of,
    change_to_body,
    count_redriven,
    note_refusal,
    open_now,
    place_of,
    released,
)
from factory_runtime.services.request_desk import RequestDesk
from factory_runtime.services.retry_run import NOTHING, plan_round, send_round
from factory_runtime.services.topics import GO_ON_REDRIVING

PAGE = 200
"""Letters of an order that go round for one message; others wait for the outbox too."""

_CANDIDATES = 20
"""How many letters are tried until one can go ahead of the others."""

_Also = Callable[[RunTransaction, int], None]
"""What else is written in the transaction that sends letters round: how many, where it is asked."""


@dataclass(frozen=True)
class Redriver:
    """Sends dead letters round again.

    Attributes:
        desk: what reads plans and templates, for those that go with a change.
    """

    store: RunStore
    clock: Clock
    desk: RequestDesk

    def redrive(
        self,
        tenant_id: str,
        letter_id: str,
        by: str,
        change: Change = NOTHING,
        *,
        beside: Collection[str] = (),
    ) -> Run:
        """Send the job of a letter round again, with what is behind it; its run, Queued.

        Open letters of the same run and kind go along: a run goes round once. So do failed jobs of
        the run that are named ``beside`` it.

        Raises:
            DeadLetterNotFoundError: no such letter.
            ConflictError: somebody has sent it round, and the message names them; or it is closed,
                its run is under way or is being undone; or as ``retry_job``.
            InputError: as ``retry_job``, of the change.
        """
        with self.store.begin(tenant_id, read_only=True) as tx:
            letter = tx.get_dead_letter(letter_id)
        return self._send(letter, by, change, beside=beside)

    def order(
        self,
        tenant_id: str,
        where: LetterFilter,
        by: str,
        change: Change = NOTHING,
        *,
        canary: bool = False,
        stands: Standing | None = None,
    ) -> RedriveOrder:
        """Order that the open letters that pass go round again, those whose runs can, now.

        The first goes at once where one is to go ahead of the others; these follow when its job has
        succeeded, and stay where they are when it failed again. Who drains the outbox does that.

        Args:
            tenant_id: whose letters.
            where: which; its statuses and its run are not looked at.
            by: who orders it.
            change: what is to be otherwise.
            canary: whether one goes ahead.
            stands: finds an order beside which none is to be made: it is the answer then. Of the
                tenant's orders that ask so, one asks and is made after the other.

        Raises:
            DeadLetterNotFoundError: no such letter is open.
            ConflictError: their runs are all under way or being undone.
            ConflictError, InputError: none of them can go ahead; of the last that was tried.
            StorageFullError: a large change could not be stored.
        """
        now = self.clock.now()
        where = open_now(self.store, tenant_id, where, now)
        with self.store.begin(tenant_id, read_only=True) as tx:
            first = tx.list_dead_letters(where, limit=_CANDIDATES)
            total = tx.count_dead_letters(where)
        if not first:
            raise ConflictError(
                "the runs of these dead letters are under way or being undone",
                hint="`factory dead-letters show LETTER_ID` says what can be done",
            )
        order = RedriveOrder(
            id=new_id("order"),
            tenant_id=tenant_id,
            status=OrderStatus.RELEASING,
            requested_by=by,
            requested_at=now,
            total=total,
            fingerprint=where.fingerprint,
            job_type=where.job_type,
            template_id=where.template_id,
            project_id=where.project_id,
            since=where.since,
            until=where.until,
            change=change_to_body(self.desk.storage, tenant_id, change),
        )
        try:
            if canary:
                return self._order_with_canary(order, first, change, stands)
            with self.store.begin(tenant_id) as tx:
                add_order(tx, order, change, stands)
                leave(tx, GO_ON_REDRIVING, order.id, {"order_id": order.id}, now)
        except OrderStandsError as found:
            return found.order
        return order

    def handle(self, message: OutboxMessage) -> None:
        """The outbox's ``GO_ON_REDRIVING``: one page of the order, and a message for the next.

        Each run goes round in a transaction of its own, with the order's counts: killed anywhere it
        goes on where it was, and two at once send nothing round twice.

        Raises:
            RedriveOrderNotFoundError: no such order.
            TransientError: something is away; do it again later.
        """
        asked = message.payload
        tenant_id, number = message.tenant_id, int(asked.get("page", 1))
        with self.store.begin(tenant_id) as tx:
            order = released(tx, tx.lock_redrive_order(str(asked["order_id"])), self.clock)
            page = tx.list_dead_letters(order.where, limit=PAGE, after=place_of(tx, asked))
        if order.status is not OrderStatus.RELEASING:
            return
        change = change_of(self.desk.storage, order)
        try:
            for letter in page:
                if letter.order_id != order.id:  # else it was its turn before
                    self._release(order, letter, change)
        except OrderEndedError:
            return
        now = self.clock.now()
        with self.store.begin(tenant_id) as tx:
            held = tx.lock_redrive_order(order.id)
            if held.status is not OrderStatus.RELEASING:
                return
            if len(page) < PAGE:
                tx.save_redrive_order(held.changed(status=OrderStatus.DONE, finished_at=now))
                return
            last = {"after": page[-1].id, "failed_at": page[-1].failed_at.isoformat()}
            payload = {"order_id": order.id, "page": number + 1, **last}
            leave(tx, GO_ON_REDRIVING, f"{order.id}:page-{number + 1}", payload, now)

    # one letter

    def _send(
        self,
        letter: DeadLetter,
        by: str,
        change: Change,
        order_id: str | None = None,
        also: _Also = lambda _tx, _count: None,
        durable: bool = True,
        beside: Collection[str] = (),
        together: LetterFilter | None = None,
    ) -> Run:
        """``together``: which letters of its run go along; by default those of its kind."""
        if letter.status not in MAY_GO_ROUND:
            raise _why_not(self.store, letter)
        tenant_id, run_id = letter.tenant_id, letter.run_id
        along = replace(together or LetterFilter(fingerprint=letter.fingerprint), run_id=run_id)
        with self.store.begin(tenant_id, read_only=True) as tx:
            same = {other.step for other in tx.list_dead_letters(along, limit=ALL)}
        asked = {"by": by, "step": letter.step}
        if order_id is not None:
            asked["order"] = order_id
        try:
            round_ = plan_round(
                self.store,
                tenant_id,
                run_id,
                step=letter.step,
                beside={*same, *beside},
                change=change,
                desk=self.desk,
            )
            with self.store.begin(tenant_id, durable=durable) as tx:
                tx.lock_run(run_id)
                if tx.get_dead_letter(letter.id).version != letter.version:
                    raise StaleVersionError(
                        f"dead letter {letter.id} changed meanwhile", hint="read it again"
                    )
                run = send_round(tx, round_, self.clock.now(), asked)
                going = {job.step for job in round_.again}
                also(tx, len({letter.step, *same} & going))
                return run
        except ConflictError as error:
            # Somebody may have been faster: then they are what to tell of.
            with self.store.begin(tenant_id, read_only=True) as tx:
                stands = tx.get_dead_letter(letter.id)
            if stands.status in MAY_GO_ROUND:
                raise
            raise _why_not(self.store, stands) from error

    # an order

    def _order_with_canary(
        self,
        order: RedriveOrder,
        candidates: tuple[DeadLetter, ...],
        change: Change,
        stands: Standing | None,
    ) -> RedriveOrder:
        refusal: FactoryError | None = None
        for letter in candidates:
            ahead = replace(order, status=OrderStatus.CANARY, canary_id=letter.id)

            def also(tx: RunTransaction, count: int, ahead: RedriveOrder = ahead) -> None:
                if tx.get_dead_letter(ahead.canary_id or "").status is not LetterStatus.REDRIVEN:
                    raise ConflictError("the changed plan has no such job: it can show nothing")
                add_order(tx, replace(ahead, redriven=count), change, stands)

            try:
                self._send(letter, order.requested_by, change, order.id, also, together=order.where)
            except TransientError:
                raise
            except FactoryError as error:
                refusal = error
                continue
            with self.store.begin(order.tenant_id, read_only=True) as tx:
                return tx.find_redrive_order(order.id) or ahead
        raise refusal or ConflictError("none of the dead letters can go ahead")

    def _release(self, order: RedriveOrder, letter: DeadLetter, change: Change) -> None:
        """Send one of the order's letters round, or write down why it cannot be."""

        def also(tx: RunTransaction, count: int) -> None:
            count_redriven(tx, order.id, count)

        by, where = order.requested_by, order.where
        try:
            # What is lost with the machine's power is open still, and found again.
            self._send(letter, by, change, order.id, also, durable=False, together=where)
        except TransientError:
            raise
        except FactoryError as error:
            note_refusal(self.store, order, letter, error)


def _why_not(store: RunStore, letter: DeadLetter) -> ConflictError:
    """Why a letter that is not open cannot be sent round; of one that was, who did."""
    with store.begin(letter.tenant_id, read_only=True) as tx:
        entries = tx.list_audit(subject=letter.id, limit=ALL)
    sent = next((entry for entry in entries if entry.action == REDRIVE), None)
    if letter.status is LetterStatus.REDRIVEN and sent is not None:
        return ConflictError(
            f"dead letter {letter.id} was sent round again by {sent.actor}"
            f" at {sent.at:%Y-%m-%d %H:%M:%S} UTC",
            hint=f"`factory runs watch {letter.run_id}` shows how it goes",
        )
    why = f": {letter.reason}" if letter.reason else ""
    return ConflictError(
        f"dead letter {letter.id} is {letter.status}{why}", hint="there is nothing to send round"
    )
