"""Jobs that are sent to another queue, on the in-memory store: both ends of the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.progress import Ending
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.services.attempt import AnotherAttempt
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.engine import Walk
from factory_runtime.services.put_down import put_down
from factory_runtime.services.routed_job import begin_routed, leave_routed
from factory_runtime.services.topics import SEND_JOB
from factory_runtime.services.wake_run import wake_run
from tests.small_factory import SmallFactory

PLACE = "docs-pool/docs"


class Routed:
    """A small factory whose jobs of a type go elsewhere.

    Attributes:
        engine: of those who walk runs.
        there: of the workers of the other queue; the same settings.
    """

    def __init__(self, factory: SmallFactory, type_: str = "act", **caps: int) -> None:
        self.factory = factory
        self.engine = replace(factory.engine, routes={type_: PLACE}, topic_caps=caps)
        self.there = replace(self.engine, worker="elsewhere:7")
        self._made = 0

    def start(self, text: str) -> Walk:
        self.factory.template(text)
        return self.factory.take_up(self.factory.request(), engine=self.engine)

    def send(self, walk: Walk, name: str) -> AnotherAttempt:
        """What the walk of the run does with a job."""
        sent = begin_attempt(self.engine, walk, name)
        assert isinstance(sent, AnotherAttempt)
        assert walk.jobs[name].routed_to == PLACE, sent
        return sent

    def deliver(self, run: Run, step: str) -> str:
        """Make a flow run for a job that was sent, as the outbox's handler does."""
        self._made += 1
        job, flow_run_id = self.job(run, step), f"there-{self._made}"
        with self.factory.store.begin(run.tenant_id) as tx:
            assert tx.note_route(job, flow_run_id, "waits for a worker")
        return flow_run_id

    def walk_there(self, flow_run_id: str) -> Walk:
        walk = begin_routed(self.there, flow_run_id)
        assert walk is not None
        return walk

    def do(self, flow_run_id: str) -> Ending | AnotherAttempt:
        """All that a worker there does about a flow run."""
        walk = self.walk_there(flow_run_id)
        done = self.factory.attempt(walk, str(walk.routed), self.there)
        due = done.not_before if isinstance(done, AnotherAttempt) else None
        leave_routed(self.there, walk, flow_run_id, due)
        return done

    def put_down(self, walk: Walk) -> Run:
        """What a walk does all of whose jobs wait."""
        later = max(job.not_before for job in walk.jobs.values() if job.not_before is not None)
        down = put_down(self.engine, walk, RunStatus.WAITING, later)
        assert down.status is RunStatus.WAITING
        return down

    def take_up(self, run: Run) -> Walk:
        return self.factory.take_up(run, str(self.factory.run(run).flow_run_id), self.engine)

    def wake(self, run: Run) -> Run:
        """Have a run that waits want a slot."""
        with self.factory.store.begin(run.tenant_id) as tx:
            return wake_run(tx, tx.lock_run(run.id), self.factory.clock.at, self.factory.clock.at)

    def is_due(self, run: Run) -> bool:
        """Whether the run wants a slot again."""
        current = self.factory.run(run)
        return current.wake_at is not None and current.wake_at <= self.factory.clock.at

    def job(self, run: Run, step: str) -> Job:
        return self.factory.jobs(run)[step]

    def statuses(self, run: Run) -> Mapping[str, JobStatus]:
        return {step: job.status for step, job in self.factory.jobs(run).items()}

    def asked(self) -> int:
        """How many flow runs were asked for."""
        return len(self.factory.messages(SEND_JOB))
