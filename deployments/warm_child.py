"""A warm process of the pool: executes one flow run after the other, as its worker says.

Everything that a flow run needs is imported by the fork server before, but for LanceDB, which does
not survive a fork: each process imports it where it first needs it.

The pipe is read by the main thread, and flow runs are executed on another. So a flow that blocks
its event loop hears nothing, but its process still learns that its worker is gone; and Prefect does
not take SIGTERM for itself, as it does wherever it runs a flow on the main thread: a signal to the
whole group is the worker's to handle.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import AsyncExitStack, contextmanager, suppress
from copy import copy
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, assert_never, cast
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.context import AsyncClientContext
from prefect.events.worker import EventsWorker
from prefect.exceptions import Abort, Pause
from prefect.flow_engine import run_flow
from prefect.flows import load_flow_from_flow_run
from prefect.logging.handlers import APILogWorker
from prefect.logging.loggers import flow_run_logger
from prefect.states import Cancelling, Failed, Pending
from prefect.utilities.asyncutils import is_async_fn

from deployments.claims import is_lost
from deployments.pool_events import Tries, is_away, is_upset
from deployments.warm_messages import (
    Answer,
    Cancel,
    Ended,
    Execute,
    Hooks,
    Leave,
    Order,
    Ready,
    RunHooks,
)
from factory_runtime.bootstrap import open_runtime
from factory_runtime.domain.errors import FactoryError, SettingsError, TransientError
from factory_runtime.services.sweep import sweep_prefect
from factory_runtime.telemetry.logs import flush_logs, start_logging
from factory_runtime.telemetry.tracing import flush_traces
from flows.hooks import share_runtime, shared_runtime
from flows.loading import loading_for
from flows.walk import is_walking, leave_walks
from tasks.threads import in_thread

_LOG = logging.getLogger("factory.warm")

_LEAVE_SECONDS = 5.0
"""How long jobs under way may take to end when the process is to leave."""

_PUT_DOWN_SECONDS = 8.0
_FLUSH_SECONDS = 3
_ASK_AGAIN_SECONDS = 1.0


def main(connection: Connection[Answer, Order], *, preloaded: bool) -> None:
    """Serve until the worker closes the pipe, or is killed."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # A handler, because what is ignored stays so in the children that jobs start.
        signal.signal(number, _let_be)
    _open_what_runs_need()
    child = WarmChild(connection)
    connection.send(Ready(preloaded))
    try:
        while True:
            child.obey(connection.recv())
    except (EOFError, OSError):
        child.end()


class NotBegunError(Exception):
    """Somebody stopped the flow run between its claim and its beginning."""


class WarmChild:
    """Obeys one order at a time on an event loop of its own."""

    def __init__(self, connection: Connection[Answer, Order]) -> None:
        self._connection = connection
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._flow_run_id: UUID | None = None
        self._flow: Flow[..., Any] | None = None
        threading.Thread(target=self._run_loop, name="event-loop", daemon=True).start()

    def obey(self, order: Order) -> None:
        """Begin what the worker says; the answer follows when it is over."""
        match order:
            case Execute(flow_run_id, claim):
                self._loop.call_soon_threadsafe(
                    self._begin, flow_run_id, partial(self._execute, claim=claim)
                )
            case RunHooks(flow_run_id, hooks):
                self._loop.call_soon_threadsafe(
                    self._begin, flow_run_id, partial(_run_hooks, name=hooks)
                )
            case Cancel(flow_run_id):
                asyncio.run_coroutine_threadsafe(self._cancel(flow_run_id), self._loop)
            case Leave():
                asyncio.run_coroutine_threadsafe(self._leave(), self._loop)
            case _:
                assert_never(order)

    def end(self) -> None:
        """Put down what is under way, and end the process."""
        leaving = asyncio.run_coroutine_threadsafe(self._leave(), self._loop)
        with suppress(Exception):  # a flow that blocks its loop is killed with the process
            leaving.result(_LEAVE_SECONDS + _PUT_DOWN_SECONDS)
        for worker in (EventsWorker, APILogWorker):
            worker.drain_all(timeout=_FLUSH_SECONDS)
        flush_traces()
        flush_logs()
        # Threads of Prefect's, and of flows that block, would wait for a server or for ever.
        os._exit(0)

    def _run_loop(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            os._exit(1)  # one of a flow's tasks has ended the loop: nobody would answer any more

    def _begin(self, flow_run_id: UUID, work: Callable[[UUID], Awaitable[None]]) -> None:
        self._flow_run_id = flow_run_id
        self._task = self._loop.create_task(self._answer(work(flow_run_id)))

    async def _answer(self, work: Awaitable[None]) -> None:
        error: str | None = None
        try:
            with _place_kept():
                await work
        except (Abort, Pause, asyncio.CancelledError):
            pass  # put down or stopped, and whoever wanted it knows
        except NotBegunError as exc:
            error = str(exc)
        except BaseException as exc:  # a flow may exit: its process does not
            _LOG.exception("flow run %s could not be executed", self._flow_run_id)
            error = f"{type(exc).__name__}: {exc}"
        self._task = self._flow = self._flow_run_id = None
        with suppress(OSError):  # the worker is gone, and so will this process be
            self._connection.send(Ended(error))

    async def _execute(self, flow_run_id: UUID, claim: UUID | None) -> None:
        async with AsyncExitStack() as stack:
            client, flow_run = await _read_patiently(stack, flow_run_id)
            _expect_ours(flow_run, claim)
            # A copy, so that a cancelled run can lose its hooks and the next one has them.
            flow = self._flow = copy(await _load_patiently(client, flow_run))
            # To load it may have taken longer than others wait for what was claimed to begin.
            _, flow_run = await _read_patiently(stack, flow_run_id)
            _expect_ours(flow_run, claim)
            if flow.isasync:
                await cast("Awaitable[object]", run_flow(flow, flow_run, return_type="state"))
            else:
                await in_thread(partial(run_flow, flow, flow_run, return_type="state"))

    async def _cancel(self, flow_run_id: UUID) -> None:
        """Stop a flow run for good; the worker kills what does not stop in time."""
        if flow_run_id != self._flow_run_id:
            return  # it was quicker
        if is_walking():
            # Asked for in our own record, it stops in order, and is recorded as cancelled.
            runtime = shared_runtime()
            with suppress(FactoryError):
                await in_thread(sweep_prefect, runtime.store, runtime.clock, runtime.launcher)
                return
        if self._flow is not None:
            # The worker has them run, once, when the flow run is over.
            self._flow.on_crashed_hooks = []
            self._flow.on_cancellation_hooks = []
        self._stop()

    async def _leave(self) -> None:
        task = self._task
        if task is None:
            return
        if is_walking():
            leave_walks()
            await asyncio.wait([task], timeout=_LEAVE_SECONDS)
        if not task.done():
            self._stop()
            await asyncio.wait([task], timeout=_PUT_DOWN_SECONDS)

    def _stop(self) -> None:
        if self._flow is not None and not self._flow.isasync:
            os._exit(1)  # nothing else ends a thread
        if self._task is not None:
            self._task.cancel()


def _let_be(number: int, frame: object) -> None:
    """A signal to the whole group is the worker's to handle."""


def _open_what_runs_need() -> None:
    """So that the first run begins as soon as the next ones.

    Raises:
        SystemExit: by these settings no run could be executed.
    """
    try:
        runtime = open_runtime()
        start_logging(runtime.settings.log_format, runtime.settings.log_level)
        share_runtime(runtime)
        _ = runtime.desk, runtime.engine, runtime.launcher, runtime.routes
    except (SettingsError, ValueError) as error:  # the latter is how pydantic refuses one
        raise SystemExit(str(error)) from error
    except FactoryError as error:
        _LOG.warning("opened by the first run that needs it: %s", error)


def _expect_ours(flow_run: FlowRun, claim: UUID | None) -> None:
    """Raise where it is not, or no more, this process's to begin.

    Raises:
        NotBegunError: somebody stopped it.
        Abort: another worker has it.
    """
    state = flow_run.state
    if state and (state.is_cancelling() or state.is_final()):
        raise NotBegunError(f"it is {state.name} before it has begun")
    if claim is not None and is_lost(state, claim):
        raise Abort(f"flow run {flow_run.id} was given to another worker")


async def _read_patiently(
    stack: AsyncExitStack, flow_run_id: UUID
) -> tuple[PrefectClient, FlowRun]:
    """The flow run as soon as the server answers: it was claimed, and nobody else looks for it.

    And the one client of all that it will ask Prefect: to make others takes longer.
    """
    is_told, tries = False, Tries()
    while True:
        try:
            context = await stack.enter_async_context(AsyncClientContext.get_or_create())
            return context.client, await context.client.read_flow_run(flow_run_id)
        except Exception as error:
            if not tries.another(error):
                raise
            if not is_told:
                _LOG.warning("flow run %s waits for Prefect's server: %r", flow_run_id, error)
            is_told = True
        await asyncio.sleep(_ASK_AGAIN_SECONDS)


async def _load_patiently(client: PrefectClient, flow_run: FlowRun) -> Flow[..., Any]:
    tries = Tries()
    while True:
        try:
            return await _load(client, flow_run)
        except TransientError as error:  # our record says which flow it is
            _LOG.warning("flow run %s waits for the store: %s", flow_run.id, error)
        except Exception as error:
            if not tries.another(error):
                raise
        await asyncio.sleep(_ASK_AGAIN_SECONDS)


async def _load(client: PrefectClient, flow_run: FlowRun) -> Flow[..., Any]:
    """Its flow; one that cannot be had has failed, and no process has crashed."""
    try:
        flow = await _flow_of(flow_run)
        if flow.isgenerator:
            raise TypeError("a generator flow needs a process of its own: use a process pool")
    except Exception as error:
        if is_away(error) or is_upset(error) or isinstance(error, TransientError):
            raise
        flow_run_logger(flow_run).exception("the flow cannot be loaded")
        message = f"the flow cannot be loaded: {type(error).__name__}: {error}"
        await client.set_flow_run_state(flow_run.id, Failed(message=message))
        raise Abort(message) from error
    return flow


async def _flow_of(flow_run: FlowRun) -> Flow[..., Any]:
    with loading_for(flow_run):
        return await load_flow_from_flow_run(flow_run, use_placeholder_flow=False)


async def _run_hooks(flow_run_id: UUID, name: Hooks) -> None:
    async with AsyncClientContext.get_or_create() as context:
        flow_run = await context.client.read_flow_run(flow_run_id)
        flow = await _flow_of(flow_run)
    if name == "on_cancellation":
        hooks, state = flow.on_cancellation_hooks, Cancelling()
    else:
        state = flow_run.state or Pending()
        hooks = flow.on_crashed_hooks if state.is_crashed() else []
    logger = flow_run_logger(flow_run, flow)
    for hook in hooks:
        try:
            if is_async_fn(hook):
                await hook(flow=flow, flow_run=flow_run, state=state)
            else:
                await in_thread(partial(hook, flow=flow, flow_run=flow_run, state=state))
        except Exception:
            logger.exception("a hook %s failed", name)


@contextmanager
def _place_kept() -> Generator[None]:
    """Where this process is, and where it finds modules, whatever pull steps and flows make of it."""
    place, path = Path.cwd(), list(sys.path)
    try:
        yield
    finally:
        os.chdir(place)
        sys.path[:] = path
