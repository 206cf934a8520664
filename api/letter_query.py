"""Which dead letters are meant, as the query of a URL says it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.parts import PartChoice
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.access import Principal, Right
from factory_runtime.domain.dead_letter import DeadLetter, LetterFilter, LetterStatus
from factory_runtime.ports import RunTransaction
from factory_runtime.services.dead_letters import find_fingerprint
from factory_runtime.services.visible import visible_letter, visible_projects
from factory_runtime.wire.base import Question
from factory_runtime.wire.run import Name
from factory_runtime.wire.times import Time


class LetterChoice(Question):
    """What a letter must be to be meant; all that is given must hold."""

    fingerprint: (
        Annotated[str, Field(min_length=6, max_length=64, pattern="^[0-9a-f]+$")] | None
    ) = Field(default=None, description="of its kind of failure, or how it begins")
    project: Name | None = None
    template: Name | None = None
    type: Name | None = Field(default=None, description="of the job")
    since: Time = Field(default=None, description="failed then or later")
    until: Time = Field(default=None, description="failed before")

    def filter(self, runtime: Runtime, who: Principal, right: Right = Right.READ) -> LetterFilter:
        """Open letters, within the projects in which they have this right.

        Raises:
            InputError: several fingerprints begin so.
            DeadLetterNotFoundError: none does.
        """
        wanted, projects = self.fingerprint, visible_projects(who, right)
        if wanted is not None:
            wanted = find_fingerprint(runtime.store, who.tenant_id, wanted, projects)
        return LetterFilter(
            fingerprint=wanted,
            job_type=self.type,
            template_id=self.template,
            project_id=self.project,
            since=self.since,
            until=self.until,
            projects=projects,
        )


class LetterPage(LetterChoice, PartChoice):
    """Which letters, and which part of them."""

    status: Annotated[list[LetterStatus], Field(max_length=5)] = Field(
        default=[LetterStatus.OPEN], description="one of them; by default the open ones"
    )
    run: Name | None = None
    step: Name | None = None
    can_go_round: bool = Field(default=False, description="its run failed, and is not undone")
    with_count: bool = False

    def page(self, runtime: Runtime, who: Principal) -> LetterFilter:
        """Those of these statuses, run and step."""
        where = self.filter(runtime, who)
        return replace(
            where,
            statuses=tuple(self.status),
            run_id=self.run,
            step=self.step,
            can_go_round=self.can_go_round,
        )


def place_of(letter: DeadLetter) -> tuple[str, str]:
    """What names a letter in its list: it may fail again, and move in it, meanwhile."""
    return letter.id, letter.failed_at.isoformat()


def letter_at(tx: RunTransaction, who: Principal, letter_id: str, failed_at: str) -> DeadLetter:
    """The letter as it was when it was listed.

    Raises:
        DeadLetterNotFoundError: it is not there, or not theirs to see.
        ValueError: it was at no such time.
    """
    letter = visible_letter(tx, who, letter_id)
    return replace(letter, failed_at=_utc(failed_at))


def _utc(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.utcoffset() is None or at.utcoffset():
        raise ValueError(text)
    return at
