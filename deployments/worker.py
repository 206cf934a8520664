"""Prefect's worker type ``factory``: flow runs begin at once, in processes that are warm.

``prefect worker start --type factory --pool POOL`` finds it by the entry point group
``prefect.collections``, which many of Prefect's commands load: nothing heavy is imported here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.abc
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.states import Crashed
from prefect.workers.base import BaseWorker

from deployments.claims import Patient, claim_of, give_back_what_is_left
from deployments.pool_events import (
    PATIENCE,
    ask_scheduled,
    hear,
    is_away,
    is_upset,
    look,
    remind,
)
from deployments.warm_configuration import (
    FactoryConfiguration,
    FactoryResult,
    FactoryVariables,
)
from deployments.warm_loans import Loan, Loans, finish, give_back
from deployments.warm_messages import Execute, Leave
from deployments.warm_pool import WarmPool

_LOG = logging.getLogger("factory.worker")

DEFAULT_LIMIT = 2
"""Processes, and flow runs at once, where ``--limit`` says nothing."""

_SYNC_SECONDS = 30.0

_BEGIN_SECONDS = 5.0
_BORROW_SECONDS = 60.0
_PUT_DOWN_SECONDS = 20.0
_BURY_SECONDS = 10.0
_END_SECONDS = 20.0


class FactoryWorker(BaseWorker[FactoryConfiguration, FactoryVariables, FactoryResult]):
    """Hands each flow run to a warm process, one at a time to each."""

    type = "factory"
    job_configuration = FactoryConfiguration
    job_configuration_variables = FactoryVariables
    _display_name = "Factory Runtime"
    _description = "Execute flow runs at once, in a pool of processes that are warm."

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # What is claimed before its time would hold a process until then.
        kwargs["prefetch_seconds"] = 0
        limit = kwargs["limit"] = kwargs.get("limit") or DEFAULT_LIMIT
        super().__init__(*args, **kwargs)
        self._wake = asyncio.Event()
        self._pool = WarmPool(limit, self._wake.set)
        self._loans = Loans()
        self._waits_until_warm = False
        self._claiming = asyncio.Lock()
        self._draining = False
        self._is_away = False
        self._beside: list[asyncio.Task[Any]] = []

    async def start(
        self,
        run_once: bool = False,
        with_healthcheck: bool = False,
        printer: Callable[..., None] = print,
    ) -> None:
        """Serve until SIGTERM or SIGINT; then claim no more, and let end what has begun."""
        self._waits_until_warm = run_once
        told, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(ValueError, RuntimeError):  # not on the main thread: not ours to hear
                loop.add_signal_handler(number, told.set)
        serving = asyncio.create_task(super().start(run_once, with_healthcheck, printer))
        telling = asyncio.create_task(told.wait())
        try:
            await asyncio.wait({serving, telling}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                await self.drain()
                _end_within(_END_SECONDS)
        finally:
            telling.cancel()
            was_serving = serving.cancel()
            with suppress(*([asyncio.CancelledError] if was_serving else [])):
                await serving

    async def setup(self) -> None:
        """Begin to warm processes, to claim, and to hear what happens to the pool's flow runs."""
        self._pool.open()
        await super().setup()
        for beside in (
            self._hear(),
            self._claim_when_woken(),
            remind(self.client, self._work_pool_name, self._wake.set),
            look(self.client, lambda: self._loans, self._loans.cancel),
            give_back_what_is_left(
                self.client, self._work_pool_name, self.name, lambda: self._submitting_flow_run_ids
            ),
        ):
            self._beside.append(asyncio.create_task(beside))

    async def wait_until_warm(self) -> None:
        """Wait until a process could begin a flow run."""
        await self._pool.give_back(await self._pool.borrow())

    async def teardown(self, *exc_info: Any) -> None:
        """End all of it; what is under way is put down."""
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        try:
            await super().teardown(*exc_info)
        finally:
            await asyncio.shield(self._pool.close())

    async def drain(self) -> None:
        """Claim no more; wait for what is under way, and have it put down where it takes long."""
        self._draining = True
        self._logger.info("This worker claims no more, and waits for what it has begun")
        patience = [loan.configuration.drain_seconds for loan in self._loans.values()]
        await _until(self._has_room_only, max(patience, default=_BEGIN_SECONDS))
        for loan in self._loans.values():
            loan.process.tell(Leave())
        await _until(lambda: not self._loans, _PUT_DOWN_SECONDS)
        for loan in self._loans.values():
            loan.process.kill()
        await _until(lambda: not self._loans, _BURY_SECONDS)

    async def run(
        self,
        flow_run: FlowRun,
        configuration: FactoryConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> FactoryResult:
        """Have a warm process execute the flow run; return when it is over."""
        try:
            async with asyncio.timeout(_BORROW_SECONDS):
                process = await self._pool.borrow()
        except TimeoutError:
            _LOG.warning("flow run %s has no process here, and is given back", flow_run.id)
            await give_back(self._patient, self._pool, flow_run)
            return FactoryResult(identifier="none", status_code=1)
        except asyncio.CancelledError:  # no process came up before this worker ends
            await self._give_back(flow_run)
            raise
        loan = self._loans[flow_run.id] = Loan(process, configuration)
        try:
            process.tell(Execute(flow_run.id, claim_of(flow_run.state)))
            if task_status is not None:
                task_status.started(process.pid)
            code, message = await process.outcome()
            await finish(self._patient, self._pool, flow_run.id, loan, message)
        finally:
            del self._loans[flow_run.id]
            await asyncio.shield(
                self._pool.give_back(
                    process, configuration.max_runs, configuration.memory_limit_mib
                )
            )
        return FactoryResult(identifier=str(process.pid), status_code=code)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Claim what there is room for.

        Nothing while the server is away, while no process lives, or once this worker drains.
        """
        if self._waits_until_warm:
            await self.wait_until_warm()
        if self._draining or not self._pool.is_warm:
            return []
        async with self._claiming:
            try:
                claimed = await super().get_and_submit_flow_runs()
            except Exception as error:
                self._pass_over(error)
                return []
        self._is_away = False
        return claimed

    async def sync_with_backend(self) -> None:
        """Tell the server that this worker lives, and hear of the pool; later, where it is away."""
        try:
            async with asyncio.timeout(_SYNC_SECONDS):
                await super().sync_with_backend()
        except Exception as error:
            self._pass_over(error)

    def _pass_over(self, error: Exception) -> None:
        """Prefect's loops give up after a number of errors, and the worker with them."""
        if not (is_away(error) or is_upset(error)):
            raise error
        self._note_away(error)

    def _note_away(self, error: Exception) -> None:
        if not self._is_away:
            _LOG.warning("Prefect's server does not answer, asking on: %r", error)
        self._is_away = True

    async def _get_scheduled_flow_runs(self) -> list[WorkerFlowRunResponse]:
        wanted: dict[str, Any] = {
            "scheduled_before": datetime.now(UTC).isoformat(),
            "limit": 2 * (self._limit or DEFAULT_LIMIT),
        }
        if self._work_queues:
            wanted["work_queue_names"] = sorted(self._work_queues)
        async with asyncio.timeout(PATIENCE):
            found = await ask_scheduled(self.client, self._work_pool_name, wanted)
        if self._draining:  # since it was asked
            return []
        # The answer may be older than the start of what it names: to claim that twice is an error.
        return [one for one in found if one.flow_run.id not in self._loans]

    @property
    def _patient(self) -> Patient:
        return Patient(self.client, self._note_away)

    async def _submit_run(self, flow_run: FlowRun) -> None:
        """Claim a flow run, and see it through.

        In place of Prefect's own, which waits for calls that nobody needs here, and leaves a flow
        run Pending for ever where the server goes away in the middle.
        """
        reading = asyncio.create_task(self._patient.ask(lambda: self._configure(flow_run)))
        reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        claimed = None
        try:
            claimed = await self._patient.claim(flow_run, self.name)
            if claimed is not None:
                await self._see_through(claimed, reading)
        except Exception:
            # Raised, it would end this worker, and all that it has begun.
            _LOG.exception("flow run %s could not be executed", flow_run.id)
        finally:
            reading.cancel()
            self._submitting_flow_run_ids.discard(flow_run.id)
            if self._cancelling_observer is not None:
                self._cancelling_observer.remove_in_flight_flow_run_id(flow_run.id)
            self._release_limit_slot(flow_run.id)
            if claimed is not None:
                self._wake.set()  # there is room for the next

    async def _configure(self, flow_run: FlowRun) -> FactoryConfiguration:
        return await FactoryConfiguration.resolve_for_flow_run(
            flow_run,
            client=self.client,
            work_pool=deepcopy(self.work_pool),  # it may be told of a change in the middle
            worker_name=self.name,
            worker_id=self.backend_id,
        )

    async def _see_through(
        self, flow_run: FlowRun, reading: asyncio.Task[FactoryConfiguration]
    ) -> None:
        try:
            configuration = await reading
        except asyncio.CancelledError:  # this worker ends
            await self._give_back(flow_run)
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            await self._patient.set_state(
                flow_run.id, Crashed(message=f"it cannot be begun: {why}")
            )
        else:
            await self.run(flow_run, configuration)

    async def _give_back(self, flow_run: FlowRun) -> None:
        with anyio.move_on_after(_BURY_SECONDS, shield=True):
            await give_back(self._patient, self._pool, flow_run)

    def _has_room_only(self) -> bool:
        """Whether nothing is under way, not even what was claimed and has not begun."""
        return self._limiter is None or not self._limiter.borrowed_tokens

    async def _hear(self) -> None:
        while self._work_pool is None:  # noqa: ASYNC110 - the server is away since the start
            await anyio.sleep(1)
        await hear(lambda: self.work_pool.id, self._wake.set, self._loans.cancel)

    async def _claim_when_woken(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            # With no room, the end of a flow run wakes it again.
            if self._limiter is None or self._limiter.available_tokens >= 1:
                try:
                    await self.get_and_submit_flow_runs()
                except Exception:
                    _LOG.exception("flow runs could not be claimed")


async def _until(done: Callable[[], bool], seconds: float) -> None:
    """Wait until it holds, but no longer than this."""
    with anyio.move_on_after(seconds):
        while not done():  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.05)


def _end_within(seconds: float) -> None:
    """End this process, which has drained: with no server there, Prefect's threads take minutes."""
    last = threading.Timer(seconds, os._exit, (0,))
    last.daemon = True
    last.start()
