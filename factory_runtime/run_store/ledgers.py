"""The run store's transaction: artifacts, effects, outbox, templates, requests, locks."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime

from sqlalchemy import and_, exists, or_

from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.errors import (
    ArtifactNotFoundError,
    ConflictError,
    NotFoundError,
    TemplateChangedError,
)
from factory_runtime.domain.records import (
    Breaker,
    Effect,
    EffectStatus,
    Lock,
    OutboxMessage,
    RequestRecord,
    TemplateRecord,
)
from factory_runtime.run_store.paging import among, beyond, equal
from factory_runtime.run_store.records import (
    ARTIFACTS,
    BREAKERS,
    EFFECTS,
    LOCKS,
    MESSAGES,
    REQUESTS,
    TEMPLATES,
)
from factory_runtime.run_store.rows import Condition, TenantRows
from factory_runtime.run_store.tables import (
    artifacts,
    effects,
    locks,
    outbox,
    runs,
    templates,
)


class Ledgers:
    """``ports.ledger_records``: everything of a transaction that is neither run nor job."""

    def __init__(self, rows: TenantRows) -> None:
        self._rows = rows
        self._registered: dict[tuple[str, str], str] = {}

    # artifacts

    def add_artifacts(self, artifacts: Iterable[Artifact]) -> None:
        for artifact in artifacts:
            self._rows.put(
                ARTIFACTS,
                artifact,
                key=("tenant_id", "run_id", "step", "kind", "name"),
                keep=("id", "creator", "created_at", "accessed_at"),
            )

    def get_artifact(self, artifact_id: str) -> Artifact:
        artifact = self._rows.find(ARTIFACTS, id=artifact_id)
        if artifact is None:
            raise ArtifactNotFoundError(f"no artifact {artifact_id}")
        return artifact

    def list_artifacts(
        self,
        *,
        run_id: str | None = None,
        project_id: str | None = None,
        kind: ArtifactKind | None = None,
        projects: Collection[str] | None = None,
        limit: int = 200,
        after: Artifact | None = None,
    ) -> tuple[Artifact, ...]:
        columns = artifacts.c
        where = equal(
            (columns.run_id, run_id), (columns.project_id, project_id), (columns.kind, kind)
        )
        where += among(columns.project_id, projects)
        age = (columns.created_at, columns.id)
        rising = run_id is not None
        if after is not None:
            where.append(beyond(*age, after.created_at, after.id, rising=rising))
        order = age if rising else tuple(column.desc() for column in age)
        return self._rows.list(ARTIFACTS, *where, order_by=order, limit=limit)

    def find_last_artifact(self, project_id: str, kind: ArtifactKind, name: str) -> Artifact | None:
        found = self._rows.list(
            ARTIFACTS,
            artifacts.c.project_id == project_id,
            artifacts.c.kind == kind,
            artifacts.c.name == name,
            artifacts.c.body_deleted_at.is_(None),
            order_by=(artifacts.c.created_at.desc(), artifacts.c.id.desc()),
            limit=1,
        )
        return found[0] if found else None

    def touch_artifact(self, artifact_id: str, accessed_at: datetime) -> None:
        changes = {"accessed_at": accessed_at}
        if not self._rows.update(ARTIFACTS, changes, artifacts.c.id == artifact_id):
            raise ArtifactNotFoundError(f"no artifact {artifact_id}")

    # effects

    def intend_effect(self, effect: Effect) -> Effect:
        if self._rows.insert_if_absent(EFFECTS, effect):
            return effect
        return self._get_effect(effect.effect_key, effect.kind)

    def intend_elsewhere(self, before: Effect, after: Effect) -> None:
        changes = {"target": after.target, "facts": after.facts, "intended_at": after.intended_at}
        moved = self._rows.update(
            EFFECTS,
            changes,
            effects.c.effect_key == before.effect_key,
            effects.c.kind == before.kind,
            effects.c.target == before.target,
            effects.c.intended_at == before.intended_at,
            effects.c.status == EffectStatus.INTENDED,
        )
        stands = self._get_effect(before.effect_key, before.kind)
        if not moved and stands != replace(stands, **changes):
            raise ConflictError(
                f"effect {before.effect_key} ({before.kind}) changed meanwhile: {stands.target}",
                hint="try it again",
            )

    def confirm_effect(
        self, effect_key: str, kind: str, reference: str, at: datetime, *, link: str | None = None
    ) -> None:
        """Repeating it changes nothing, but that a link is kept that was not known before.

        Raises:
            NotFoundError: it was never intended.
            ConflictError: it was confirmed with another reference: there are two results.
        """
        changes = {
            "status": EffectStatus.CONFIRMED,
            "reference": reference,
            "confirmed_at": at,
            "link": link,
        }
        confirmed = self._rows.update(
            EFFECTS,
            changes,
            effects.c.effect_key == effect_key,
            effects.c.kind == kind,
            effects.c.status == EffectStatus.INTENDED,
        )
        if not confirmed:
            stands = self._get_effect(effect_key, kind)
            if stands.reference != reference:
                raise ConflictError(
                    f"effect {effect_key} ({kind}) left {stands.reference}, and now {reference}",
                    hint="look at both and remove the one that is too many",
                )
            if link is not None and stands.link is None:
                self._rows.update(
                    EFFECTS,
                    {"link": link},
                    effects.c.effect_key == effect_key,
                    effects.c.kind == kind,
                )

    def list_effects(
        self,
        *,
        run_id: str | None = None,
        step: str | None = None,
        status: EffectStatus | None = None,
        projects: Collection[str] | None = None,
        limit: int = 1000,
        after: Effect | None = None,
    ) -> tuple[Effect, ...]:
        """Oldest first; ``after`` continues behind the last one of a page."""
        columns = effects.c
        where = equal((columns.run_id, run_id), (columns.step, step), (columns.status, status))
        if projects is not None:
            where.append(_of_projects(projects))
        order = (columns.intended_at, columns.effect_key, columns.kind)
        if after is not None:
            where.append(_behind(after))
        return self._rows.list(EFFECTS, *where, order_by=order, limit=limit)

    def _get_effect(self, effect_key: str, kind: str) -> Effect:
        found = self._rows.find(EFFECTS, effect_key=effect_key, kind=kind)
        if found is None:
            raise NotFoundError(f"no effect {effect_key} ({kind})")
        return found

    # outbox

    def add_message(self, message: OutboxMessage) -> None:
        self._rows.insert_where_absent(MESSAGES, [message])

    def find_message(self, message_id: str) -> OutboxMessage | None:
        return self._rows.find(MESSAGES, id=message_id)

    def save_message(self, message: OutboxMessage) -> None:
        if not self._rows.update(MESSAGES, MESSAGES.row_of(message), outbox.c.id == message.id):
            raise NotFoundError(f"no message {message.id}")

    # breakers

    def find_breaker(self, host: str) -> Breaker | None:
        return self._rows.find(BREAKERS, host=host)

    def lock_breaker(self, host: str) -> Breaker | None:
        return self.find_breaker(host) if self._rows.lock(BREAKERS, host=host) else None

    def save_breaker(self, breaker: Breaker) -> None:
        self._rows.put(BREAKERS, breaker, key=("tenant_id", "host"))

    # templates and requests

    def register_template(self, template: TemplateRecord) -> bool:
        name = (template.template_id, template.version)
        if self._registered.get(name) == template.digest:
            return False  # a moment ago, in this transaction
        is_new = self._register(template)
        self._registered[name] = template.digest
        return is_new

    def _register(self, template: TemplateRecord) -> bool:
        published = self._find_template(template)  # as nearly always, and nothing is written
        if published is None:
            if self._rows.insert_if_absent(TEMPLATES, template):
                return True
            published = self._find_template(template)
        if published is None or published.digest != template.digest:
            raise TemplateChangedError(
                f"template {template.template_id} {template.version} is published with other"
                " content",
                hint="a published version stays as it is: raise `version` in template.yaml",
            )
        return False

    def _find_template(self, template: TemplateRecord) -> TemplateRecord | None:
        id_, version = template.template_id, template.version
        return self._rows.find(TEMPLATES, template_id=id_, version=version)

    def list_templates(self) -> tuple[TemplateRecord, ...]:
        """By id, each with its versions in the order of their publication."""
        order = (templates.c.template_id, templates.c.published_at, templates.c.version)
        return self._rows.list(TEMPLATES, order_by=order)

    def find_request(self, idempotency_key: str) -> RequestRecord | None:
        return self._rows.find(REQUESTS, idempotency_key=idempotency_key)

    def add_request(self, request: RequestRecord) -> None:
        self._rows.insert(REQUESTS, [request])

    # locks

    def try_lock(self, name: str, holder: str, now: datetime, expires_at: datetime) -> bool:
        free = (locks.c.holder == holder) | (locks.c.expires_at <= now)
        changes = {"holder": holder, "expires_at": expires_at}
        if self._rows.update(LOCKS, changes, locks.c.name == name, free):
            return True
        lock = Lock(self._rows.tenant_id, name, holder, expires_at)
        return self._rows.insert_if_absent(LOCKS, lock)

    def renew_lock(self, name: str, holder: str, expires_at: datetime) -> bool:
        changes = {"expires_at": expires_at}
        return self._rows.change(LOCKS, changes, name=name, holder=holder) == 1

    def unlock(self, name: str, holder: str) -> None:
        self._rows.delete(LOCKS, locks.c.name == name, locks.c.holder == holder)

    def find_lock_holder(self, name: str, now: datetime) -> str | None:
        lock = self._rows.find(LOCKS, name=name)
        return lock.holder if lock and lock.expires_at > now else None


def _of_projects(projects: Collection[str]) -> Condition:
    of_run = (runs.c.tenant_id == effects.c.tenant_id, runs.c.id == effects.c.run_id)
    return exists().where(*of_run, runs.c.project_id.in_(projects))


def _behind(effect: Effect) -> Condition:
    columns = effects.c
    same_kind = and_(columns.effect_key == effect.effect_key, columns.kind > effect.kind)
    same_moment = or_(columns.effect_key > effect.effect_key, same_kind)
    at = columns.intended_at
    # The first condition says nothing new, but it is the one an index can be entered by.
    return and_(
        at >= effect.intended_at,
        or_(at > effect.intended_at, and_(at == effect.intended_at, same_moment)),
    )
