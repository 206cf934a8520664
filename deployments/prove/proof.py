"""Prove a template: kill it at every point, have another process go on, and compare."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from deployments.prove.compare import Differs, Reference, check_alone, compare, reference_of
from deployments.prove.points import (
    CRASH_POINTS,
    CrashPoint,
    Moment,
    Point,
    crash_points,
    points_of_skip,
)
from deployments.prove.sandbox import Sandbox, Walked
from deployments.prove.world import NOTHING, Left, attempts_of_finished, look
from factory_runtime.domain.errors import PermanentError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.run import RUN_ENDED, Run, RunRequest, RunStatus
from factory_runtime.services.end_run import end_run
from factory_runtime.services.request_run import request_run

_LIMIT_SECONDS = 120.0
"""How long one process may take, or as many times as long as the undisturbed one took."""

_TIMES_AS_LONG = 10.0


@dataclass(frozen=True)
class Row:
    """What came of one crash point; of the undisturbed run where there is none.

    Attributes:
        job: its name in the plan; None stands for the whole run.
        effect: the kind of effect, at the points of one.
        killed: whether the process died there of SIGKILL.
        skipped: why there was nothing to kill: the job was skipped.
        run_id: in the sandbox.
        run: how it ended, after somebody else has gone on with it.
        attempts: how many the job has had.
        seconds: from the request to the end.
        differs: what does not hold, by check.
    """

    point: Point | None
    job: str | None
    effect: str | None = None
    killed: bool = False
    skipped: str | None = None
    run_id: str | None = None
    run: RunStatus | None = None
    attempts: int = 0
    seconds: float = 0.0
    differs: Differs = field(default_factory=dict[str, tuple[str, ...]])

    @property
    def failed(self) -> bool:
        return any(self.differs.values())


@dataclass(frozen=True)
class Proof:
    """What came of all points.

    Attributes:
        undisturbed: the run that the others are compared with.
        varying: repositories and artifacts that hold something of the run itself: of these, only
            paths and counts are compared.
        undo: whether undos were killed, and not the runs themselves.
    """

    template: str
    version: str
    undisturbed: Row
    rows: tuple[Row, ...]
    varying: tuple[str, ...]
    undo: bool = False

    @property
    def failed(self) -> tuple[Row, ...]:
        return tuple(row for row in (self.undisturbed, *self.rows) if row.failed)


Told = Callable[[Row, int, int], None]
"""Is given a row, its number from 1, and how many there will be."""


def prove(
    sandbox: Sandbox,
    request: RunRequest,
    wanted: Collection[Point] = CRASH_POINTS,
    told: Told = lambda _row, _number, _total: None,
    *,
    undo: bool = False,
) -> Proof:
    """Run the template undisturbed, then once per point, and compare what is left.

    All runs are of one tenant, so that renders come from the cache after the first, and each is of
    a project of its own, so that repositories do not meet.

    Args:
        sandbox: not started yet.
        request: for each of the runs.
        wanted: only these points.
        told: of each row at once.
        undo: kill the undo of an ended run, each time, and not the run itself.

    Raises:
        InputError: the template or the inputs make no sense.
        PermanentError: the undisturbed run does not end.
        PrefectUnavailableError: the sandbox breaks down.
    """
    prover = Prover(sandbox, request, undo=undo)
    first = prover.request_next()  # refused, if it is, before a server is started
    sandbox.start()
    undisturbed = prover.run_undisturbed(first)
    # That a job is skipped is said whatever is wanted.
    due = [one for one in prover.points() if isinstance(one, Row) or one.point in wanted]
    told(undisturbed, 1, 1 + len(due))
    rows: list[Row] = []
    for one in due:
        rows.append(one if isinstance(one, Row) else prover.kill_at(one))
        told(rows[-1], 1 + len(rows), 1 + len(due))
    return Proof(
        first.template_id,
        first.template_version,
        undisturbed,
        tuple(rows),
        prover.reference.varying,
        undo,
    )


class Prover:
    """Has runs of one request walked in a sandbox.

    Attributes:
        reference: what every run has to leave, once there was an undisturbed one.
    """

    def __init__(self, sandbox: Sandbox, request: RunRequest, *, undo: bool = False) -> None:
        self._sandbox = sandbox
        self._request = request
        self._undo = undo
        self._requested = 0
        self._limit = _LIMIT_SECONDS
        self._jobs: tuple[str, ...] = ()
        self._reached: tuple[Moment, ...] = ()
        self.reference = Reference(NOTHING)

    def request_next(self) -> Run:
        """One more run, in a project of its own."""
        self._requested += 1
        project = f"prove-{self._requested}"
        return request_run(self._sandbox.runtime.desk, replace(self._request, project_id=project))

    def run_undisturbed(self, run: Run) -> Row:
        """The run that the others are compared with, and one more: what differs may differ."""
        run = self._to_be_killed(run)
        began = time.monotonic()
        self._reached = self._walk_undisturbed(run)
        seconds = time.monotonic() - began
        left = self._look(run)
        differs = {**check_alone(left), "processes": self._processes()}
        twin = self._to_be_killed(self.request_next())
        self._walk_undisturbed(twin)
        self.reference = reference_of(left, self._look(twin))
        self._limit = max(_LIMIT_SECONDS, _TIMES_AS_LONG * seconds)
        return Row(
            None,
            None,
            run_id=run.id,
            run=left.status,
            attempts=sum(left.attempts.values()),
            seconds=seconds,
            differs=differs,
        )

    def points(self) -> list[CrashPoint | Row]:
        """Where runs of this template can be killed, in the order of its plan.

        A row stands for a point that a job has not, because it is skipped.
        """
        left = self.reference.left
        points: list[CrashPoint | Row] = []
        for job, status in left.jobs.items():
            if status is JobStatus.SKIPPED:
                points.append(Row(Point.CLAIMED, job, skipped=left.skipped[job]))
                points += points_of_skip(job)
            else:
                effects = [effect.kind for effect in left.effects if effect.step == job]
                points += crash_points(job, effects, self._reached)
        return points

    def kill_at(self, point: CrashPoint) -> Row:
        """Kill a run there, have another process go on with it, and compare what it leaves."""
        runtime = self._sandbox.runtime
        began = time.monotonic()
        run = self._to_be_killed(self.request_next())
        died = self._sandbox.walk(run, point.trap, self._limit)
        finished = attempts_of_finished(runtime, run)
        went_on = self._sandbox.walk(run, None, self._limit)
        left = self._look(run)
        differs = dict(compare(self.reference, left, finished))
        differs["killed"] = _not_killed(point, died)
        differs["run"] = (*_not_ended(went_on), *differs["run"])
        differs["processes"] = self._processes()
        if left.status not in RUN_ENDED:  # or the next process would take it up
            reason = "it did not end"
            end_run(
                runtime.store, runtime.clock, run.tenant_id, run.id, RunStatus.CANCELLED, reason
            )
        return Row(
            point.point,
            point.job,
            point.effect,
            killed=not differs["killed"],
            run_id=run.id,
            run=left.status,
            attempts=left.attempts.get(point.job, 0),
            seconds=time.monotonic() - began,
            differs=differs,
        )

    def _to_be_killed(self, run: Run) -> Run:
        """The run itself; or, once that has ended, the one that undoes it."""
        if not self._undo:
            return run
        self._walk_undisturbed(run)
        undoing = self._sandbox.runtime.undoer.undo(run.tenant_id, run.id, run.requested_by)
        if undoing is None:
            raise PermanentError(f"nobody can tell what the undisturbed run {run.id} did outside")
        return undoing

    def _walk_undisturbed(self, run: Run) -> tuple[Moment, ...]:
        walked = self._sandbox.walk(run, None, self._limit)
        if wrong := _not_ended(walked):
            raise PermanentError(
                f"the undisturbed run did not end: {'; '.join(wrong)}",
                hint="run the template with `factory run`, or keep the sandbox with --keep",
            )
        return walked.reached

    def _look(self, run: Run) -> Left:
        return look(self._sandbox.runtime, run, self._sandbox.flow_run_state)

    def _processes(self) -> tuple[str, ...]:
        return tuple(f"a process is left: {name}" for name in self._sandbox.end_left())


def _not_killed(point: CrashPoint, died: Walked) -> tuple[str, ...]:
    if died.exit_code == -signal.SIGKILL and died.reached == (point.trap,):
        return ()
    if not died.reached and died.exit_code == 0:
        return ("the run ended, and this point never came",)
    return (f"the process {_ended(died)}, and not there of SIGKILL",)


def _not_ended(walked: Walked) -> tuple[str, ...]:
    if walked.exit_code == 0:
        return ()
    return (f"the process that was to end the run {_ended(walked)}",)


def _ended(walked: Walked) -> str:
    if walked.exit_code is None:
        return f"took too long; it said: {walked.said}"
    return f"ended with {walked.exit_code}; it said: {walked.said}"
