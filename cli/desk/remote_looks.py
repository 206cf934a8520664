"""What commands ask for, of a Factory API."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from cli.desk import from_wire
from cli.desk.desk import Offer, Person
from cli.desk.remote_reading import RemoteReading, run_choice, some
from factory_runtime.client import FactoryClient, calls
from factory_runtime.domain.errors import CorruptArtifactError, FactoryError
from factory_runtime.domain.ids import digest_of
from factory_runtime.ports import Page

if TYPE_CHECKING:
    from cli.watching import Watcher
    from factory_runtime.domain.api_key import ApiKey
    from factory_runtime.domain.approval import Approval
    from factory_runtime.domain.artifact import Artifact
    from factory_runtime.domain.audit import AuditFilter
    from factory_runtime.domain.body import Body
    from factory_runtime.domain.context import Bundle, Task
    from factory_runtime.domain.dead_letter import DeadLetter, LetterGroup
    from factory_runtime.domain.failure_hints import FailureHints
    from factory_runtime.domain.job import Job
    from factory_runtime.domain.memory import Recalled
    from factory_runtime.domain.plan import Plan
    from factory_runtime.domain.publication import Publication
    from factory_runtime.domain.records import AuditEntry, Effect, EffectStatus
    from factory_runtime.domain.run import Run
    from factory_runtime.domain.shown_memory import ShownMemory
    from factory_runtime.domain.suggestion import Suggestion
    from factory_runtime.domain.template import Template
    from factory_runtime.ports import RecallQuery, RunFilter
    from factory_runtime.services.link_artifact import Link
    from factory_runtime.services.standing import Reason
    from factory_runtime.wire.key import Me
    from factory_runtime.wire.template import TemplateSummary

_IN_MEMORY = 4 * 1024 * 1024
"""Bytes of an artifact that are held; a longer one is put in a file on the way."""


@dataclass(frozen=True)
class RemoteLooks:
    """The records of the tenant that the credential is of.

    Attributes:
        project: where runs belong that say nothing of it.
    """

    client: FactoryClient
    project: str

    @property
    def tenant(self) -> str:
        return self._me.tenant_id

    @property
    def poll_seconds(self) -> float:
        return 1.0  # who polls faster spends what others of the tenant may ask

    def now(self) -> datetime:
        return datetime.now(UTC)

    def typed(self, line: str) -> str:
        return line.replace(f" --tenant {self.tenant}", "")  # the credential says it

    def me(self) -> Person:
        return Person(self._me.name, frozenset(self._me.groups))

    @contextmanager
    def reading(self) -> Generator[RemoteReading]:
        yield RemoteReading(self.client, self.tenant)

    def watch(self, run_id: str) -> Watcher:
        from cli.desk.remote_watching import StreamWatcher

        return StreamWatcher(self.client, self.reading, run_id)

    def value_of(self, body: Body | None) -> Any:
        return None if body is None else body.inline

    def plan_of(self, run: Run) -> Plan | None:
        with suppress(FactoryError):
            return from_wire.plan_of(self.client.send(calls.get_plan(run.id)))
        return None

    def why_no_grant(self, approval: Approval) -> str | None:
        return self.client.send(calls.get_approval(approval.id)).why_not

    def approved_plan(self, approval: Approval) -> Plan:
        told = self.client.send(calls.get_approval(approval.id)).plan
        if told is None or digest_of(told.record) != approval.plan_digest:
            raise CorruptArtifactError(
                f"the plan of approval {approval.id} is gone, or is not what would be approved"
            )
        return from_wire.plan_of(told)

    def inputs_schema(self, template: str, version: str | None) -> Mapping[str, Any]:
        return self.client.send(calls.get_template(template, version)).inputs_schema

    def schema_of_run(self, run: Run, version: str | None) -> Mapping[str, Any]:
        return self.inputs_schema(run.template_id, version or run.template_version)

    def inputs_of(self, run: Run) -> Mapping[str, Any]:
        told = self.client.send(calls.get_run(run.id)).inputs
        return cast("Mapping[str, Any]", told) if isinstance(told, Mapping) else {}

    def title_of(self, run: Run) -> tuple[str, str]:
        found = self.client.send(calls.get_template(run.template_id, run.template_version))
        return found.title, found.description

    def list_runs(
        self, where: RunFilter, *, limit: int, cursor: str | None
    ) -> tuple[Page[Run], Mapping[str, tuple[Reason, ...]]]:
        call = calls.list_runs(cursor=cursor, standing=True, **run_choice(where))
        found, more = some(self.client, call, limit)
        waits = {
            one.run_id: tuple(map(from_wire.reason_of, one.waits))
            for one in found
            if one.waits is not None
        }
        return Page(tuple(map(from_wire.run_of, found)), more), waits

    def reasons_of(self, run: Run, jobs: Iterable[Job]) -> tuple[Reason, ...]:
        if run.ended:
            return ()
        told = self.client.send(calls.get_run(run.id, standing=True)).waits
        return tuple(map(from_wire.reason_of, told or ()))

    def is_executed(self) -> bool:
        return True  # who does is the server's affair, and not seen from here

    def ui_url(self) -> str | None:
        return None

    def recall(self, asked: RecallQuery, where: str | None = None) -> tuple[Recalled, ...]:
        from factory_runtime.services.recall import bounded
        from factory_runtime.wire.memory import MemoryQuestion
        from factory_runtime.wire.where import MAX_LENGTH, parse_where

        asked = bounded(asked)
        if where is not None and not 1 <= len(where) <= MAX_LENGTH:
            parse_where(where, self.now())  # it says why that is none
        # Not told of over HTTP, so that many are found that one more is.
        beside = len(asked.exclude_run_ids)
        question = MemoryQuestion(
            query=asked.text,
            collections=asked.collections,
            kinds=asked.kinds,
            project=asked.project_id,
            template=asked.template_id,
            outcome=asked.outcome,
            since=asked.since,
            until=asked.until,
            where=where,
            limit=min(asked.limit + beside, 100),
        )
        found = self.client.send(calls.search_memory(question)).items
        others = (one for one in found if one.run_id not in asked.exclude_run_ids)
        return tuple(from_wire.recalled_of(one, self.tenant) for one in others)[: asked.limit]

    def context(self, task: Task) -> Bundle:
        from cli.desk import learned_from_wire
        from factory_runtime.services.context_package import query_of
        from factory_runtime.wire.context import ContextQuestion

        asked = query_of(task)  # which says what is out of bounds
        question = ContextQuestion(
            task=asked.text,
            budget_tokens=task.budget,
            kinds=task.kinds,
            project=task.project_id,
            ttl_seconds=math.ceil(task.ttl.total_seconds()),
        )
        return learned_from_wire.bundle_of(
            self.client.send(calls.make_context(question)), self.tenant
        )

    def read_context(self, package_id: str) -> Bundle:
        from cli.desk import learned_from_wire

        told = self.client.send(calls.get_context(package_id))
        return learned_from_wire.bundle_of(told, self.tenant)

    def memories_of(self, run_id: str) -> tuple[ShownMemory, ...]:
        found = self.client.send(calls.list_run_memories(run_id)).items
        return tuple(from_wire.shown_of(one, self.tenant, run_id) for one in found)

    def suggest(self, text: str, project: str | None) -> Suggestion:
        from cli.desk import learned_from_wire
        from factory_runtime.ports import RecallQuery
        from factory_runtime.services.recall import bounded
        from factory_runtime.wire.suggestion import SuggestQuestion

        asked = SuggestQuestion(query=bounded(RecallQuery(text)).text, project=project)
        told = self.client.send(calls.suggest_template(asked))
        return learned_from_wire.suggestion_of(told, self.tenant)

    @contextmanager
    def body_of(self, artifact: Artifact) -> Generator[BinaryIO]:
        call = calls.get_artifact_body(artifact.id)
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as body:
            for chunk in self.client.download(call, sha256=artifact.sha256):
                body.write(chunk)
            body.seek(0)
            yield cast("BinaryIO", body)

    def link_to(self, artifact: Artifact, good_for: timedelta) -> Link:
        from factory_runtime.services.link_artifact import Link

        minutes = good_for // timedelta(minutes=1)
        told = self.client.send(calls.link_artifact_body(artifact.id, minutes=minutes))
        return Link(told.url, told.expires_at)

    def list_effects(
        self, run_id: str | None, status: EffectStatus | None, *, limit: int, cursor: str | None
    ) -> tuple[tuple[Effect, ...], str | None]:
        if run_id is not None:
            self.client.send(calls.get_run(run_id))
        call = calls.list_effects(run_id=run_id, status=status, cursor=cursor)
        found, more = some(self.client, call, limit)
        return tuple(from_wire.effect_of(one, self.tenant) for one in found), more

    def letter_groups(self, *, limit: int) -> tuple[LetterGroup, ...]:
        found = self.client.send(calls.list_letter_groups(limit=min(limit, 200)))
        return tuple(from_wire.group_of(one, self.tenant) for one in found.items)

    def whole_fingerprint(self, beginning: str) -> str:
        return beginning  # the server finds the whole of it

    def tried_with(self, letter: DeadLetter) -> tuple[AuditEntry, ...]:
        tried = self.client.send(calls.get_letter(letter.id)).tried
        return tuple(from_wire.tried_of(one, letter.id, self.tenant) for one in tried)

    def hints_of(self, letter: DeadLetter) -> FailureHints:
        from cli.desk import learned_from_wire
        from factory_runtime.domain.failure_hints import FailureHints

        try:
            told = self.client.send(calls.get_hints(letter.id))
        except FactoryError as error:  # of a server that does not know how
            return FailureHints(trouble=str(error))
        return learned_from_wire.hints_of(told, self.tenant)

    def read_audit(self, where: AuditFilter, *, limit: int, cursor: str | None) -> Page[AuditEntry]:
        call = calls.list_audit(
            actor=where.actor,
            action=where.action,
            subject=where.subject,
            since=where.since,
            cursor=cursor,
        )
        found, more = some(self.client, call, limit)
        return Page(tuple(from_wire.entry_of(one, self.tenant) for one in found), more)

    def list_keys(self, *, good_at: datetime | None, limit: int) -> tuple[ApiKey, ...]:
        told = self.client.pages(calls.list_keys())
        keys = (from_wire.key_of(one, self.tenant) for one in told)
        wanted = (key for key in keys if good_at is None or key.is_good(good_at))
        return tuple(key for key, _ in zip(wanted, range(limit), strict=False))

    def offers(self) -> tuple[tuple[Offer, ...], str | None]:
        found = self.client.send(calls.list_templates()).items
        return tuple(self._offer(one) for one in found), None

    def template_names(self) -> frozenset[str]:
        return frozenset(one.template_id for one in self.client.send(calls.list_templates()).items)

    def template(self, name: str, version: str | None) -> tuple[Template, Publication | None]:
        told = self.client.send(calls.get_template(name, version))
        one = next((one for one in told.published if one.version == told.version), None)
        made = None if one is None else from_wire.publication_of(one, name, self.tenant)
        return from_wire.template_of(told), made

    def _offer(self, told: TemplateSummary) -> Offer:
        name = told.template_id
        published = (from_wire.publication_of(one, name, self.tenant) for one in told.published)
        return Offer(
            name,
            tuple(published),
            version=told.version or "",
            title=told.title,
            description=told.description,
            allowed=told.allowed,
            problem=told.problem,
        )

    @cached_property
    def _me(self) -> Me:
        return self.client.send(calls.who_am_i())
