"""The flow of ``warm_worker``: five tasks that do nothing, one after the other."""

from __future__ import annotations

from prefect import flow, task


@task(persist_result=False)
async def no_op(number: int) -> int:
    """Do nothing."""
    return number


@flow(name="five-no-ops", persist_result=False)
async def five() -> None:
    """Five of them."""
    for number in range(5):
        await no_op(number)
