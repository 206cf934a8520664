"""A factory in memory: real services over in-memory ports, job types that do as a test says."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from factory_runtime.artifacts.in_memory import InMemoryArtifactStorage
from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.errors import (
    CancelledError,
    PrefectUnavailableError,
    TransientError,
)
from factory_runtime.domain.job import Job, JobStatus
from factory_runtime.domain.progress import Ending
from factory_runtime.domain.records import Effect, OutboxMessage, RunEvent
from factory_runtime.domain.result import JobResult, Layer, RenderOrder, WaitUntil
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.hosts.in_memory import InMemoryGitHost
from factory_runtime.jobs.approval import ApprovalGate
from factory_runtime.jobs.render.limits import RenderLimits
from factory_runtime.ports import ArtifactStorage, FileTree, GitHost, JobContext, JobType, RunStore
from factory_runtime.run_store import InMemoryRunStore
from factory_runtime.services.attempt import AnotherAttempt, Begun
from factory_runtime.services.catalog import TemplateCatalog
from factory_runtime.services.claim_job import begin_attempt
from factory_runtime.services.dispatch import CANCELLED_IN_PREFECT, admit
from factory_runtime.services.end_run import close_run_if_done
from factory_runtime.services.engine import Engine, Walk, begin_walk
from factory_runtime.services.kept_templates import KeptTemplates
from factory_runtime.services.locks import find_walker
from factory_runtime.services.request_desk import RequestDesk
from factory_runtime.services.request_run import request_run
from factory_runtime.services.run_attempt import fail_attempt, publish_attempt
from factory_runtime.telemetry import worker_name
from tests.builders import NOON, a_run_request

SUCCEEDED = Ending(JobStatus.SUCCEEDED)
THRICE = "retry: {max_attempts: 3, delays: [1s, 5s], jitter: 0}"
"""For a step: two more attempts, a second and then five seconds later."""

Behaviour = Callable[[JobContext, Mapping[str, Any]], JobResult | WaitUntil]


class SettableClock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.at = NOON

    def now(self) -> datetime:
        return self.at

    def pass_time(self, time: timedelta = timedelta(seconds=1)) -> None:
        self.at += time


class Act:
    """A job type that renders nothing and does what was said of the step; else it succeeds."""

    facts = JobTypeFacts(
        name="act",
        version="1",
        with_schema={
            "type": "object",
            "properties": {"text": {"type": "string"}, "number": {"type": "integer"}},
        },
    )

    def __init__(self, behaviours: Mapping[str, Behaviour]) -> None:
        self._behaviours = behaviours
        self.probes: dict[str, Callable[[Effect], str | None]] = {}

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        del with_
        return None

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult | WaitUntil:
        del tree
        behaviour = self._behaviours.get(context.facts.step)
        return JobResult(outputs=dict(with_)) if behaviour is None else behaviour(context, with_)

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        del host
        return self.probes.get(effect.kind, lambda _: None)(effect)


class Paint(Act):
    """A job type with a render of one source."""

    facts = JobTypeFacts(
        name="paint",
        version="7",
        with_schema={
            "type": "object",
            "required": ["source"],
            "properties": {"source": {"type": "string"}, "data": {"type": "object"}},
        },
    )

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        return RenderOrder((Layer(with_["source"], with_.get("data", {})),))


class FlowRuns:
    """A Prefect that makes one flow run for each run, as ``ports.Launcher`` says; or is away.

    Attributes:
        made: flow run by run.
        shown: the runs' statuses that it was told, in order.
        cancelled: flow runs that somebody cancelled in it.
    """

    def __init__(self) -> None:
        self.away = False
        self.made: dict[str, str] = {}
        self.shown: list[tuple[str, RunStatus]] = []
        self.cancelled: set[str] = set()
        self._lock = threading.Lock()

    def launch(self, run: Run) -> str:
        self._refuse_if_away()
        if run.flow_run_id in self.cancelled:
            raise CancelledError(CANCELLED_IN_PREFECT)
        with self._lock:
            return run.flow_run_id or self.made.setdefault(run.id, f"flow-of-{run.id}")

    def hand_over(self, run: Run) -> timedelta:
        del run
        return timedelta(0)

    def find_unattended(self, flow_run_ids: Sequence[str]) -> frozenset[str]:
        self._refuse_if_away()
        return frozenset(flow_run_ids).difference(self.made.values())

    def show_status(self, run: Run) -> None:
        self._refuse_if_away()
        self.shown.append((run.id, run.status))

    def find_cancelled(self, flow_run_ids: Sequence[str]) -> frozenset[str]:
        self._refuse_if_away()
        return frozenset(self.cancelled.intersection(flow_run_ids))

    def _refuse_if_away(self) -> None:
        if self.away:
            raise PrefectUnavailableError("no Prefect server answers")


class SmallFactory:
    """Everything that executes a run, but for Prefect.

    Attributes:
        on: what a step's publishing half does, by the name of the job.
    """

    def __init__(self, folder: Path, store: RunStore | None = None) -> None:
        self.folder = folder
        self.clock = SettableClock()
        self.store: RunStore = InMemoryRunStore() if store is None else store
        self.storage = InMemoryArtifactStorage()
        self.host = InMemoryGitHost()
        self.on: dict[str, Behaviour] = {}
        self.job_types: dict[str, JobType] = {
            "act": Act(self.on),
            "paint": Paint(self.on),
            "approval": ApprovalGate(),
        }
        self.kept = KeptTemplates(
            lambda: self.store, self.storage, folder.parent / "kept", RenderLimits()
        )
        facts = {name: job_type.facts for name, job_type in self.job_types.items()}
        self.catalog = TemplateCatalog([folder], facts, kept=self.kept)
        self.desk = RequestDesk(self.store, self.storage, self.catalog, self.clock)
        self.engine = self.engine_of(worker_name())

    def engine_of(
        self,
        worker: str,
        store: RunStore | None = None,
        storage: ArtifactStorage | None = None,
    ) -> Engine:
        """An executor of that name; on a store or storage of its own that may fail it."""
        return Engine(
            store=store or self.store,
            storage=storage or self.storage,
            host=self.host,
            job_types=self.job_types,
            clock=self.clock,
            worker=worker,
            environment="tests",
        )

    # templates and requests

    def template(self, text: str, *, name: str = "demo", version: str = "1.0.0") -> Path:
        """Write a template; ``files`` is a source in it."""
        folder = self.folder / name
        (folder / "files").mkdir(parents=True, exist_ok=True)
        (folder / "files" / "readme.txt").write_text("hello\n")
        head = f"id: {name}\nversion: {version}\ntitle: Demo\ndescription: Shows a rule.\n"
        (folder / "template.yaml").write_text(head + textwrap.dedent(text))
        return folder

    def request(self, template: str = "demo", inputs: Any = None, **values: Any) -> Run:
        request = a_run_request(template=template, inputs=inputs or {}, **values)
        return request_run(self.desk, request)

    # executing

    def start(self, text: str, inputs: Any = None, **values: Any) -> Walk:
        """Write a template, request a run of it, admit it and take it up."""
        self.template(text)
        return self.take_up(self.request(inputs=inputs, **values))

    def take_up(self, run: Run, flow_run_id: str = "flow-1", engine: Engine | None = None) -> Walk:
        self.admit(run)
        taken = begin_walk(engine or self.engine, run.tenant_id, run.id, flow_run_id)
        assert isinstance(taken, Walk)
        return taken

    def take_over(self, walk: Walk, engine: Engine | None = None) -> Walk:
        """Take a run up whose process was stopped, after its lease has run out."""
        self.clock.pass_time(self.engine.lease)
        return self.take_up(walk.run, str(walk.run.flow_run_id), engine)

    def admit(self, run: Run) -> Run:
        """Give the run a slot, if it wants one."""
        return admit(self.store, self.clock, self.run(run), 1000, worker_name())

    def begin(self, walk: Walk, name: str, engine: Engine | None = None) -> Begun:
        begun = begin_attempt(engine or self.engine, walk, name)
        assert isinstance(begun, Begun)
        return begun

    def attempt(
        self, walk: Walk, name: str, engine: Engine | None = None
    ) -> Ending | AnotherAttempt:
        """One attempt of a job, as the task of the job makes it."""
        engine = engine or self.engine
        begun = begin_attempt(engine, walk, name)
        if not isinstance(begun, Begun):
            return begun
        try:
            return publish_attempt(engine, walk, begun, None)
        except Exception as error:
            return fail_attempt(engine, walk, begun, error)

    def finish(self, walk: Walk, name: str, engine: Engine | None = None) -> Ending:
        """As many attempts of a job as the store allows, the waits between them skipped."""
        while isinstance(ended := self.attempt(walk, name, engine), AnotherAttempt):
            self.clock.at = max(self.clock.at, ended.not_before)
        return ended

    def drive(self, walk: Walk, engine: Engine | None = None) -> Run:
        """Do every job once its needs have ended; the run as it then stands."""
        while ready := self.ready(walk):
            self.finish(walk, ready[0], engine)
        return close_run_if_done(engine or self.engine, walk)

    def ready(self, walk: Walk) -> list[str]:
        """Jobs that have not ended and wait for nobody."""
        return [
            job.name
            for job in walk.plan.jobs
            if job.name not in walk.endings and all(need in walk.endings for need in job.needs)
        ]

    def complete(self, text: str, inputs: Any = None) -> Run:
        return self.drive(self.start(text, inputs))

    # what stands in the store

    def walker(self, run: Run) -> str | None:
        """The living process that executes the run, or is about to."""
        with self.store.begin(run.tenant_id, read_only=True) as tx:
            return find_walker(tx, run.id, self.clock.now())

    def effects(self, run: Run) -> Sequence[Effect]:
        with self.store.begin(run.tenant_id, read_only=True) as tx:
            return tx.list_effects(run_id=run.id)

    def run(self, run: Run) -> Run:
        with self.store.begin(run.tenant_id, read_only=True) as tx:
            return tx.get_run(run.id)

    def jobs(self, run: Run) -> dict[str, Job]:
        with self.store.begin(run.tenant_id, read_only=True) as tx:
            return {job.step: job for job in tx.list_jobs(run.id)}

    def attempts(self, run: Run, step: str | None = None) -> Sequence[Attempt]:
        with self.store.begin(run.tenant_id, read_only=True) as tx:
            return tx.list_attempts(run.id, step)

    def events(self, run: Run, kind: str | None = None) -> list[RunEvent]:
        with self.store.begin(run.tenant_id, read_only=True) as tx:
            return [event for event in tx.list_events(run.id) if kind in (None, event.kind)]

    def moves(self, run: Run, step: str | None = None) -> list[str | None]:
        """The statuses that a job, or the run itself, went through."""
        kind = "run" if step is None else "job"
        return [event.to_status for event in self.events(run, kind) if event.step == step]

    def detail(self, run: Run, step: str, status: JobStatus) -> Mapping[str, Any]:
        """The facts beside the one move of a job into a status."""
        (event,) = (
            event
            for event in self.events(run, "job")
            if (event.step, event.to_status) == (step, status.value)
        )
        return event.detail

    def messages(self, topic: str | None = None) -> list[OutboxMessage]:
        """What the outbox holds, due or not."""
        far = self.clock.at + timedelta(days=3650)
        return [m for m in self.store.due_messages(far, 10_000) if topic in (None, m.topic)]


def steps(*lines: str) -> str:
    """A template's steps, one a line: ``name: more keys in YAML's flow style``."""
    written = [f"  - {{name: {line.replace(':', ', type: act,', 1)}}}" for line in lines]
    return "\n".join(["steps:", *written, ""])


def gives(**outputs: Any) -> Behaviour:
    return lambda _context, _with: JobResult(outputs=outputs)


def fails(error: BaseException, times: int | None = None) -> Behaviour:
    """Raises the error; after so many times it succeeds."""
    left = [times]

    def behaviour(context: JobContext, with_: Mapping[str, Any]) -> JobResult:
        del context
        if left[0] == 0:
            return JobResult(outputs=dict(with_))
        left[0] = None if left[0] is None else left[0] - 1
        raise error.with_traceback(None)  # else the traces of all raises hang on it

    return behaviour


def busy(seconds: float | None = None) -> TransientError:
    wait = None if seconds is None else timedelta(seconds=seconds)
    return TransientError("the host is busy", hint="wait", retry_after=wait)


def raises(error: BaseException) -> Any:
    """What a test puts in the place of something that breaks."""

    def broken(*_arguments: Any) -> Any:
        raise error

    return broken
