"""What the job types of reports are tried on: an attempt's context, and whole runs of a report."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from factory_runtime.artifacts.in_memory import InMemoryArtifactStorage
from factory_runtime.artifacts.local import LocalArtifactStorage
from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.errors import CancelledError, SuspendedError
from factory_runtime.domain.memory import Recalled
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import JobResult, WaitUntil
from factory_runtime.domain.run import Run
from factory_runtime.jobs.report.chart import Chart
from factory_runtime.jobs.report.document import Document
from factory_runtime.jobs.report.fetch import DataFetch
from factory_runtime.jobs.report.trends import TrendAnalysis
from factory_runtime.ports import Credentials, JobFacts, JobType, RunStore
from factory_runtime.services.catalog import TemplateCatalog
from factory_runtime.services.children import Children
from factory_runtime.services.request_desk import RequestDesk
from factory_runtime.settings import Settings
from factory_runtime.telemetry import worker_name
from tests.builders import NOON, TENANT
from tests.small_factory import SmallFactory


@dataclass
class Lent:
    """An attempt's context with a storage, copies, checkpoints and real programs.

    Attributes:
        copies: what ``find_last_copy`` finds, by name.
        saved: the last checkpoint.
        stop_after: checkpoints until the job is to stop.
    """

    facts: JobFacts
    storage: InMemoryArtifactStorage = field(default_factory=InMemoryArtifactStorage)
    copies: dict[str, Artifact] = field(default_factory=dict[str, Artifact])
    saved: Mapping[str, Any] | None = None
    lines: list[str] = field(default_factory=list[str])
    children: Children = field(default_factory=Children)
    started: int = 0
    stop_after: int = 1000
    cancelled: bool = False

    def now(self) -> Any:
        return NOON

    def checkpoint(self) -> Mapping[str, Any] | None:
        return self.saved

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        self.saved = json.loads(json.dumps(state))
        self.stop_after -= 1

    def safe_point(self) -> None:
        if self.stop_after <= 0:
            raise SuspendedError("stopped at a safe point")

    def progress(self, share: float, phrase: str) -> None:
        assert 0 <= share <= 1
        self.lines.append(phrase)

    def start_child(self, arguments: Any, **more: Any) -> subprocess.Popen[bytes]:
        self.started += 1
        return self.children.start(arguments, **more)

    def credentials(self) -> Credentials:
        raise NotImplementedError

    def list_effects(self) -> tuple[Effect, ...]:
        raise NotImplementedError

    def find_last_copy(self, kind: ArtifactKind, name: str) -> Artifact | None:
        assert kind is ArtifactKind.FILE
        return self.copies.get(name)

    def recall(self, query: str, kinds: Any = None, k: int = 5) -> tuple[Recalled, ...]:
        raise NotImplementedError((query, kinds, k))

    def log(self, message: str) -> None:
        self.lines.append(message)

    def check_cancelled(self) -> None:
        if self.cancelled:
            raise CancelledError("asked to stop")

    def keep(self, result: JobResult) -> None:
        """Have a later run find what this one made."""
        for draft in result.artifacts:
            self.copies[draft.name] = Artifact(
                f"art-{draft.name}",
                TENANT,
                "run-0",
                "fetch",
                draft.kind,
                draft.name,
                draft.uri,
                draft.media_type,
                "run-0:fetch:1",
                NOON,
                "shop",
                size=draft.size,
                sha256=draft.sha256,
                classification=draft.classification,
                metadata=draft.metadata,
            )


@contextmanager
def lent(step: str = "fetch[sales]", *, last_attempt: bool = False) -> Generator[Any]:
    """A context whose programs are gone afterwards; untyped, as it is no whole JobContext."""
    facts = JobFacts(
        TENANT,
        "shop",
        "run-1",
        step,
        1,
        f"run-1:{step}",
        "report",
        "1.0.0",
        "ada",
        last_attempt=last_attempt,
    )
    context = Lent(facts)
    try:
        yield context
    finally:
        context.children.kill_all()


def published(job_type: JobType, context: Any, with_: Mapping[str, Any]) -> JobResult:
    result = job_type.publish(context, with_, None)
    assert isinstance(result, JobResult)
    return result


def gives_up(*_: Any, **__: Any) -> JobResult | WaitUntil:
    raise RuntimeError("the drawing library fell over")


class ReportFactory(SmallFactory):
    """A small factory with the real job types of reports, on a storage in a folder."""

    def __init__(self, folder: Path, store: RunStore | None = None, **settings: Any) -> None:
        super().__init__(folder, store)
        self.settings = Settings(home=folder / "home", **settings)
        self.storage: Any = LocalArtifactStorage(self.settings.artifacts_folder)
        types: list[JobType] = [
            DataFetch(lambda: self.settings),
            TrendAnalysis(),
            Chart(),
            Document(),
        ]
        self.job_types.update({job_type.facts.name: job_type for job_type in types})
        facts = {name: job_type.facts for name, job_type in self.job_types.items()}
        self.catalog = TemplateCatalog([folder], facts)
        self.desk = RequestDesk(self.store, self.storage, self.catalog, self.clock)
        self.engine = self.engine_of(worker_name(), storage=self.storage)

    def report(self, *sources: Mapping[str, Any], **inputs: Any) -> Run:
        """A whole run of the built-in template over these sources, a minute after the last one."""
        self.clock.pass_time(timedelta(minutes=1))
        given = {"sources": list(sources), **inputs}
        run = self.request("report", given, project_id="shop")
        return self.drive(self.take_up(run, f"flow-{run.id}"))

    def artifact(self, run: Run, name: str) -> Artifact | None:
        with self.store.begin(run.tenant_id, read_only=True) as tx:
            found = tx.list_artifacts(run_id=run.id)
        return next((one for one in found if one.name == name), None)

    def body(self, run: Run, name: str) -> bytes:
        artifact = self.artifact(run, name)
        assert artifact is not None, f"no artifact {name}"
        return self.storage.read(run.tenant_id, artifact.sha256)
