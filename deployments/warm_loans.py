"""Warm processes at work on flow runs: how one is stopped, and what is said of how it ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Crashed, Scheduled

from deployments.claims import Patient, claim_of
from deployments.warm_configuration import FactoryConfiguration
from deployments.warm_messages import Cancel
from deployments.warm_pool import WarmPool
from deployments.warm_process import WarmProcess


@dataclass(eq=False, slots=True)
class Loan:
    """A process at work on one flow run: what is done to that one does nothing to the next."""

    process: WarmProcess
    configuration: FactoryConfiguration
    cancelled: bool = False


class Loans(dict[UUID, Loan]):
    """Those of a worker, by flow run."""

    def cancel(self, flow_run_id: UUID) -> None:
        """Have a flow run stop, if it is one of these; kill its process where it does not."""
        loan = self.get(flow_run_id)
        if loan is None or loan.cancelled:
            return
        loan.cancelled = True
        loan.process.tell(Cancel(flow_run_id))

        def kill() -> None:
            if self.get(flow_run_id) is loan and loan.process.busy:
                loan.process.kill()

        asyncio.get_running_loop().call_later(loan.configuration.cancel_seconds, kill)


async def finish(
    patient: Patient, pool: WarmPool, flow_run_id: UUID, loan: Loan, message: str | None
) -> None:
    """Bring a flow run that was stopped into the state that its process could not set.

    ``message`` is why the process did not execute it to its end, or None.
    """
    if message is None and not loan.cancelled:
        return
    state = await patient.read_state(flow_run_id)
    if state is None or (state.is_final() and not state.is_crashed()):
        return
    if loan.cancelled or state.is_cancelling():
        await _cancel(patient, pool, flow_run_id)
    elif message is not None and not state.is_crashed():
        await patient.set_state(flow_run_id, Crashed(message=message))
        await pool.run_hooks(flow_run_id, "on_crashed")


async def give_back(patient: Patient, pool: WarmPool, flow_run: FlowRun) -> None:
    """Have a flow run that was claimed here, and not begun, claimed again.

    What became of it since stays so: somebody stopped it, or another worker has it.
    """
    state = await patient.read_state(flow_run.id)
    if state is None:
        return
    if state.is_cancelling():
        await _cancel(patient, pool, flow_run.id)
    elif claim_of(state) == claim_of(flow_run.state) is not None:
        await patient.set_state(flow_run.id, Scheduled())


async def _cancel(patient: Patient, pool: WarmPool, flow_run_id: UUID) -> None:
    await pool.run_hooks(flow_run_id, "on_cancellation")
    await patient.set_state(flow_run_id, Cancelled(), force=True)
