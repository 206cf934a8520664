"""Job types: kinds of work, and what the engine lends them."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Protocol, runtime_checkable

from factory_runtime.domain.approval import Approval, Question, Vote
from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.memory import Kind, Recalled
from factory_runtime.domain.records import Effect
from factory_runtime.domain.result import JobResult, RenderOrder, WaitUntil
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.domain.tree import TreeFile, TreeReference
from factory_runtime.ports.artifact_storage import ArtifactStorage
from factory_runtime.ports.credentials import Credentials
from factory_runtime.ports.git_host import GitHost


@dataclass(frozen=True, slots=True)
class JobFacts:
    """Who and what a job runs for.

    Attributes:
        last_attempt: whether a failure of this attempt ends the job.
        undoes: the run whose effects are undone; None in every other run.
        trace_id: of the run's request, 32 hex digits.
        page: where people look at the run; None where nobody says.
    """

    tenant_id: str
    project_id: str
    run_id: str
    step: str
    attempt: int
    effect_key: str
    template_id: str
    template_version: str
    requested_by: str
    module_id: str | None = None
    follows: frozenset[str] = frozenset()
    last_attempt: bool = False
    undoes: str | None = None
    trace_id: str | None = None
    page: str | None = None


class JobContext(Protocol):
    """What the engine lends a job type while it publishes."""

    @property
    def facts(self) -> JobFacts: ...

    @property
    def host(self) -> GitHost: ...

    @property
    def storage(self) -> ArtifactStorage: ...

    def now(self) -> datetime: ...

    def intend(
        self, kind: str, target: str, facts: Mapping[str, Any] = MappingProxyType({})
    ) -> str | None:
        """Write an outside effect into the ledger before doing it, durably.

        Args:
            kind: one of the effects of this job, like ``commit``.
            target: what it touches, for people.
            facts: what the type's ``probe`` needs to find it again.

        Returns:
            What came of it, where an earlier attempt did it; or None.

        Raises:
            LeaseLostError: another worker holds the job by now.
            CancelledError: somebody asked the run to stop.
        """
        ...

    def check_lease(self) -> None:
        """Ask the store whether this attempt still holds its job; the last thing before an effect.

        Raises:
            LeaseLostError: another worker holds it by now.
            CancelledError: somebody asked the run to stop.
        """
        ...

    def checkpoint(self) -> Mapping[str, Any] | None:
        """What an earlier attempt saved last, if this version of the type can read it."""
        ...

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Save what another attempt would go on from, durably.

        Raises:
            LeaseLostError: another worker holds the job by now.
        """
        ...

    def progress(self, share: float, phrase: str) -> None:
        """Tell how far this is, 0 to 1, for people. Cheap: it is written down now and then."""
        ...

    def safe_point(self) -> None:
        """Call it where the job could stop and go on later from its checkpoint.

        Raises:
            SuspendedError: the run is to pause, or this worker to end. Let it through.
            CancelledError: somebody asked the run to stop.
        """
        ...

    def start_child(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: IO[bytes] | int = subprocess.DEVNULL,
        stdout: IO[bytes] | int | None = None,
        stderr: IO[bytes] | int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program that may not outlive the attempt.

        It and all it starts are killed when the attempt ends or is stopped, and when this process
        dies, however it dies.
        """
        ...

    def ask(self, question: Question) -> Approval:
        """Put a question to people, once for this plan, and see how it stands by now.

        Answer with ``WaitUntil`` while it is open: a decision wakes the job up.
        """
        ...

    def list_votes(self, approval: Approval) -> tuple[Vote, ...]:
        """What people said to it, in the order they did."""
        ...

    def credentials(self) -> Credentials:
        """What ``credentials: block:NAME`` in the step's ``with`` stands for, as it is now.

        Nothing that a job of this run says or leaves from now on can hold a secret of it: it is
        taken out of outputs, checkpoints, effects, logs and errors, and a body that has one is
        refused.

        Raises:
            HostBusyError: nobody who keeps it answers.
            InputError: there is none of this name that this tenant may use.
        """
        ...

    def list_effects(self) -> tuple[Effect, ...]:
        """What the jobs of this run have done outside so far, as the ledger has it, oldest first."""
        ...

    def find_last_copy(self, kind: ArtifactKind, name: str) -> Artifact | None:
        """The newest artifact of this kind and name that a run of the same project left."""
        ...

    def recall(
        self, query: str, kinds: Collection[Kind] | None = None, k: int = 5
    ) -> tuple[Recalled, ...]:
        """What the tenant's memory knows that is most like the query, the best first.

        It sees what is of the run's own project or of none. That it was shown is recorded when the
        attempt ends; say in ``JobResult.used`` what was made use of. A memory that does not answer
        in ten seconds gives nothing, and a line in the job's log.

        Args:
            query: in words.
            kinds: of one of them; None is any.
            k: how many at most, 1 to 100.

        Raises:
            InputError: ``k`` is another number.
            CancelledError: somebody asked the run to stop.
        """
        ...

    def log(self, message: str) -> None:
        """One line for people, shown by `factory runs logs`."""
        ...

    def check_cancelled(self) -> None:
        """Raises CancelledError where somebody asked the run to stop. Cheap; call it in loops."""
        ...


class FileTree(Protocol):
    """A rendered tree, read as often as needed."""

    @property
    def reference(self) -> TreeReference: ...

    def files(self) -> Iterator[TreeFile]: ...


class JobType(Protocol):
    """A kind of work, in two halves. Packages offer theirs under ``factory_runtime.job_types``."""

    @property
    def facts(self) -> JobTypeFacts: ...

    def render(self, with_: Mapping[str, Any]) -> RenderOrder | None:
        """Pure: what is to be rendered for this ``with``; None if nothing is."""
        ...

    def publish(
        self, context: JobContext, with_: Mapping[str, Any], tree: FileTree | None
    ) -> JobResult | WaitUntil:
        """The effect: put the tree where it belongs. It may be called again after a kill."""
        ...

    def probe(self, host: GitHost, effect: Effect) -> str | None:
        """Whether an effect that was intended has been done: what came of it, or None.

        Asked of the world, by the effect's key and facts: "is there a commit with this trailer?"
        """
        ...


@runtime_checkable
class Undoing(Protocol):
    """A job type that offers undos: those that its facts name."""

    def undo(
        self, context: JobContext, undo: str, effects: tuple[Effect, ...]
    ) -> JobResult | WaitUntil:
        """Take back what a job of this type has done: an outside effect like any other.

        It runs as a job of a run of its own, and may be called again after a kill. What is not as
        the job has left it is not touched.

        Args:
            context: of the undoing job; ``context.facts.undoes`` is the run that is undone.
            undo: which of the type's undos.
            effects: of the job that is undone, newest first: confirmed ones, and intended ones
                that the probe has found to be done.

        Returns:
            A result with one ``Undone`` for each of the effects.
        """
        ...


@runtime_checkable
class Stopping(JobType, Protocol):
    """A job type that begins what goes on outside by itself: it ends where the run is cancelled."""

    def under_way(self, host: GitHost, effect: Effect) -> Mapping[str, Any] | None:
        """Facts by which ``probe`` tells the end of what an effect began; None where none is due.

        Only what carries the effect's own key is under way.
        """
        ...

    def stop(self, host: GitHost, effect: Effect) -> None:
        """Have it end; once more changes nothing, and what has ended stays as it is."""
        ...
