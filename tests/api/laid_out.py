"""Rows of everything that the API tells of, laid out in a site's store."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from factory_runtime.domain.approval import Approval
from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.dead_letter import DeadLetter, RedriveOrder
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.memory import MemoryUse
from factory_runtime.domain.records import Effect
from factory_runtime.domain.run import RunStatus
from factory_runtime.services.ask_people import plan_digest
from tests.api.site import ApiSite, somebody
from tests.builders import (
    a_failure_kind,
    a_letter,
    a_memory,
    a_redrive_order,
    an_approval,
    an_effect,
)
from tests.builders import an_artifact as a_bare_artifact

TEXT = b"# Orders\n\nhow to run it\n"


@dataclass(frozen=True)
class LaidOut:
    """What one project has: a run that failed, and all that hangs on one.

    Attributes:
        waiting: a run whose first job asks people; ``approval`` is what it asks.
    """

    project: str
    failed: str
    waiting: str
    letter: DeadLetter
    order: RedriveOrder
    approval: Approval
    effect: Effect
    artifact: Artifact


def lay_out(site: ApiSite, project: str, tenant: str = "acme") -> LaidOut:
    client = site.client(somebody(tenant_id=tenant))
    failed, waiting = (site.run(client, projectId=project) for _ in range(2))
    now = site.runtime.clock.now()
    digest = hashlib.sha256(TEXT).hexdigest()
    site.runtime.storage.put(tenant, TEXT)
    with site.store.begin(tenant) as tx:
        run = tx.get_run(failed)
        for status in (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.FAILED):
            before, run = run, run.move_to(status, now)
            tx.save_run(before, run)
        job = tx.get_job(failed, "make")
        for status in (JobStatus.RUNNING, JobStatus.FAILED):
            before, job = job, job.move_to(status, now)
            tx.save_job(before, job)
        asking = tx.get_job(waiting, "make")
        tx.add_failure_kind(a_failure_kind(tenant_id=tenant, first_seen=now))
        letter = a_letter(job, project_id=project, template_id="service", failed_at=now)
        order = a_redrive_order(tenant_id=tenant, project_id=project, requested_at=now)
        approval = an_approval(
            asking,
            project_id=project,
            plan_digest=plan_digest(tx.get_run(waiting)),
            requested_at=now,
            expires_at=now.replace(year=now.year + 1),
            count=1,
        )
        effect = an_effect(run, step="make", effect_key=f"{failed}:make", intended_at=now)
        artifact = a_bare_artifact(
            run,
            step="make",
            kind=ArtifactKind.DOCUMENT,
            name="docs/orders.md",
            media_type="text/markdown",
            uri=f"artifact:sha256:{digest}",
            sha256=digest,
            size=len(TEXT),
            created_at=now,
        )
        tx.add_dead_letter(letter)
        tx.add_redrive_order(order)
        tx.add_approval(approval)
        tx.intend_effect(effect)
        tx.add_artifacts([artifact])
        memory = a_memory(id=f"mem-of-{project}", tenant_id=tenant, project_id=project)
        tx.save_memories([memory])
        tx.add_uses([MemoryUse(tenant, failed, "make", memory.id, project, 1, 0.9, now, now)])
    return LaidOut(project, failed, waiting, letter, order, approval, effect, artifact)


def confidential(site: ApiSite, what: LaidOut) -> None:
    """Have its artifact be confidential from now on."""
    from factory_runtime.domain.artifact import Classification

    with site.store.begin(what.artifact.tenant_id) as tx:
        tx.add_artifacts([replace(what.artifact, classification=Classification.CONFIDENTIAL)])
