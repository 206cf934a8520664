"""Tell people: which targets a notice goes to, and one try to send it to one of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from factory_runtime.domain.errors import FactoryError, HostBusyError, InputError, TransientError
from factory_runtime.domain.notice import (
    Notice,
    NoticeKind,
    notice_from_payload,
    notice_to_payload,
)
from factory_runtime.domain.policy import NoticeRule
from factory_runtime.domain.records import OutboxMessage, RunEvent
from factory_runtime.domain.run import Run
from factory_runtime.ports import ArtifactStorage, Clock, Notifier, RunStore
from factory_runtime.services.crowds import crowd_notice, crowd_words, find_crowd
from factory_runtime.services.drain_outbox import GivenUpError
from factory_runtime.services.messages import GIVEN_UP
from factory_runtime.services.outbox import leave
from factory_runtime.services.recovery import read_report, report_notice
from factory_runtime.services.topics import NOTICE, SEND_NOTICE

GIVE_UP_AFTER = timedelta(days=1)
"""A target that took nothing for so long is not asked again for this notice."""

TRIES = 5
"""How often it was asked by then at the least: whoever asks may have been down for that day."""

OVER_AFTER = timedelta(days=7)
"""However seldom it was asked: much that waits for a target that is gone comes to an end."""

SETTLED_WITHIN = timedelta(minutes=10)
"""How long the end of an undo waits to be told for the count of what it left."""

EVERYTHING_TO_THE_LOG = (NoticeRule("log", "log:"),)
"""What holds where a tenant's policy names no target."""

_LOG = logging.getLogger("factory.notices")

RulesOf = Callable[[str], tuple[NoticeRule, ...]]


@dataclass(frozen=True)
class Teller:
    """Handles ``NOTICE`` and ``SEND_NOTICE``.

    An address may hold a secret: it is read from the policy when it is needed, and is in no
    message, no event and no error. What is said of a target is its name.

    Attributes:
        rules_of: a tenant's targets, by its policy as it stands now.
    """

    store: RunStore
    storage: ArtifactStorage
    clock: Clock
    notifier: Notifier
    rules_of: RulesOf

    def fan_out(self, message: OutboxMessage) -> None:
        """Leave one message for each target that wants this notice.

        Raises:
            PolicyUnavailableError: the policy cannot be read now.
            TransientError: what an undo left is not known yet.
            RunNotFoundError: the run that it is about is gone.
        """
        notice = notice_from_payload(message.payload)
        if notice.kind is NoticeKind.RUN_COMPLETE:
            notice = self._with_words(notice)
        if notice is None:
            return
        rules = self._rules(notice.tenant_id)
        payload, now = notice_to_payload(notice), self.clock.now()
        with self.store.begin(notice.tenant_id) as tx:
            for rule in rules:
                if not rule.kinds or notice.kind in rule.kinds:
                    order = {"target": rule.name, "run_id": notice.run_id, "notice": payload}
                    leave(tx, SEND_NOTICE, f"{notice.key}:{rule.name}", order, now)

    def send(self, message: OutboxMessage) -> None:
        """Try once to send a notice to one target; one that the policy has no more is told nothing.

        Raises:
            HostBusyError: it was not taken; the message is to be tried again later.
            InputError: the target's address makes no sense: it may be mended in the policy.
            PolicyUnavailableError: the policy cannot be read now.
            GivenUpError: as these, and it has been tried for a day, and five times; or for a week.
        """
        target = target_of(message)
        notice = notice_from_payload(message.payload["notice"])
        try:
            self._send(target, notice)
        except FactoryError as error:
            tries, age = message.attempts + 1, self.clock.now() - message.created_at
            if age < GIVE_UP_AFTER or (tries < TRIES and age < OVER_AFTER):
                raise
            why = f"given up after {tries} tries: {error}"
            self._note_given_up(notice, target, why)
            raise GivenUpError(why) from error

    def _send(self, target: str, notice: Notice) -> None:
        rules = [rule for rule in self._rules(notice.tenant_id) if rule.name == target]
        for rule in rules:
            try:
                self.notifier.send(rule.to, notice)
            except InputError as error:
                raise InputError(f"target {target}: {error}", hint=error.hint) from None
            except FactoryError as error:
                raise HostBusyError(f"target {target}: {error}", hint=error.hint) from None
            except Exception as error:  # its text may quote the address
                raise HostBusyError(f"target {target}: {type(error).__name__}") from None

    def _rules(self, tenant_id: str) -> tuple[NoticeRule, ...]:
        return self.rules_of(tenant_id) or EVERYTHING_TO_THE_LOG

    def _with_words(self, notice: Notice) -> Notice | None:
        """The notice of an end, whole; None where there is nothing to be told of it, or not now."""
        if notice.run_id is None:
            with self.store.begin(notice.tenant_id, read_only=True) as tx:
                return crowd_words(tx, notice)
        report = read_report(self.store, self.storage, notice.tenant_id, notice.run_id)
        if not report.run.ended or report.run.cycle != notice.facts.get("cycle"):
            return None  # sent round again: its next end leaves a notice of its own
        if report.unsettled and self.clock.now() - notice.at < SETTLED_WITHIN:
            raise TransientError(f"what {report.run.undoes} has left is still being counted")
        return None if self._is_in_crowd(report.run) else report_notice(report, notice)

    def _is_in_crowd(self, run: Run) -> bool:
        """Whether it failed as many others did in this hour: all are told of when that is over."""
        with self.store.begin(run.tenant_id) as tx:
            crowd = find_crowd(tx, run)
            if crowd is not None:
                notice = crowd_notice(run.tenant_id, crowd)
                now, payload = self.clock.now(), notice_to_payload(notice)
                leave(tx, NOTICE, notice.key, payload, now, after=notice.at - now)
        return crowd is not None

    def _note_given_up(self, notice: Notice, target: str, why: str) -> None:
        _LOG.warning("target %s was not told %s: %s", target, notice.key, why)
        if notice.run_id is None:
            return
        detail = {
            "target": target,
            "notice": notice.key,
            "message": f"{target} was not told: {why}",
        }
        event = RunEvent(notice.tenant_id, notice.run_id, self.clock.now(), GIVEN_UP, detail=detail)
        with self.store.begin(notice.tenant_id) as tx:
            tx.add_event(event)


def target_of(message: OutboxMessage) -> str:
    """The name of the target that a ``SEND_NOTICE`` message is for."""
    payload: Mapping[str, Any] = message.payload
    return str(payload["target"])
