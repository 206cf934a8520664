"""Every error the factory raises on purpose, sorted by what to do next.

The API maps each class to one HTTP status and the CLI to one exit code, so a new error only has to
pick its parent. A message names the thing; ``hint`` names the fix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from factory_runtime.domain.artifact import ArtifactDraft


class FactoryError(Exception):
    """Root of the tree.

    Attributes:
        hint: what the reader can do about it, one sentence, or None.
        run_id: the run record that this refusal left behind, or None.
    """

    run_id: str | None = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def code(self) -> str:
        """A stable, kebab-case name: ``PlanCycleError`` is ``plan-cycle``."""
        name = type(self).__name__.removesuffix("Error")
        return "".join("-" + c.lower() if c.isupper() else c for c in name).lstrip("-")

    def explain(self) -> str:
        """The whole message for people: what, then the fix, on lines of their own."""
        return "\n".join([str(self), *([self.hint] if self.hint else [])])


class InputError(FactoryError):
    """The caller can fix it."""


class NotFoundError(FactoryError):
    """The thing does not exist, or not for this tenant: nobody can tell which."""


class ConflictError(FactoryError):
    """Repeated, raced, or taken."""


class AccessError(FactoryError):
    """Who asks has not shown who they are, or may not do this."""


class TransientError(FactoryError):
    """A retry may help.

    Attributes:
        retry_after: how long the other side asked us to wait, or None.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class PermanentError(FactoryError):
    """No retry helps; a person has to look.

    Attributes:
        artifacts: what a job leaves behind for whoever looks, like the log of what failed.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        artifacts: tuple[ArtifactDraft, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.artifacts = artifacts


class CancelledError(FactoryError):
    """Somebody asked for the run to stop."""


class SuspendedError(FactoryError):
    """A job stopped at a safe point, because its run is to pause or its worker to end."""


# --- InputError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a template or with inputs.

    ``line`` and ``column`` count from 1; both are 0 where there is no text to point at.
    """

    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: "
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.code} {self.message}{hint}"


class ProblemsError(InputError):
    """Several problems at once, each with its place."""

    def __init__(self, message: str, problems: Sequence[Problem], *, hint: str | None = None):
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)

    def explain(self) -> str:
        lines = [str(self), *(f"  {problem}" for problem in self.problems)]
        return "\n".join([*lines, *([self.hint] if self.hint else [])])


class InvalidTemplateError(ProblemsError):
    """A template that `factory templates check` would not pass."""


class InvalidInputsError(ProblemsError):
    """Inputs that the template's schema refuses; all of them are named."""


class UnknownTemplateError(InputError):
    """No template of that name is installed."""


class UnknownJobTypeError(InputError):
    """No installed package offers that job type."""


class ExpressionError(InputError):
    """An expression that cannot be read or evaluated."""


class PlanCycleError(InputError):
    """Steps that need each other in a circle; ``steps`` is the whole circle in order."""

    def __init__(self, steps: Sequence[str]) -> None:
        super().__init__(f"steps need each other: {' → '.join([*steps, steps[0]])}")
        self.steps = tuple(steps)


class HostileTemplateError(InputError):
    """A template or what it rendered tries to leave its box."""


class RenderFailedError(InputError):
    """Copier could not render a source: the template author has to look."""


class RenderLimitError(InputError):
    """A render went over its limit of time, memory, files or bytes."""


class SettingsError(InputError):
    """A setting that makes no sense, or a folder that cannot be used."""


class UnknownMemoryError(InputError):
    """A request says that it drew from memories that its project does not have."""


class DataRefusedError(InputError):
    """A location of data that the settings do not allow, or data larger than is allowed."""


class TemplateRefusedError(InputError):
    """A place of a template that the settings do not allow, or a template larger than is allowed."""


class UnreadableDataError(InputError):
    """Data that are no rows: another format, another encoding, or cut off."""


class UnreadableEventError(InputError):
    """What a webhook brought is verified, and no event that could be kept."""


class UnsupportedEventError(InputError):
    """What a webhook brought is verified, and of a kind that is not read here."""


class CallbackRefusedError(InputError):
    """An address that no callback may be sent to."""


class PolicyRefusedError(ProblemsError):
    """The tenant's policy does not allow it; every rule that refuses is named."""


class InvalidPolicyError(ProblemsError):
    """A policy that cannot be read; all that is wrong is named."""


# --- NotFoundError


class RunNotFoundError(NotFoundError):
    """No such run for this tenant."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"no run {run_id}", hint="`factory runs list` shows the runs there are")


class JobNotFoundError(NotFoundError):
    """No such job in this run."""


class ArtifactNotFoundError(NotFoundError):
    """No such artifact for this tenant, or its body is gone."""


class HoldNotFoundError(NotFoundError):
    """No such hold for this tenant."""


class TemplateNotFoundError(NotFoundError):
    """No such template in the store."""


class DeadLetterNotFoundError(NotFoundError):
    """No such dead letter for this tenant."""


class ApiKeyNotFoundError(NotFoundError):
    """No such API key for this tenant, or one that whoever asks could not have given."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"no API key {key_id}", hint="`factory keys list` shows those there are")


class ApprovalNotFoundError(NotFoundError):
    """No such approval for this tenant."""


class RouteNotFoundError(NotFoundError):
    """Prefect does not have the pool, the queue or the deployment that a route names."""


class ContextPackageNotFoundError(NotFoundError):
    """No such context package for this tenant, or none that can be read any more."""


class RedriveOrderNotFoundError(NotFoundError):
    """No such redrive order for this tenant."""


class WebhookNotFoundError(NotFoundError):
    """No such source of webhooks for this tenant."""


class DeliveryNotFoundError(NotFoundError):
    """No such delivery of a webhook for this tenant, or it is older than they are kept."""


class CallbackNotFoundError(NotFoundError):
    """No such callback for this tenant."""


# --- AccessError


class UnauthenticatedError(AccessError):
    """No credential came along, or one that is wrong, expired or revoked: nobody is told which."""


class ForbiddenError(AccessError):
    """Somebody who is known may not do this; the message says what is missing."""


# --- ConflictError


class NotAllowedError(ConflictError):
    """This person may not do that; the message says who may."""


class RepositoryChangedError(ConflictError):
    """A repository is no longer as we left it: somebody works in it."""


class IllegalTransitionError(ConflictError):
    """A status may not follow another; the message names both."""

    def __init__(self, thing: str, from_status: str, to_status: str) -> None:
        super().__init__(f"{thing} is {from_status} and cannot become {to_status}")
        self.from_status = from_status
        self.to_status = to_status


class StaleVersionError(ConflictError):
    """Somebody else changed the row since it was read."""


class LeaseLostError(ConflictError):
    """Another worker holds the job by now: this one must not write, and not act, for it."""


class DuplicateAttemptError(ConflictError):
    """The attempt key stands already: the same message was delivered twice."""


class TemplateChangedError(ConflictError):
    """A published version is immutable, and this one has other content."""


class RequestConflictError(ConflictError):
    """The same idempotency key came with another body."""


class WebhookTakenError(ConflictError):
    """The tenant has a source of webhooks of that name."""


class ReplayedDeliveryError(ConflictError):
    """A delivery came again with another body."""


class NoLinksError(ConflictError):
    """Artifact storage that lets nobody in but the factory itself."""


class RepositoryTakenError(ConflictError):
    """A repository of that name exists and is not ours to write."""


class LayerConflictError(ConflictError):
    """Two steps that do not wait for each other write the same file."""


# --- TransientError


class LimitReachedError(TransientError):
    """Too much was asked for in too short a time; ``retry_after`` says when there is room again."""


class HostBusyError(TransientError):
    """An outside host asks us to come back later."""


class HostDownError(HostBusyError):
    """An outside host failed so often that nothing is asked of it for a while."""


class IssuerUnavailableError(TransientError):
    """An issuer of tokens does not tell its keys, so that none of its tokens can be checked."""


class StoreUnavailableError(TransientError):
    """The run store does not answer, or cannot write."""


class LostCommitError(StoreUnavailableError):
    """The run store went away while it committed: nobody knows whether it has."""


class JobTimeoutError(TransientError):
    """An attempt took longer than its job may."""


class PrefectUnavailableError(TransientError):
    """No Prefect server answers."""


class PrefectFailedError(PrefectUnavailableError):
    """A Prefect server answers, but fails at this one request."""


class MemoryUnavailableError(TransientError):
    """The memory cannot be read or written now."""


class StorageFullError(TransientError):
    """The disk is full or read-only."""


class StorageAwayError(TransientError):
    """A place of files does not answer: a share that is not mounted, or lost its server."""


class PolicyUnavailableError(TransientError):
    """The tenant's policy cannot be read now: nothing is accepted until somebody mends it."""


class StoreFullError(StoreUnavailableError, StorageFullError):
    """The run store has no room to write, or may only be read: it is away until somebody helps."""


# --- PermanentError


class SecretLeakError(PermanentError):
    """A job would have left a secret where others read it.

    Attributes:
        secrets: that were found there; no message says them.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, secrets: Sequence[str] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.secrets = tuple(secrets)


class UnshownMemoryError(PermanentError):
    """A job says that it made use of a memory that its run was never shown."""


class HostRejectedError(PermanentError):
    """An outside host refuses, and will again."""


class BuildFailedError(PermanentError):
    """A build that a job has followed to its end did not succeed, or is gone."""


class EffectElsewhereError(PermanentError):
    """A job would make something a second time, at another place than before."""

    def __init__(self, step: str, stands: str, asked: str) -> None:
        super().__init__(
            f"job {step} has made or found {stands}, and would make {asked} beside it",
            hint="retry it with the inputs that it had then, or undo the run and request it anew",
        )


class MissingExtraError(PermanentError):
    """A job needs packages that come with an extra of this one, and are not installed."""

    def __init__(self, job_type: str, extra: str, package: str) -> None:
        super().__init__(
            f"the job type {job_type} needs {package}, which is not installed",
            hint=f"install the extra {extra}: pip install 'factory-runtime[{extra}]'",
        )


class ApprovalDeniedError(PermanentError):
    """A person said no."""


class ApprovalExpiredError(PermanentError):
    """Nobody decided in time."""


class NobodyMayApproveError(PermanentError):
    """Too few are named who may decide, beside who requested the run or changed its plan."""


class ApprovalWithdrawnError(PermanentError):
    """Nobody has to decide any more: the run is to be undone."""


class CorruptStoreError(PermanentError):
    """The database is not one of ours, or is damaged."""


class CorruptArtifactError(PermanentError):
    """A body does not match its digest."""


class JobFailedError(PermanentError):
    """A job's last attempt failed; carried through Prefect as ids alone."""

    def __init__(self, run_id: str, step: str) -> None:
        super().__init__(f"job {step} of {run_id} failed")
        self.run_id = run_id
        self.step = step
