"""Send dead letters round again: one, or a group, with one of it ahead of the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from factory_runtime.domain.dead_letter import (
    Change,
    DeadLetter,
    LetterFilter,
    LetterStatus,
    OrderStatus,
    RedriveOrder,
)
from factory_runtime.domain.errors import (
    ConflictError,
    DeadLetterNotFoundError,
    FactoryError,
    StaleVersionError,
    TransientError,
)
from factory_runtime.domain.ids import new_id
from factory_runtime.domain.records import OutboxMessage
from factory_runtime.domain.run import Run
from factory_runtime.ports import Clock, RunStore, RunTransaction
from factory_runtime.services.letters import ALL, REDRIVE
from factory_runtime.services.messages import leave
from factory_runtime.services.redrive_order import (
    add_order,
    change_to_json,
    note_refusal,
    released,
)
from factory_runtime.services.request_run import RequestDesk
from factory_runtime.services.retry_run import NOTHING, plan_round, send_round
from factory_runtime.services.topics import GO_ON_REDRIVING

PAGE = 200
"""Letters of an order that are read at once."""

AT_ONCE = 1000
"""Letters of an order that go round while the outbox waits."""

_CANDIDATES = 20
"""How many letters are tried until one can go ahead of the others."""

_MAY_GO = frozenset({LetterStatus.OPEN, LetterStatus.DISCARDED})

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
        fingerprint: str,
        by: str,
        change: Change = NOTHING,
        *,
        canary: bool = False,
    ) -> RedriveOrder:
        """Order that the letters of a group that are open now go round again.

        The first goes at once where one is to go ahead of the others; these follow when its job has
        succeeded, and stay where they are when it failed again. Who drains the outbox does that;
        ``carry_out`` does what is to be done now.

        Raises:
            DeadLetterNotFoundError: no letter of the group is open.
            ConflictError, InputError: none of them can go ahead; of the last that was tried.
        """
        now = self.clock.now()
        where = LetterFilter(fingerprint=fingerprint, until=now)
        with self.store.begin(tenant_id, read_only=True) as tx:
            first, total = (
                tx.list_dead_letters(where, limit=_CANDIDATES),
                tx.count_dead_letters(where),
            )
        if not first:
            raise DeadLetterNotFoundError(
                f"no dead letter of kind {fingerprint[:12]} is open",
                hint="`factory dead-letters list` shows those that are",
            )
        order = RedriveOrder(
            id=new_id("order"),
            tenant_id=tenant_id,
            fingerprint=fingerprint,
            status=OrderStatus.RELEASING,
            requested_by=by,
            requested_at=now,
            total=total,
            change=change_to_json(change),
        )
        if canary:
            return self._order_with_canary(order, first, change)
        with self.store.begin(tenant_id) as tx:
            add_order(tx, order)
            leave(tx, GO_ON_REDRIVING, order.id, {"order_id": order.id}, now)
        return order

    def handle(self, message: OutboxMessage) -> None:
        """The outbox's ``GO_ON_REDRIVING``: a part of it, since others wait for the outbox too."""
        order = self.carry_out(message.tenant_id, message.payload["order_id"], most=AT_ONCE)
        if order.status is OrderStatus.RELEASING:
            with self.store.begin(order.tenant_id) as tx:
                key = f"{order.id}:{message.id}"
                leave(tx, GO_ON_REDRIVING, key, {"order_id": order.id}, self.clock.now())

    def carry_out(self, tenant_id: str, order_id: str, *, most: int | None = None) -> RedriveOrder:
        """Do what is to be done of an order now; the order as it then stands.

        Each run goes round in a transaction of its own, with the order's counts: killed anywhere it
        goes on where it was, and two at once send nothing round twice.

        Args:
            tenant_id: whose order.
            order_id: which.
            most: stop after so many letters, though there may be more.

        Raises:
            RedriveOrderNotFoundError: no such order.
            TransientError: something is away; do it again later.
        """
        with self.store.begin(tenant_id) as tx:
            order = released(tx, tx.lock_redrive_order(order_id), self.clock)
        if order.status is not OrderStatus.RELEASING:
            return order
        letters = self._letters_of(order)
        for letter in islice(letters, most):
            self._release(order, letter)
        are_left = next(letters, None) is not None
        with self.store.begin(tenant_id) as tx:
            order = tx.lock_redrive_order(order_id)
            if order.status is OrderStatus.RELEASING and not are_left:
                order = order.changed(status=OrderStatus.DONE, finished_at=self.clock.now())
                tx.save_redrive_order(order)
        return order

    def _letters_of(self, order: RedriveOrder) -> Iterator[DeadLetter]:
        """Letters whose turn has not come yet; read a page at a time."""
        where = LetterFilter(fingerprint=order.fingerprint, until=order.requested_at)
        after: DeadLetter | None = None
        while True:
            with self.store.begin(order.tenant_id, read_only=True) as tx:
                page = tx.list_dead_letters(where, limit=PAGE, after=after)
            if not page:
                return
            after = page[-1]
            yield from (letter for letter in page if letter.order_id != order.id)

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
    ) -> Run:
        if letter.status not in _MAY_GO:
            raise _why_not(self.store, letter)
        tenant_id, run_id = letter.tenant_id, letter.run_id
        of_kind = LetterFilter(run_id=run_id, fingerprint=letter.fingerprint)
        with self.store.begin(tenant_id, read_only=True) as tx:
            same = {other.step for other in tx.list_dead_letters(of_kind, limit=ALL)}
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
            if stands.status in _MAY_GO:
                raise
            raise _why_not(self.store, stands) from error

    # an order

    def _order_with_canary(
        self, order: RedriveOrder, candidates: tuple[DeadLetter, ...], change: Change
    ) -> RedriveOrder:
        refusal: FactoryError | None = None
        for letter in candidates:
            ahead = replace(order, status=OrderStatus.CANARY, canary_id=letter.id)

            def also(tx: RunTransaction, count: int, ahead: RedriveOrder = ahead) -> None:
                add_order(tx, replace(ahead, redriven=count))

            try:
                self._send(letter, order.requested_by, change, order.id, also)
            except TransientError:
                raise
            except FactoryError as error:
                refusal = error
                continue
            with self.store.begin(order.tenant_id, read_only=True) as tx:
                return tx.find_redrive_order(order.id) or ahead
        raise refusal or ConflictError("none of the dead letters can go ahead")

    def _release(self, order: RedriveOrder, letter: DeadLetter) -> None:
        """Send one of the order's letters round, or write down why it cannot be."""
        change = Change(**order.change)

        def also(tx: RunTransaction, count: int) -> None:
            held = tx.lock_redrive_order(order.id)
            tx.save_redrive_order(held.changed(redriven=held.redriven + count))

        try:
            # What is lost with the machine's power is open still, and found again.
            self._send(letter, order.requested_by, change, order.id, also, durable=False)
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
