"""What commands ask for, of the stores that the settings name."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from cli.desk.desk import Offer, Person
from cli.effect_words import effect_name
from cli.person import person, person_groups
from factory_runtime.domain.errors import (
    FactoryError,
    InputError,
    NotFoundError,
    TemplateNotFoundError,
)

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from cli.watching import Watcher
    from factory_runtime.bootstrap import Runtime
    from factory_runtime.domain.access import Principal
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
    from factory_runtime.ports import Page, RecallQuery, RunFilter, RunTransaction
    from factory_runtime.services.link_artifact import Link
    from factory_runtime.services.read_standing import Onlooker
    from factory_runtime.services.standing import Reason

_OF_ONE_JOB = 1000


@dataclass(frozen=True)
class LocalLooks:
    """One tenant's records, read from the stores."""

    runtime: Runtime
    tenant: str

    @property
    def project(self) -> str:
        return self.runtime.settings.project

    @property
    def poll_seconds(self) -> float:
        return 0.1

    def now(self) -> datetime:
        return self.runtime.clock.now()

    def typed(self, line: str) -> str:
        return line

    def me(self) -> Person:
        return Person(person(), person_groups())

    @contextmanager
    def reading(self) -> Generator[RunTransaction]:
        with self.runtime.store.begin(self.tenant, read_only=True) as tx:
            yield tx

    def watch(self, run_id: str) -> Watcher:
        from cli.watching import Watcher

        return Watcher(self.reading, run_id)

    def value_of(self, body: Body | None) -> Any:
        from factory_runtime.services.bodies import from_body

        try:
            return from_body(self.runtime.storage, self.tenant, body)
        except FactoryError as error:
            return {"unreadable": str(error)}

    def plan_of(self, run: Run) -> Plan | None:
        from factory_runtime.services.plans import read_plan

        with suppress(FactoryError):
            return read_plan(self.runtime.storage, run)
        return None

    def why_no_grant(self, approval: Approval) -> str | None:
        from factory_runtime.services.approvals import why_no_grant

        me = self.me()
        with self.reading() as tx:
            return why_no_grant(tx, approval, me.name, me.groups, self.now())

    def approved_plan(self, approval: Approval) -> Plan:
        from factory_runtime.services.plans import approved_plan

        return approved_plan(self.runtime.storage, approval)

    def inputs_schema(self, template: str, version: str | None) -> Mapping[str, Any]:
        return self.runtime.catalog.load(template, version, self.tenant).inputs_schema

    def schema_of_run(self, run: Run, version: str | None) -> Mapping[str, Any]:
        return self.runtime.catalog.load_of_run(run, version).inputs_schema

    def inputs_of(self, run: Run) -> Mapping[str, Any]:
        return self.runtime.inputs_of(run)

    def title_of(self, run: Run) -> tuple[str, str]:
        made_of = (run.template_id, run.template_version)
        with self.reading() as tx:
            templates = tx.list_templates()
        titles = (
            (record.title, record.description)
            for record in templates
            if (record.template_id, record.version) == made_of
        )
        return next(titles, (run.template_id, ""))

    def list_runs(
        self, where: RunFilter, *, limit: int, cursor: str | None
    ) -> tuple[Page[Run], Mapping[str, tuple[Reason, ...]]]:
        with self.reading() as tx:
            page = tx.list_runs(where, limit=limit, cursor=cursor)
        waiting = [run for run in page.items if not run.ended]
        if not waiting:
            return page, {}
        from factory_runtime.services.read_standing import Queue, read_standing

        onlooker, now = self._onlooker(), self.now()
        queue = Queue(onlooker, now)
        stands = {run.id: read_standing(onlooker, run, (), now, queue) for run in waiting}
        return page, {run_id: one.reasons for run_id, one in stands.items()}

    def reasons_of(self, run: Run, jobs: Iterable[Job]) -> tuple[Reason, ...]:
        from factory_runtime.services.read_standing import read_standing

        return read_standing(self._onlooker(), run, jobs, self.now()).reasons

    def is_executed(self) -> bool:
        from deployments.stack import find_stack

        return find_stack(self.runtime.settings) is not None

    def ui_url(self) -> str | None:
        from deployments.stack import find_stack

        state = find_stack(self.runtime.settings)
        return state.ui_url if state is not None and state.ready else None

    def recall(self, asked: RecallQuery, where: str | None = None) -> tuple[Recalled, ...]:
        from factory_runtime.wire.where import parse_where

        condition = None if where is None else parse_where(where, self.now())
        return self.runtime.recaller.recall(self.tenant, replace(asked, where=condition))

    def context(self, task: Task) -> Bundle:
        return self.runtime.context_desk.build(self.tenant, task)

    def read_context(self, package_id: str) -> Bundle:
        return self.runtime.context_desk.read(self.tenant, package_id)

    def memories_of(self, run_id: str) -> tuple[ShownMemory, ...]:
        with self.reading() as tx:
            uses = tx.list_uses(run_id=run_id)
        if not uses:
            return ()
        from factory_runtime.services.memory_uses import told_of

        return told_of(self.runtime.recaller.find, self.tenant, uses)

    def suggest(self, text: str, project: str | None) -> Suggestion:
        projects = None if project is None else (project,)
        return self.runtime.suggester.suggest(self.tenant, text, projects)

    @contextmanager
    def body_of(self, artifact: Artifact) -> Generator[BinaryIO]:
        from factory_runtime.services.artifact_readers import require_reader
        from factory_runtime.services.keep_artifacts import note_download
        from factory_runtime.services.read_artifact import note_reading, open_artifact

        with self.reading() as tx:
            require_reader(tx, self._reader(), artifact, self.now())
        body, _ = open_artifact(self.runtime.storage, artifact)
        note_reading(self.runtime.store, artifact, person(), self.now())
        with body:
            yield body
        if artifact.once_downloaded:
            with self.runtime.store.begin(self.tenant) as tx:
                note_download(tx, artifact.id, self.now())

    def link_to(self, artifact: Artifact, good_for: timedelta) -> Link:
        from factory_runtime.services.link_artifact import link_artifact

        runtime, reader = self.runtime, self._reader()
        return link_artifact(runtime.store, runtime.storage, reader, artifact, self.now(), good_for)

    def _reader(self) -> Principal:
        """Who types, on the machine that has the stores."""
        from factory_runtime.domain.access import Grant, Principal, Role

        return Principal(person(), self.tenant, (Grant(Role.ADMIN),))

    def list_effects(
        self, run_id: str | None, status: EffectStatus | None, *, limit: int, cursor: str | None
    ) -> tuple[tuple[Effect, ...], str | None]:
        with self.reading() as tx:
            if run_id is not None:
                tx.get_run(run_id)
            after = None if cursor is None else _effect_at(tx, cursor)
            found = tx.list_effects(run_id=run_id, status=status, limit=limit, after=after)
        return found, effect_name(found[-1]) if len(found) == limit else None

    def letter_groups(self, *, limit: int) -> tuple[LetterGroup, ...]:
        return self.runtime.store.letter_groups(tenant_id=self.tenant, limit=limit)

    def whole_fingerprint(self, beginning: str) -> str:
        from factory_runtime.services.dead_letters import find_fingerprint

        return find_fingerprint(self.runtime.store, self.tenant, beginning)

    def tried_with(self, letter: DeadLetter) -> tuple[AuditEntry, ...]:
        with self.reading() as tx:
            return tuple(reversed(tx.list_audit(subject=letter.id)))

    def hints_of(self, letter: DeadLetter) -> FailureHints:
        from factory_runtime.services.letter_hints import hints_of, look_up

        with self.reading() as tx:
            looked = look_up(tx, letter)
        return hints_of(letter, looked, self.runtime.recaller.recall)

    def read_audit(self, where: AuditFilter, *, limit: int, cursor: str | None) -> Page[AuditEntry]:
        from factory_runtime.services.read_audit import read_audit

        with self.reading() as tx:
            return read_audit(tx, where, limit=limit, cursor=cursor)

    def list_keys(self, *, good_at: datetime | None, limit: int) -> tuple[ApiKey, ...]:
        with self.reading() as tx:
            return tx.list_api_keys(good_at=good_at, limit=limit)

    def offers(self) -> tuple[tuple[Offer, ...], str | None]:
        from cli.desk.local_offers import find_offers

        return find_offers(self.runtime, self.tenant)

    def template_names(self) -> frozenset[str]:
        return frozenset(self.runtime.catalog.names(self.tenant))

    def template(self, name: str, version: str | None) -> tuple[Template, Publication | None]:
        self.refuse_unknown(name)
        catalog = self.runtime.catalog
        loaded = catalog.load(name, version, self.tenant)
        return loaded, catalog.publication_of(loaded, self.tenant)

    def refuse_unknown(self, name: str) -> None:
        """Here the template is what is looked for, not an input: a missing one is not found."""
        try:
            self.runtime.catalog.refuse_unknown(name, self.tenant)
        except InputError as exc:
            raise TemplateNotFoundError(str(exc), hint=exc.hint) from exc

    def _onlooker(self) -> Onlooker:
        return self.runtime.onlooker(executed=self.is_executed())


def _effect_at(tx: RunTransaction, cursor: str) -> Effect:
    run_id, _, rest = cursor.partition(":")
    step, _, kind = rest.rpartition(":")
    try:
        effects = tx.list_effects(run_id=run_id, step=step, limit=_OF_ONE_JOB)
    except NotFoundError:
        effects = ()
    for effect in effects:
        if effect.kind == kind:
            return effect
    raise InputError("the cursor is not one of ours", hint="begin without a cursor")
