"""What commands have done, by a Factory API."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cli.desk import from_wire
from cli.desk.remote_looks import RemoteLooks
from cli.desk.remote_reading import letter_choice
from factory_runtime.client import calls
from factory_runtime.domain.durations import spell_duration
from factory_runtime.domain.errors import ConflictError
from factory_runtime.domain.memory import ForgetScope
from factory_runtime.domain.shown_memory import check_drawn_from
from factory_runtime.wire import bulk, key, letter
from factory_runtime.wire.run import NewRun

if TYPE_CHECKING:
    from cli.desk.remote_hooks import RemoteHooks
    from cli.desk.remote_keeping import RemoteKeeping
    from factory_runtime.domain.api_key import ApiKey
    from factory_runtime.domain.dead_letter import Change, DeadLetter, LetterFilter, RedriveOrder
    from factory_runtime.domain.document import Added, Document
    from factory_runtime.domain.memory import Erased
    from factory_runtime.domain.run import Run, RunRequest
    from factory_runtime.services.api_keys import WantedKey
    from factory_runtime.services.approvals import Decided
    from factory_runtime.services.dead_letters import Discarded
    from factory_runtime.services.preview import Preview


@dataclass(frozen=True)
class RemoteDesk(RemoteLooks):
    """One tenant's records, read and written as far as the credential may."""

    @property
    def hooks(self) -> RemoteHooks:
        from cli.desk.remote_hooks import RemoteHooks

        return RemoteHooks(self.client, self.tenant)

    @property
    def keeping(self) -> RemoteKeeping:
        from cli.desk.remote_keeping import RemoteKeeping

        return RemoteKeeping(self.client, self.tenant)

    def preview(self, request: RunRequest) -> Preview:
        return from_wire.preview_of(self.client.send(calls.preview_run(_asked(request))))

    def request(self, request: RunRequest) -> Run:
        # With a key, made up where none is given: an answer that is lost asks for no second run.
        call = calls.request_run(_asked(request), idempotency_key=request.idempotency_key)
        return from_wire.run_of(self.client.send(call))

    def cancel(self, run_id: str, *, undo: bool = False) -> Run:
        return from_wire.run_of(self.client.send(calls.cancel_run(run_id, undo=undo)))

    def pause(self, run_id: str) -> Run:
        return from_wire.run_of(self.client.send(calls.pause_run(run_id)))

    def resume(self, run_id: str) -> Run:
        return from_wire.run_of(self.client.send(calls.resume_run(run_id)))

    def retry(self, run_id: str, change: Change) -> Run:
        call = calls.retry_run(run_id, bulk.Change(**_facts(change)))
        return from_wire.run_of(self.client.send(call))

    def retry_job(self, run_id: str, step: str, change: Change) -> Run:
        call = calls.retry_job(run_id, step, bulk.Change(**_facts(change)))
        return from_wire.run_of(self.client.send(call))

    def add_document(self, document: Document) -> Added:
        from factory_runtime.wire.document import NewDocument

        asked = NewDocument(
            source=document.source,
            content=document.text,
            project=document.project_id,
            classification=document.classification,
            commit=document.commit,
        )
        return self.client.send(calls.add_document(asked)).told()

    def index_added(self) -> None:
        pass  # the API's own does it

    def forget(self, scope: ForgetScope, key: str) -> Erased:
        match scope:
            case ForgetScope.RUN:
                call = calls.forget_run(key)
            case ForgetScope.PROJECT:
                call = calls.forget_project(key)
            case ForgetScope.TENANT:
                call = calls.forget_everything(self.tenant)
        return self.client.send(call).told()

    def index_forgotten(self) -> bool:
        return False  # the API's own does it

    def undo(self, run_id: str) -> Run | None:
        undoing = self.client.send(calls.undo_run(run_id)).undone_by
        if undoing is None:
            return None
        return from_wire.run_of(self.client.send(calls.get_run(undoing)))

    def redrive(self, letter_id: str, change: Change, beside: Collection[str]) -> Run:
        asked = letter.Redrive(**_facts(change), beside=tuple(sorted(beside)))
        return from_wire.run_of(self.client.send(calls.redrive_letter(letter_id, asked)))

    def order(self, where: LetterFilter, change: Change, *, canary: bool) -> RedriveOrder:
        asked = letter.BulkRedrive(**_facts(change), canary=canary)
        told = self.client.send(calls.redrive_letters(asked, **letter_choice(where)))
        return from_wire.order_of(told, self.tenant)

    def carry_on(self, order: RedriveOrder) -> RedriveOrder:
        told = self.client.send(calls.get_order(order.id))  # the server carries it out
        return from_wire.order_of(told, self.tenant)

    def stop_order(self, order_id: str, reason: str) -> RedriveOrder:
        return from_wire.order_of(self.client.send(calls.stop_order(order_id, reason)), self.tenant)

    def discard(self, letter_id: str, reason: str, *, undo: bool) -> DeadLetter:
        call = calls.discard_letter(letter_id, letter.Discard(reason=reason, undo=undo))
        return from_wire.letter_of(self.client.send(call), self.tenant)

    def discard_group(self, where: LetterFilter, reason: str, *, undo: bool) -> Discarded:
        from factory_runtime.services.dead_letters import Discarded

        asked = letter.BulkDiscard(reason=reason, undo=undo)
        told = self.client.send(calls.discard_letters(asked, **letter_choice(where)))
        error = None if told.error is None else ConflictError(told.error)
        return Discarded(told.done, told.refused, error)

    def decide(self, approval_id: str, *, granted: bool, comment: str) -> Decided:
        from factory_runtime.services.approvals import Decided

        say = calls.grant_approval if granted else calls.deny_approval
        told = self.client.send(say(approval_id, comment))
        votes = (from_wire.vote_of(one, approval_id, self.tenant) for one in told.votes)
        approval = from_wire.approval_of(told.approval, self.tenant)
        return Decided(approval, tuple(votes), told.counted)

    def add_key(self, wanted: WantedKey) -> tuple[ApiKey, str]:
        asked = key.NewKey(
            name=wanted.name,
            grants=[
                key.WantedGrant(role=one.role, project_id=one.project_id) for one in wanted.grants
            ],
            groups=list(wanted.groups),
            expires_in=_spelled(wanted.expires_in),
        )
        given = self.client.send(calls.add_key(asked))
        return from_wire.key_of(given.made, self.tenant), given.key

    def rotate_key(
        self, key_id: str, *, overlap: timedelta, expires_in: timedelta | None
    ) -> tuple[ApiKey, str]:
        asked = key.Rotate(overlap=_spelled(overlap) or "0s", expires_in=_spelled(expires_in))
        given = self.client.send(calls.rotate_key(key_id, asked))
        return from_wire.key_of(given.made, self.tenant), given.key

    def revoke_key(self, key_id: str) -> ApiKey:
        return from_wire.key_of(self.client.send(calls.revoke_key(key_id)), self.tenant)


def _asked(request: RunRequest) -> NewRun:
    check_drawn_from(request.drawn_from)
    return NewRun(
        template_recipe_id=request.template,
        template_version=request.version,
        project_id=request.project_id,
        module_id=request.module_id,
        inputs=request.inputs,
        priority=request.priority,
        deadline=_spelled(request.deadline),
        drawn_from=request.drawn_from,
    )


def _facts(change: Change) -> dict[str, Any]:
    return {
        "inputs": change.inputs,
        "timeout_seconds": change.timeout_seconds,
        "template_version": change.template_version,
    }


def _spelled(length: timedelta | None) -> str | None:
    return None if length is None else spell_duration(length)
