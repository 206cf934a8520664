"""Job types that break the rules, or fail: FACTORY_JOB_TYPES='["tests.careless_types"]'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from factory_runtime.domain.errors import PermanentError
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import ConfirmedEffect, JobResult
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.domain.tree import TreeFile
from factory_runtime.jobs.publishing import probe_commit
from factory_runtime.ports import CommitOrder, FileTree, GitHost, JobContext
from tests.work_types import ANYTHING, QUICK, Work


class Doubling(Work):
    """Commits once per attempt: it names its commit by the attempt, and does not look first."""

    facts = JobTypeFacts("doubling", "1", ANYTHING, source_keys=(), retry=QUICK)

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        mine, name = context.facts, with_["repository"]
        place = {"project_id": mine.project_id, "repository": name}
        context.intend("repository", name, place)
        repository = context.host.ensure_repository(
            mine.tenant_id, mine.project_id, name, effect_key=mine.effect_key, description=""
        )
        context.intend("commit", name, place)
        attempt = ("Attempt", f"{mine.run_id} {mine.attempt}")
        named = (("Factory-Run", mine.run_id), attempt, ("Factory-Step", mine.step))
        order = CommitOrder(mine.project_id, name, "Again", named, "careless", context.now())
        commit = context.host.ensure_commit(
            mine.tenant_id, order, [TreeFile("again.txt", b"once more\n")]
        )
        effects = (
            ConfirmedEffect("repository", repository.id),
            ConfirmedEffect("commit", commit.sha),
        )
        return JobResult(effects=effects)

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        if effect.kind == "commit":
            return probe_commit(host, effect)
        place = (effect.facts["project_id"], effect.facts["repository"])
        found = host.find_repository(effect.tenant_id, *place)
        return None if found is None else found.id


class Moody(Work):
    """Asks the host for what is there already, and only in the first two projects of a proof."""

    facts = JobTypeFacts("moody", "1", ANYTHING, source_keys=(), retry=QUICK)

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del tree
        mine = context.facts
        if mine.project_id in {"prove-1", "prove-2"}:
            context.host.ensure_repository(
                mine.tenant_id,
                mine.project_id,
                with_["repository"],
                effect_key=mine.effect_key,
                description="",
            )
        return JobResult()


class Refusing(Work):
    """Fails, for good."""

    facts = JobTypeFacts("refusing", "1", ANYTHING, source_keys=(), retry=QUICK)

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult:
        del context, with_, tree
        raise PermanentError("it will not be done")


JOB_TYPES = [Doubling(), Moody(), Refusing()]
