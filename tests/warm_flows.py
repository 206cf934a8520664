"""Flows for a warm worker. What one does is said by a parameter, and what it did in a file."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from prefect import Flow, flow, task
from prefect.client.schemas.objects import FlowRun, State

from tests.work_types import append


def hook(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    del flow
    append(f"{flow_run.parameters['file']}.hooks", f"{state.name}:{os.getpid()}")


def is_there(file: str) -> bool:
    return Path(file).exists()


@task(persist_result=False)
async def no_op(number: int) -> int:
    return number


@flow(
    name="warm-plain",
    persist_result=False,
    on_completion=[hook],
    on_failure=[hook],
    on_crashed=[hook],
    on_cancellation=[hook],
)
async def plain(file: str, does: str = "ends") -> None:
    """Write down this process and where it is; then do what is said."""
    append(file, f"{os.getpid()}:{Path.cwd()}:{'/elsewhere' in sys.path}")
    await no_op(1)
    match does:
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exits":
            sys.exit(3)
        case "waits":
            while not is_there(f"{file}.gate"):  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.02)
        case "deaf":
            time.sleep(600)  # noqa: ASYNC251 - and its event loop with it
        case "wanders":
            os.chdir("/")
            sys.path.insert(0, "/elsewhere")
        case _:
            pass


@flow(name="warm-blocking", persist_result=False, on_cancellation=[hook], on_crashed=[hook])
def blocking(file: str) -> None:
    """A flow that is no coroutine, and takes for ever."""
    append(file, str(os.getpid()))
    time.sleep(600)
