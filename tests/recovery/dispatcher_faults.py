"""What befalls a dispatcher's process, and is not ours to bring about from outside."""

from __future__ import annotations

from datetime import timedelta

from factory_runtime.domain.attempt import Attempt
from factory_runtime.domain.errors import StoreUnavailableError
from factory_runtime.run_store.transaction import SqlTransaction
from factory_runtime.settings import Settings
from tests.work_types import append

WAS_AWAY = "store-was-away"
"""The file in its home that tells of it."""


def have_no_patience() -> None:
    """Wait for nothing that it has begun."""
    from deployments import dispatcher

    dispatcher._FINISH_SECONDS = 0.1  # pyright: ignore[reportPrivateUsage]


def expect_no_word_of_flows() -> None:
    """Give a flow less time to tell Prefect of its end itself: here it was stopped for good."""
    from factory_runtime.orchestration import settle

    settle._ENDING = timedelta(seconds=1.5)  # pyright: ignore[reportPrivateUsage]


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
