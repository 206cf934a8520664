"""A small factory whose git host offers more than repositories."""

from __future__ import annotations

from pathlib import Path

from factory_runtime.domain.progress import Ending
from factory_runtime.jobs.pipeline_run import PipelineRun
from factory_runtime.jobs.pull_request import PullRequestJob
from factory_runtime.jobs.work_item import WorkItemJob
from factory_runtime.ports import JobType
from factory_runtime.services.attempt import AnotherAttempt, Begun
from factory_runtime.services.catalog import TemplateCatalog
from factory_runtime.services.engine import Walk
from factory_runtime.services.request_desk import RequestDesk
from factory_runtime.services.run_attempt import publish_attempt
from factory_runtime.telemetry import worker_name
from tests.builders import TENANT
from tests.deliveries import MemoryDelivery, OfferingGitHost
from tests.undoing import UndoFactory


class OfferingFactory(UndoFactory):
    """It has the job types that use what a host offers."""

    def __init__(self, folder: Path, *more: JobType) -> None:
        super().__init__(folder)
        self.offering = OfferingGitHost()
        self.host = self.offering
        self.offering.ensure_repository(
            TENANT, "shop", "orders", effect_key="run-0:generate", description="Takes orders"
        )
        self.job_types |= {
            one.facts.name: one for one in (PipelineRun(), PullRequestJob(), WorkItemJob(), *more)
        }
        facts = {name: job_type.facts for name, job_type in self.job_types.items()}
        self.catalog = TemplateCatalog([folder], facts, kept=self.kept)
        self.desk = RequestDesk(self.store, self.storage, self.catalog, self.clock)
        self.engine = self.engine_of(worker_name())

    @property
    def offer(self) -> MemoryDelivery:
        return self.offering.offer

    def publish(self, walk: Walk, begun: Begun) -> Ending | AnotherAttempt:
        """The publishing half alone; what it raises is raised."""
        return publish_attempt(self.engine, walk, begun, None)
