"""What the engine promises of runs and jobs, as plain dictionaries: no store, no threads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

LEASE = timedelta(seconds=60)
LOSSES = 3
MAX_ATTEMPTS = 2
WAIT = timedelta(seconds=600)

ENDED_JOB = frozenset({"Succeeded", "Failed", "Skipped", "Cancelled"})
ENDED_RUN = frozenset({"Succeeded", "Failed", "Cancelled"})


class RefusedError(Exception):
    """The engine has to refuse this: somebody else was first, or it makes no sense now."""


@dataclass(frozen=True)
class Recipe:
    """A template: its jobs with their needs, and those whose failure the run survives."""

    name: str
    jobs: Mapping[str, tuple[str, ...]]
    go_on: frozenset[str] = frozenset()

    def text(self) -> str:
        lines = ["steps:"]
        for name, needs in self.jobs.items():
            go_on = ", on_failure: continue" if name in self.go_on else ""
            lines.append(
                f"  - {{name: {name}, type: act, needs: [{', '.join(needs)}],"
                f" retry: {{max_attempts: {MAX_ATTEMPTS}, delays: [30s], jitter: 0}}{go_on}}}"
            )
        return "\n".join([*lines, ""])


RECIPES = (
    Recipe("single", {"a": ()}),
    Recipe("chain", {"a": (), "b": ("a",)}),
    Recipe("join", {"a": (), "b": (), "c": ("a", "b")}),
    Recipe("lenient", {"a": (), "b": ("a",)}, frozenset({"a"})),
)


@dataclass
class ModelJob:
    """One job. ``version`` counts its changes; ``outcomes`` are those of its attempts."""

    needs: tuple[str, ...]
    status: str = "Pending"
    version: int = 1
    failures: int = 0
    losses: int = 0
    not_before: datetime | None = None
    owner: str | None = None
    lease: datetime | None = None
    out_of_reach: bool = False
    outcomes: list[str | None] = field(default_factory=list[str | None])

    @property
    def ended(self) -> bool:
        return self.status in ENDED_JOB

    def move(self, status: str) -> None:
        self.status = status
        self.version += 1
        self.owner = self.lease = None

    def close_attempt(self, outcome: str) -> None:
        if self.outcomes and self.outcomes[-1] is None:
            self.outcomes[-1] = outcome


@dataclass
class ModelRun:
    """One run, with the lock of whoever executes it: holder, and until when."""

    id: str
    tenant: str
    recipe: Recipe
    rank: int
    requested_at: datetime
    deadline: timedelta | None
    jobs: dict[str, ModelJob]
    status: str = "Validated"
    cycle: int = 0
    slot: bool = False
    wake_at: datetime | None = None
    cancel: bool = False
    pause: bool = False
    deadline_at: datetime | None = None
    lock: tuple[str, datetime] | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED_RUN

    def walker(self, now: datetime) -> str | None:
        return self.lock[0] if self.lock is not None and self.lock[1] > now else None

    def try_lock(self, holder: str, now: datetime) -> bool:
        if self.walker(now) not in (None, holder):
            return False
        self.lock = (holder, now + LEASE)
        return True

    def unlock(self, holder: str) -> None:
        if self.lock is not None and self.lock[0] == holder:
            self.lock = None

    def end(self, status: str) -> None:
        self.status, self.slot = status, False

    # what happens to it

    def wants_slot(self, now: datetime) -> bool:
        under_way = self.status in ("Validated", "Queued", "Running")
        awake = self.status == "Waiting" and self.wake_at is not None and self.wake_at <= now
        return (under_way or awake) and not (self.slot or self.pause or self.cancel)

    def admit(self, dispatcher: str, now: datetime) -> None:
        self.slot = True
        if self.status == "Validated":
            self.status = "Queued"
        self.try_lock(dispatcher, now)

    def give_back(self, dispatcher: str, now: datetime) -> None:
        self.unlock(dispatcher)
        if self.walker(now) is None:
            self._without_slot()

    def begin_walk(self, holder: str, now: datetime) -> None:
        if not self.slot:
            raise RefusedError
        other = self.walker(now)
        if other is not None and other.endswith("-dispatcher"):
            self.lock = None
        if not self.try_lock(holder, now):
            raise RefusedError
        self.status, self.wake_at = "Running", None
        self._take_back_all()

    def keep(self, holder: str, now: datetime) -> bool:
        for job in self.jobs.values():
            if job.status == "Running" and job.owner == holder:
                job.lease = now + LEASE
        return self._hold(holder, now)

    def claim(self, holder: str, name: str, version: int, now: datetime) -> int:
        """The number of the attempt."""
        job = self.jobs[name]
        if job.version != version or job.status not in ("Pending", "Waiting"):
            raise RefusedError
        if not self._hold(holder, now):
            raise RefusedError
        job.move("Running")
        job.owner, job.lease, job.not_before = holder, now + LEASE, None
        job.outcomes.append(None)
        return len(job.outcomes)

    def skip(
        self, holder: str, name: str, version: int, endings: Mapping[str, str], now: datetime
    ) -> None:
        job = self.jobs[name]
        if job.version != version or job.status != "Pending" or not self._hold(holder, now):
            raise RefusedError
        job.move("Skipped")
        job.out_of_reach = True
        self._close_if_last({*endings, name})

    def holds(self, name: str, number: int) -> bool:
        job = self.jobs[name]
        return job.status == "Running" and len(job.outcomes) == number

    def finish(self, name: str, number: int, how: str, now: datetime, known: Iterable[str]) -> str:
        """An attempt ends: ``how`` is its outcome. The job's status after it."""
        job = self.jobs[name]
        if not self.holds(name, number):
            raise RefusedError
        job.close_attempt(how)
        match how:
            case "succeeded":
                job.move("Succeeded")
            case "waiting":
                job.move("Waiting")
                job.not_before = now + WAIT
            case "suspended":
                job.move("Pending")
                job.not_before = None
            case "cancelled":
                job.move("Cancelled")
            case _:
                job.failures += 1
                again = how == "transient-error" and job.failures < MAX_ATTEMPTS
                job.move("Pending" if again else "Failed")
                job.not_before = now + timedelta(seconds=30) if again else None
        if job.ended:
            self._close_if_last({*known, name})
        return job.status

    def put_down(
        self, holder: str, status: str | None, wake_at: datetime | None, now: datetime
    ) -> None:
        if self.ended or self.walker(now) != holder:
            return
        if status == "Waiting" and not (self.pause or self.cancel):
            if self.status != "Running":
                raise RefusedError
            self._let_go_all()
            self.status, self.slot, self.wake_at = "Waiting", False, wake_at
        else:
            self._let_go_all()
            self._without_slot()
        self.unlock(holder)

    def sweep(self, now: datetime) -> None:
        late = self.deadline_at is not None and self.deadline_at <= now
        if not self.ended and (late or self.cancel) and self.walker(now) is None:
            self.stop("Cancelled")
        if self.slot and self.walker(now) is None:
            self.lock = None
            self._take_back_all()
            self._without_slot()
        for job in self.jobs.values():
            expired = job.lease is not None and job.lease <= now
            if job.status == "Running" and expired and self.walker(now) != job.owner:
                self._take_back(job)

    def stop(self, status: str) -> None:
        """From outside, with all open jobs."""
        if self.status == status:
            return
        if self.ended:
            raise RefusedError
        for job in self.jobs.values():
            if not job.ended:
                job.close_attempt("cancelled")
                job.move("Cancelled")
        self.end(status)

    def ask_to_cancel(self) -> None:
        if self.status == "Cancelled":
            return
        if self.ended:
            raise RefusedError
        if self.status == "Running" and self.slot:
            self.cancel = True
        else:
            self.stop("Cancelled")

    def ask_to_pause(self, now: datetime) -> None:
        if self.ended or self.cancel:
            raise RefusedError
        if self.status == "Paused":
            return
        unattended = self.status == "Running" and not self.slot and self.walker(now) is None
        if unattended or self.status == "Waiting":
            self._take_back_all()
            self._pause()
        else:
            self.pause = True

    def wake(self, name: str, now: datetime) -> None:
        """Who decides takes the job from nobody: its version stays."""
        job = self.jobs[name]
        if job.status == "Waiting":
            job.not_before = now
        if self.status == "Waiting":
            self.wake_at = now

    def ask_to_resume(self) -> None:
        if self.ended or self.cancel:
            raise RefusedError
        if self.status == "Paused":
            self.status = "Queued"
        elif self.pause:
            self.pause = False
        elif self.status != "Queued":
            raise RefusedError

    def retry(self, now: datetime, only: str | None = None) -> None:
        to_do = {name for name, job in self.jobs.items() if _is_to_do(job)}
        if only is None:
            lenient = {n for n in self.recipe.go_on if self.jobs[n].status == "Failed"}
            to_do -= lenient  # the run went on without them
        if self.status != "Failed" or (only is not None and only not in to_do):
            raise RefusedError
        if only is not None:
            if self.jobs[only].status != "Failed" and to_do.intersection(self.jobs[only].needs):
                raise RefusedError
            to_do &= self._behind(only)
        for name in to_do:
            job = self.jobs[name]
            job.move("Pending")
            job.failures = job.losses = 0
            job.not_before, job.out_of_reach = None, False
        self.status, self.cycle = "Queued", self.cycle + 1
        self.pause = self.cancel = False
        self.deadline_at = None if self.deadline is None else now + self.deadline

    def verdict(self, name: str, endings: Mapping[str, str]) -> bool:
        """Whether the job runs, as far as somebody knows who saw these jobs end."""
        return not any(self._stops(need, endings[need]) for need in self.jobs[name].needs)

    def close_if_done(self, holder: str, now: datetime) -> None:
        if self.ended:
            return
        if not self._hold(holder, now):
            raise RefusedError
        self._close_if_last(set(self.jobs))

    # the rest

    def _hold(self, holder: str, now: datetime) -> bool:
        if self.lock is None or self.lock[0] != holder:
            return False
        self.lock = (holder, now + LEASE)
        return True

    def _stops(self, need: str, ending: str) -> bool:
        if ending == "Failed":
            return need not in self.recipe.go_on
        return ending in ("Skipped", "Cancelled")

    def _close_if_last(self, ended: set[str]) -> None:
        if len(ended) < len(self.jobs):
            return
        statuses = {name: job.status for name, job in self.jobs.items()}
        if "Cancelled" in statuses.values():
            self.end("Cancelled")
        elif any(s == "Failed" and n not in self.recipe.go_on for n, s in statuses.items()):
            self.end("Failed")
        else:
            self.end("Succeeded")

    def _take_back_all(self) -> None:
        for job in self.jobs.values():
            if job.status == "Running":
                self._take_back(job)

    def _take_back(self, job: ModelJob) -> None:
        job.losses += 1
        job.close_attempt("lost")
        job.move("Pending" if job.losses < LOSSES else "Failed")

    def _let_go_all(self) -> None:
        for job in self.jobs.values():
            if job.status == "Running":
                job.close_attempt("suspended")
                job.move("Pending")

    def _without_slot(self) -> None:
        if self.pause and not self.cancel and self.status == "Running":
            self._pause()
        self.slot = False

    def _pause(self) -> None:
        self.status, self.slot, self.pause, self.wake_at = "Paused", False, False, None

    def _behind(self, name: str) -> set[str]:
        found = {name}
        for other, job in self.jobs.items():  # each follows its needs
            if found.intersection(job.needs):
                found.add(other)
        return found


def _is_to_do(job: ModelJob) -> bool:
    return job.status == "Failed" or (job.status == "Skipped" and job.out_of_reach)


@dataclass
class ModelQueues:
    """Where tenants stand in virtual time: each slot moves one on by 1, and the last is next."""

    present: int = 0
    served: dict[str, int] = field(default_factory=dict[str, int])

    def start(self, tenant: str) -> int:
        return max(self.served.get(tenant, 0), self.present)

    def charge(self, tenant: str, *, is_next: bool) -> None:
        start = self.start(tenant)
        self.served[tenant] = start + 1
        if is_next:
            self.present = start


def first_in_line(runs: Iterable[ModelRun], now: datetime, queues: ModelQueues) -> list[ModelRun]:
    """Those that want a slot: fair between tenants, by priority and age within each."""
    waiting = [run for run in runs if run.wants_slot(now)]
    waiting.sort(key=lambda run: (run.rank, run.requested_at, run.id))
    starts = {run.tenant: queues.start(run.tenant) for run in waiting}
    line: list[ModelRun] = []
    while waiting:
        heads = {run.tenant: run for run in reversed(waiting)}.values()
        first = min(heads, key=lambda run: (starts[run.tenant], run.requested_at, run.id))
        starts[first.tenant] += 1
        waiting.remove(first)
        line.append(first)
    return line
