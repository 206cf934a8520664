"""The loop of the executing process: admit runs, execute their flow runs, drain the outbox.

With a work pool in the settings it executes none: Prefect's workers do.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import TypeGuard
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import Abort, ObjectNotFound
from prefect.flow_engine import run_flow_async

from deployments.absence import Absence
from deployments.launching import launcher_of
from deployments.quietly import Quietly
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.errors import (
    ConflictError,
    FactoryError,
    PrefectFailedError,
    PrefectUnavailableError,
    TransientError,
)
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.ports import Clock, Launcher, RunStore
from factory_runtime.services.dispatch import dispatch_next, give_back
from factory_runtime.services.end_run import end_run
from factory_runtime.services.executor_sign import show_sign
from factory_runtime.services.sweep import sweep, sweep_pool, sweep_prefect
from flows.hooks import drain, drained_by, learn, share_runtime
from flows.loading import dispatching
from flows.templates import flow_of_run
from flows.walk import leave_walks
from tasks.threads import in_thread

_LOG = logging.getLogger("factory.dispatcher")

_POLL = 0.1
"""Seconds between two looks for new runs: one indexed query each."""

_TIDY_EVERY = 2.0
"""Seconds between two looks for what killed processes left: runs, and outbox messages."""

_DRAIN_WITHIN = 2.0
"""Seconds that the outbox waits, about, for a moment without a run."""

_LEARN_WITHIN = 30.0
"""Likewise for what runs have taught: it takes longer, and nobody waits for it."""

_SIGN_EVERY = 3.0
"""Seconds between two signs of life; one counts for several of them."""

_OBEY_EVERY = 1.0
"""Seconds between two looks for what somebody cancelled in Prefect: children are to be gone soon."""

_TELL_EVERY = 1.0
"""Seconds between two looks for notices to be sent."""

_TELL_WITHIN = timedelta(seconds=5)
"""What is not sent by then, when this process is to end, another one sends."""

_LOOK_FOR_STUCK_EVERY = 60.0

_LEARN_EVERY = 60.0
"""Seconds between two looks for what may take long to learn, like the code of a run."""

_FINISH_SECONDS = 30.0
"""For runs under way, when this process is to end."""

_LEAVE_NOTHING_SECONDS = 20.0
"""For the outbox, and what runs have taught, after that."""


class Dispatcher:
    """Has runs executed, as many at once as the settings allow: in this process, or in a pool."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        _ = runtime.engine  # settings that make no sense end it here, and no run
        self._launcher = launcher_of(runtime)
        self._executes = runtime.settings.work_pool is None
        self._running: set[asyncio.Task[None]] = set()
        self._absence = Absence()
        self._last_ended_at = -math.inf
        self._outbox = Quietly(self._quiet_for, drain, _DRAIN_WITHIN, "the outbox waits")
        self._lessons = Quietly(self._quiet_for, learn, _LEARN_WITHIN, "what was learned waits")
        share_runtime(runtime)

    async def serve(self, stop: asyncio.Event, server_lives: Callable[[], bool]) -> None:
        """Work until ``stop`` is set; then finish what has begun, and leave the outbox empty.

        What does not end in time, or must not because ``leave`` was called, is put down: the next
        executor goes on with it.
        """
        beside = [
            asyncio.create_task(self._show_signs()),
            asyncio.create_task(self._tidy_now_and_then()),
            asyncio.create_task(self._outbox.serve()),
            asyncio.create_task(self._lessons.serve()),
            asyncio.create_task(self._obey_prefect()),
            asyncio.create_task(self._tell_now_and_then()),
            asyncio.create_task(self._learn_now_and_then(stop.is_set)),
        ]
        with drained_by(self._ask_for_drain):
            try:
                while not stop.is_set() and server_lives():
                    if wait := await self._start_next():
                        await self._pause(stop, wait)
                if self._running:
                    await asyncio.wait(self._running, timeout=_FINISH_SECONDS)
            finally:
                await self._let_go()
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        self._ask_for_drain()  # not every run that ends has a hook
        with suppress(TimeoutError):  # what is left is the next one's
            async with asyncio.timeout(_LEAVE_NOTHING_SECONDS):
                await self._outbox.end()
                await self._lessons.end()
        await self._tell(_TELL_WITHIN)

    def leave(self) -> None:
        """Begin no more jobs: those under way finish, and their runs are put down."""
        leave_walks()

    async def _let_go(self) -> None:
        """Leave what takes longer to the next executor: that this one ends cancels no run."""
        left = list(self._running)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _start_next(self) -> float:
        """Start a run, if one may; seconds until it is worth the next try."""
        runtime = self._runtime
        if len(self._running) >= runtime.settings.max_running_runs:
            return _POLL
        try:
            run = await in_thread(
                dispatch_next,
                runtime.store,
                self._launcher,
                runtime.clock,
                runtime.settings.max_running_runs,
                runtime.engine.worker,
                runtime.policies.limits_of,
            )
        except FactoryError as error:
            if _is_absence(error):  # each try admits a run, and takes its slot back
                return self._absence.note("no run could be started", error)
            _LOG.warning("no run could be started: %s", error)
            return _POLL
        except Exception:  # whatever it is, the runs under way must go on
            _LOG.exception("no run could be started")
            return _POLL
        if run is None:
            return _POLL
        self._absence.over()
        if self._executes:
            self._execute(run)
        return 0

    def _execute(self, run: Run) -> None:
        task = asyncio.create_task(self._run(run), name=run.id)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._last_ended_at = time.monotonic()

    def _quiet_for(self) -> float:
        """For how many seconds no run has been under way here."""
        return 0.0 if self._running else time.monotonic() - self._last_ended_at

    async def _run(self, run: Run) -> None:
        runtime = self._runtime
        try:
            async with get_client() as client:
                flow_run = await client.read_flow_run(UUID(run.flow_run_id))
            flow = await in_thread(flow_of_run, runtime, run)
            # Those that its schema lets in but does not name are no parameters of the flow.
            named = inspect.signature(flow.fn).parameters
            parameters = {k: v for k, v in flow_run.parameters.items() if k in named}
            with dispatching(run):
                state = await run_flow_async(
                    flow, flow_run=flow_run, parameters=parameters, return_type="state"
                )
            if state and state.is_failed() and await in_thread(self._is_unbegun, run):
                raise await state.aresult(raise_on_failure=False)
        except Abort as left:
            _LOG.info("run %s is put down: %s", run.id, left)
            if isinstance(left.__cause__, TransientError):
                await in_thread(self._give_back, run)
        except Exception as error:
            if passes(error):
                _LOG.warning("run %s is left for the next look: %s", run.id, error)
                await in_thread(self._give_back, run, _failure_of(error))
                return
            _LOG.exception("run %s", run.id)
            await in_thread(self._give_up, run, error)

    def _is_unbegun(self, run: Run) -> bool:
        """Whether its flow failed before it took the run up: it would be tried for ever."""
        with self._runtime.store.begin(run.tenant_id, read_only=True) as tx:
            current = tx.get_run(run.id)
        # One that failed, and was sent round again since, is Queued too: with another slot, or none.
        return current.status is RunStatus.QUEUED and current.admitted_at == run.admitted_at

    def _give_back(self, run: Run, failure: FactoryError | None = None) -> None:
        """Give its slot back at once; where the store is away too, the sweep does it later."""
        runtime = self._runtime
        with suppress(FactoryError):
            give_back(runtime.store, runtime.clock, run, runtime.engine.worker, failure)

    def _give_up(self, run: Run, error: Exception) -> None:
        runtime = self._runtime
        with runtime.store.begin(run.tenant_id, read_only=True) as tx:
            current = tx.get_run(run.id)
        if not current.ended and current.admitted_at == run.admitted_at:  # else it is another's
            reason = error.explain() if isinstance(error, FactoryError) else repr(error)
            end_run(runtime.store, runtime.clock, run.tenant_id, run.id, RunStatus.FAILED, reason)

    async def _pause(self, stop: asyncio.Event, seconds: float) -> None:
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait(
            [waiting, *self._running], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        waiting.cancel()

    async def _tidy_now_and_then(self) -> None:
        while True:
            await self._sweep()
            self._ask_for_drain()
            await asyncio.sleep(_TIDY_EVERY)

    def _ask_for_drain(self) -> None:
        self._outbox.ask()
        self._lessons.ask()

    async def _obey_prefect(self) -> None:
        """Beside the rest, which may take long."""
        looks = [sweep_prefect] if self._executes else [sweep_prefect, sweep_pool]
        absences = [(look, Absence()) for look in looks]
        while True:
            for look, absence in absences:
                await self._obey(look, absence)
            await asyncio.sleep(_OBEY_EVERY)

    async def _obey(
        self, look: Callable[[RunStore, Clock, Launcher], int], absence: Absence
    ) -> None:
        runtime = self._runtime
        try:
            await in_thread(look, runtime.store, runtime.clock, self._launcher)
            absence.over()
        except FactoryError as error:
            if _is_absence(error):
                absence.note("what was ended in Prefect goes on", error)
            else:
                _LOG.warning("what was ended in Prefect goes on: %s", error)
        except Exception:
            _LOG.exception("what was ended in Prefect goes on")

    async def _tell_now_and_then(self) -> None:
        """Beside the rest: a target of notices may hang."""
        look_at = time.monotonic()
        while True:
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + _LOOK_FOR_STUCK_EVERY
                await self._look_for_stuck()
            await self._tell()
            await asyncio.sleep(_TELL_EVERY)

    async def _learn_now_and_then(self, stopping: Callable[[], bool]) -> None:
        """Beside the rest, and not at once: runs that wait here come first."""
        runtime = self._runtime
        while True:
            await asyncio.sleep(_LEARN_EVERY)
            try:
                await in_thread(runtime.learn_code, stopping)
                await in_thread(runtime.migrator.build_a_while)
                await in_thread(runtime.write_prose)
            except FactoryError as error:
                _LOG.warning("what runs have generated is learned later: %s", error)
            except Exception:
                _LOG.exception("what runs have generated is learned later")
            await self._sweep_artifacts()

    async def _sweep_artifacts(self) -> None:
        try:
            await in_thread(self._runtime.artifact_sweeper.sweep_if_due)
        except FactoryError as error:
            _LOG.warning("what has expired is deleted later: %s", error)
        except Exception:
            _LOG.exception("what has expired is deleted later")

    async def _look_for_stuck(self) -> None:
        try:
            await in_thread(self._runtime.look_for_stuck)
        except FactoryError as error:
            _LOG.warning("nobody looks for runs that are stuck: %s", error)
        except Exception:
            _LOG.exception("nobody looks for runs that are stuck")

    async def _tell(self, patience: timedelta = timedelta(0)) -> None:
        try:
            await in_thread(self._runtime.tell, patience)
        except FactoryError as error:
            _LOG.warning("notices wait: %s", error)
        except Exception:
            _LOG.exception("notices wait")

    async def _show_signs(self) -> None:
        """Beside the rest: whoever asks how the factory is must not take a long drain for its end."""
        runtime = self._runtime
        while True:
            try:
                await in_thread(show_sign, runtime.store, runtime.clock, runtime.engine.worker)
            except FactoryError as error:
                _LOG.warning("nobody sees that runs are executed here: %s", error)
            except Exception:
                _LOG.exception("nobody sees that runs are executed here")
            await asyncio.sleep(_SIGN_EVERY)

    async def _sweep(self) -> None:
        runtime = self._runtime
        try:
            await in_thread(sweep, runtime.store, runtime.clock)
        except FactoryError as error:
            _LOG.warning("left runs wait: %s", error)
        except Exception:
            _LOG.exception("left runs wait")


def passes(error: BaseException | None) -> bool:
    """Whether the error says nothing of the run: it is another's, or Prefect or the store is away."""
    match error:
        case None:
            return False
        case TransientError() | ConflictError() | httpx.TransportError() | ObjectNotFound():
            return True  # a flow run that somebody deleted is made anew
        case httpx.HTTPStatusError():
            status = error.response.status_code
            return status >= 500 or status in (408, 429)
        case RuntimeError():  # Prefect's own, where its first call of all fails
            return passes(error.__cause__ or error.__context__)
        case _:
            return False


def _is_absence(error: FactoryError) -> TypeGuard[PrefectUnavailableError]:
    """Whether no server answers; one that answers with a failure may answer the next better."""
    return isinstance(error, PrefectUnavailableError) and not isinstance(error, PrefectFailedError)


def _failure_of(error: BaseException | None) -> FactoryError | None:
    """Prefect's failure at this one run; None where others would fare no better."""
    match error:
        case None:
            return None
        case PrefectFailedError():
            return error
        case httpx.HTTPStatusError() if error.response.status_code >= 500:
            return PrefectFailedError(f"Prefect answers with {error.response.status_code}")
        case RuntimeError():
            return _failure_of(error.__cause__ or error.__context__)
        case _:
            return None
