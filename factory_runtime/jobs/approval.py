"""approval: a question to people; the job waits, without a process, until they have decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, assert_never

from factory_runtime.domain.approval import (
    GROUP,
    Approval,
    ApprovalStatus,
    Question,
    Vote,
    spell_deciders,
)
from factory_runtime.domain.durations import DURATION_HINT, DURATION_PATTERN, parse_duration
from factory_runtime.domain.errors import (
    ApprovalDeniedError,
    ApprovalExpiredError,
    ApprovalWithdrawnError,
    InputError,
)
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import JobResult, RenderOrder, WaitUntil
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.ports import FileTree, GitHost, JobContext

_DURATION: Mapping[str, Any] = {
    "type": "string",
    "minLength": 1,
    "pattern": f"^{DURATION_PATTERN}$",
    "description": f"a duration, {DURATION_HINT}",
}
_DECIDERS: Mapping[str, Any] = {
    "type": "array",
    "items": {"type": "string", "minLength": 1, "maxLength": 200},
    "minItems": 1,
    "uniqueItems": True,
    "description": f"users of the operating system, or {GROUP}NAME",
}
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["message"],
    "additionalProperties": False,
    "properties": {
        "message": {"type": "string", "minLength": 1, "description": "what people are asked"},
        "by": _DECIDERS,
        "count": {
            "type": "integer",
            "minimum": 1,
            "maximum": 100,
            "description": "how many have to grant it, 1 if not said",
        },
        "expires": _DURATION,
        "escalate": {
            "type": "object",
            "required": ["after", "to"],
            "additionalProperties": False,
            "properties": {"after": _DURATION, "to": _DECIDERS},
        },
    },
}


class ApprovalGate:
    """Asks people and waits. Outputs: approved_by, comments, at, digest."""

    facts = JobTypeFacts(name="approval", version="1", with_schema=SCHEMA, source_keys=())

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        del with_
        return None

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult | WaitUntil:
        del tree
        approval = context.ask(question_of(with_))
        match approval.status:
            case ApprovalStatus.OPEN:
                return _wait(approval, context.now())
            case ApprovalStatus.GRANTED:
                return _granted(approval, context.list_votes(approval))
            case ApprovalStatus.DENIED:
                raise _denied(approval, context.list_votes(approval))
            case ApprovalStatus.EXPIRED:
                raise ApprovalExpiredError(
                    f"nobody decided {approval.id} before {_spelled(approval.expires_at)}",
                    hint=f"`factory runs retry {approval.run_id}` asks anew",
                )
            case ApprovalStatus.WITHDRAWN:
                raise ApprovalWithdrawnError(
                    f"nobody has to decide {approval.id} any more: the run is to be undone"
                )
            case _:
                assert_never(approval.status)

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        del host, effect
        return None


def question_of(with_: Mapping[str, Any]) -> Question:
    """What is asked, as the ``with`` of a step has it.

    Raises:
        InputError: a time is none, or more have to grant it than there are who may.
    """
    by, escalate = tuple(with_.get("by", ())), with_.get("escalate")
    question = Question(message=with_["message"], by=by, count=with_.get("count", 1))
    expires = _length("expires", with_["expires"]) if "expires" in with_ else question.expires
    after, to = None, ()
    if escalate is not None:
        after, to = _length("escalate.after", escalate["after"]), tuple(escalate["to"])
        if after >= expires:
            raise InputError("it expires before it escalates", hint="escalate sooner")
    _refuse_too_few(by, to, question.count)
    return Question(question.message, by, question.count, expires, after, to)


def _length(key: str, text: str) -> timedelta:
    length = parse_duration(text)
    if not length:
        raise InputError(f"{key} is {text!r}, which is no time to wait", hint=DURATION_HINT)
    return length


def _refuse_too_few(by: Sequence[str], to: Sequence[str], count: int) -> None:
    named = {*by, *to}
    if by and len(named) < count and not any(name.startswith(GROUP) for name in named):
        raise InputError(
            f"{count} have to grant it, and only {', '.join(sorted(named))} may",
            hint="name more, or a group",
        )


def _wait(approval: Approval, now: datetime) -> WaitUntil:
    escalates = approval.escalate_at if approval.escalated_at is None else None
    due = min(approval.expires_at, escalates or approval.expires_at)
    who = spell_deciders(approval.deciders(now))
    count = f"{approval.count} of " if approval.count > 1 else ""
    return WaitUntil(due, f"waits for {count}{who} to approve ({approval.id})")


def _granted(approval: Approval, votes: Sequence[Vote]) -> JobResult:
    return JobResult(
        outputs={
            "approved_by": [vote.person for vote in votes],
            "comments": [f"{vote.person}: {vote.comment}" for vote in votes if vote.comment],
            "at": _spelled(approval.decided_at or approval.requested_at),
            "digest": approval.plan_digest,
        }
    )


def _denied(approval: Approval, votes: Sequence[Vote]) -> ApprovalDeniedError:
    said = [f"{vote.person}: {vote.comment}" for vote in votes if not vote.granted]
    return ApprovalDeniedError(
        f"{approval.id} was denied by {'; '.join(said)}",
        hint=f"mend what they say and `factory runs retry {approval.run_id}` asks anew",
    )


def _spelled(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
