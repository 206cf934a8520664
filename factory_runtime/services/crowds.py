"""Runs that fail alike: of many within one hour, the first are told of one by one.

The others are counted, and told of together once the hour is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from factory_runtime.domain.dead_letter import LetterFilter
from factory_runtime.domain.ids import digest_of
from factory_runtime.domain.notice import Notice, NoticeKind, Severity
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import RunTransaction
from factory_runtime.services.commands import for_tenant

ONE_BY_ONE = 20
"""How many ends of runs that failed alike are told of by themselves, in one hour."""

_HOUR = timedelta(hours=1)
_MANY = 1_000


@dataclass(frozen=True, slots=True)
class Crowd:
    """Runs of one template that failed in the same job, of the same kind of failure, in one hour.

    Attributes:
        since: when that hour began.
    """

    template_id: str
    step: str
    fingerprint: str
    since: datetime

    @property
    def letters(self) -> LetterFilter:
        """Those of its runs: each has one, whatever became of it."""
        return LetterFilter(
            statuses=(),
            fingerprint=self.fingerprint,
            template_id=self.template_id,
            step=self.step,
            since=self.since,
            until=self.since + _HOUR,
        )


def find_crowd(tx: RunTransaction, run: Run) -> Crowd | None:
    """Whom an ended run is told of with; None where it is told of by itself."""
    if run.status is not RunStatus.FAILED:
        return None
    letters = tx.list_dead_letters(LetterFilter(run_id=run.id), limit=_MANY)
    if not letters:
        return None
    first = min(letters, key=lambda letter: letter.step)
    since = first.failed_at.replace(minute=0, second=0, microsecond=0)
    crowd = Crowd(run.template_id, first.step, first.fingerprint, since)
    # Open ones alone, so that only so many are looked at: that some are closed by now tells more.
    before = replace(crowd.letters, statuses=LetterFilter().statuses, until=first.failed_at)
    return crowd if len(tx.list_dead_letters(before, limit=ONE_BY_ONE)) == ONE_BY_ONE else None


def crowd_notice(tenant_id: str, crowd: Crowd) -> Notice:
    """The notice of a crowd; its words are found when its hour is over."""
    # A key has only so much room.
    which = digest_of([crowd.template_id, crowd.step, crowd.fingerprint])
    facts = {
        "template": crowd.template_id,
        "step": crowd.step,
        "fingerprint": crowd.fingerprint,
        "since": crowd.since.isoformat(),
    }
    return Notice(
        tenant_id=tenant_id,
        kind=NoticeKind.RUN_COMPLETE,
        key=f"run-complete:{crowd.since:%Y-%m-%dT%H}:{which}",
        title="",
        body="",
        at=crowd.since + _HOUR,
        severity=Severity.FAILURE,
        facts=facts,
    )


def crowd_words(tx: RunTransaction, notice: Notice) -> Notice:
    """The notice with its words: how many they are by now."""
    facts: Mapping[str, Any] = notice.facts
    since = datetime.fromisoformat(facts["since"])
    crowd = Crowd(facts["template"], facts["step"], facts["fingerprint"], since)
    count = tx.count_dead_letters(crowd.letters)
    kind = tx.find_failure_kind(crowd.fingerprint)
    what = "" if kind is None else f" ({kind.job_type}): {kind.error_code}: {kind.message}"
    short = crowd.fingerprint[:12]
    commands = (
        f"factory dead-letters list --fingerprint {short}",
        f"factory dead-letters retry --fingerprint {short} --canary",
    )
    lines = [
        f"{crowd.step}{what}",
        f"{ONE_BY_ONE} of them were told of one by one, the others are told of here alone.",
        "What you can do:",
        *(f"  {for_tenant(command, notice.tenant_id)}" for command in commands),
    ]
    hour = f"{since:%Y-%m-%d %H:%M} UTC"
    return replace(
        notice,
        title=f"{count} runs of {crowd.template_id} failed alike in the hour from {hour}",
        body="\n".join(lines),
        facts={**facts, "runs": count},
    )
