"""Of what class a failure's cause is, by its error code: where a person begins to look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache

from factory_runtime.domain import errors


class Cause(StrEnum):
    """Where to look.

    ``DECISION`` is a person's; ``STOPPED`` says that somebody, or the factory, ended the run;
    ``BUG`` is an error that nobody thought of.
    """

    TRANSIENT = "transient"
    INPUT = "input"
    HOST = "host"
    ENVIRONMENT = "environment"
    ACCESS = "access"
    CONFLICT = "conflict"
    DECISION = "decision"
    STOPPED = "stopped"
    REFUSED = "refused"
    BUG = "bug"


_CAUSES: Mapping[type[errors.FactoryError], Cause] = {
    errors.InputError: Cause.INPUT,
    errors.SettingsError: Cause.ENVIRONMENT,
    errors.NotFoundError: Cause.INPUT,
    errors.ConflictError: Cause.CONFLICT,
    errors.AccessError: Cause.ACCESS,
    errors.TransientError: Cause.TRANSIENT,
    errors.HostBusyError: Cause.HOST,
    errors.IssuerUnavailableError: Cause.HOST,
    errors.StoreUnavailableError: Cause.ENVIRONMENT,
    errors.PrefectUnavailableError: Cause.ENVIRONMENT,
    errors.MemoryUnavailableError: Cause.ENVIRONMENT,
    errors.StorageFullError: Cause.ENVIRONMENT,
    errors.StorageAwayError: Cause.ENVIRONMENT,
    errors.PolicyUnavailableError: Cause.ENVIRONMENT,
    errors.CancelledError: Cause.STOPPED,
    errors.SuspendedError: Cause.STOPPED,
    errors.PermanentError: Cause.REFUSED,
    errors.HostRejectedError: Cause.HOST,
    errors.EffectElsewhereError: Cause.CONFLICT,
    errors.MissingExtraError: Cause.ENVIRONMENT,
    errors.CorruptStoreError: Cause.ENVIRONMENT,
    errors.CorruptArtifactError: Cause.ENVIRONMENT,
    errors.ApprovalDeniedError: Cause.DECISION,
    errors.ApprovalExpiredError: Cause.DECISION,
    errors.NobodyMayApproveError: Cause.DECISION,
    errors.ApprovalWithdrawnError: Cause.DECISION,
}
"""The nearest one above an error's class counts."""

_CODES: Mapping[str, Cause] = {"worker-lost": Cause.ENVIRONMENT, "run-stopped": Cause.STOPPED}
"""Of failures that no error was raised for."""

_OF_SYSTEM = frozenset({"OSError", "ConnectionError", "ConnectionRefusedError", "TimeoutError"})
"""Names of Python's errors that are the machine's or the network's rather than the code's."""


def cause_of(code: str) -> Cause:
    """The class of what an error code stands for; of a code that is none of ours, a bug."""
    if code in _OF_SYSTEM:
        return Cause.ENVIRONMENT
    return _CODES.get(code) or _by_code().get(code, Cause.BUG)


@cache
def _by_code() -> Mapping[str, Cause]:
    found: dict[str, Cause] = {}
    for kind in _all_below(errors.FactoryError):
        nearest = next((above for above in kind.__mro__ if above in _CAUSES), None)
        if nearest is not None:
            found.setdefault(_code_of(kind), _CAUSES[nearest])
    return found


def _all_below(kind: type[errors.FactoryError]) -> Iterator[type[errors.FactoryError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _all_below(below)


def _code_of(kind: type[errors.FactoryError]) -> str:
    # The code needs the class alone, and classes may want arguments of their own.
    return errors.FactoryError.code.fget(kind.__new__(kind))  # type: ignore[misc]
