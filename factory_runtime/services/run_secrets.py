"""Secrets that a run came to know: lent to one of its jobs, or found in what one made.

Who walks the run keeps them in its memory, and nobody keeps them elsewhere: what is not written down
cannot be read. Another process that takes the run up asks again for those that were lent, by the
names that stand in the plan.
"""

from __future__ import annotations

from collections.abc import Iterable

from factory_runtime.compiler.expressions import evaluate
from factory_runtime.domain.errors import FactoryError, SecretLeakError, TransientError
from factory_runtime.domain.plan import PlannedJob
from factory_runtime.domain.secrets import SHORTEST
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.ports import Credentials
from factory_runtime.services.credentials import CREDENTIALS, find_credentials
from factory_runtime.services.engine import Engine, Walk
from factory_runtime.services.hide_in_logs import hide_in_logs
from factory_runtime.services.scope import job_scope


def lend(engine: Engine, walk: Walk, facts: JobTypeFacts, told: object) -> Credentials:
    """What a step names; from then on nothing of the run says its secrets.

    Raises:
        HostBusyError: nobody who keeps it answers.
        InputError: it names none that this tenant may use, or a secret is too short to be found.
    """
    found = find_credentials(engine.credentials, facts, told, walk.run.tenant_id)
    _learn(walk, found.secrets)
    walk.lent.add((facts.name, str(told)))
    return found


def learn_found(walk: Walk, error: BaseException) -> None:
    """Have nothing of the run say the secrets that an attempt failed of."""
    if isinstance(error, SecretLeakError):
        _learn(walk, (one for one in error.secrets if len(one) >= SHORTEST))


def learn_earlier_loans(engine: Engine, walk: Walk) -> None:
    """Ask again for what jobs of the run were lent by other processes.

    Raises:
        HostBusyError: nobody who keeps it answers: what nobody knows cannot be left out.
    """
    for planned in walk.borrowers:
        if walk.jobs[planned.name].attempt > walk.claims[planned.name]:
            _lend_again(engine, walk, planned)


def _lend_again(engine: Engine, walk: Walk, planned: PlannedJob) -> None:
    job_type = engine.job_types.get(planned.type)
    if job_type is None or job_type.facts.credentials is None:
        return
    try:
        told = evaluate(planned.with_[CREDENTIALS], job_scope(walk, planned))
        if (job_type.facts.name, str(told)) not in walk.lent:
            lend(engine, walk, job_type.facts, told)
    except TransientError:
        raise
    except FactoryError:
        return  # the job was refused it too, or whoever keeps it has taken it away


def _learn(walk: Walk, values: Iterable[str]) -> None:
    walk.secrets.add(values)
    hide_in_logs(walk.secrets)
