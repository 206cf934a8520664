"""What befalls a dispatcher's process, and is not ours to bring about from outside."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime, timedelta
from typing import Any

from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.errors import StoreUnavailableError
from factory_runtime.domain.job import Job
from factory_runtime.ports import RunTransaction
from factory_runtime.run_store.transaction import SqlTransaction
from factory_runtime.settings import Settings
from tests.work_types import append

WAS_AWAY = "store-was-away"
"""The file in its home that tells of it."""

FEW_LOSSES = 3
"""Of a job, for those who do not wait for all that it may have."""


BORN = "born"
"""The file in its home that tells how a flow run's first execution ended."""


def begin_born_in_its_place() -> None:
    """Be no dispatcher, but begin a flow run in Prefect, of the template ``born``, as a worker would."""
    from prefect.exceptions import Abort

    from flows import templates

    how = "ended"
    try:
        asyncio.run(templates.born(name="svc", return_state=True))
    except Abort:
        how = "left"
    append(str(Settings().root / BORN), how)
    os._exit(0)


def have_no_patience() -> None:
    """Wait for nothing that it has begun."""
    from deployments import dispatcher

    dispatcher._FINISH_SECONDS = 0.1  # pyright: ignore[reportPrivateUsage]


def expect_no_word_of_flows() -> None:
    """Give a flow less time to tell Prefect of its end itself: here it was stopped for good."""
    from factory_runtime.orchestration import settle

    settle._ENDING = timedelta(seconds=1.5)  # pyright: ignore[reportPrivateUsage]


def take_back_after_few_losses() -> None:
    """Give a fatal job up that has taken fewer workers along than it may.

    It alone: what ran beside it loses as many.
    """
    from factory_runtime.services import take_back

    back = take_back._back  # pyright: ignore[reportPrivateUsage]

    def few(tx: RunTransaction, job: Job, now: datetime, *why: Any, **changes: Any) -> Job:
        if job.type == "fatal" and changes.get("losses", 0) >= FEW_LOSSES:
            return take_back.fail_of_losses(tx, job, now)
        return back(tx, job, now, *why, **changes)

    take_back._back = few  # pyright: ignore[reportPrivateUsage]


def lose_the_store_once() -> None:
    """Have the database gone for a moment as the job ``other`` is claimed."""
    add_attempt = SqlTransaction.add_attempt

    def is_away_once(self: SqlTransaction, attempt: Attempt) -> None:
        if attempt.step == "other":
            SqlTransaction.add_attempt = add_attempt
            append(str(Settings().root / WAS_AWAY), attempt.step)
            raise StoreUnavailableError("the database was started again")
        add_attempt(self, attempt)

    SqlTransaction.add_attempt = is_away_once
