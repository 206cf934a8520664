"""What Azure's blob storage says, in the factory's own errors."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from factory_runtime.domain.errors import (
    ArtifactNotFoundError,
    PermanentError,
    StorageAwayError,
    StorageFullError,
)

_LATER = frozenset({408, 409, 429, 500, 502, 503, 504})
_ROLE = "give who we are there the role Storage Blob Data Owner: Contributor sets no tags"
_IMMUTABLE = "a policy of immutability or a legal hold of the account's keeps it as it is"
_TIER = "bodies cannot lie in the archive tier: look at the account's rules of lifecycle management"

# https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes, and the common ones
# beside them. No waiting ends these.
_WHAT_TO_DO = {
    "AccountIsDisabled": "have the account enabled, or its subscription;"
    " then `factory dead-letters retry`",
    "InsufficientAccountPermissions": "the account is read-only now, or may not do this at all:"
    " look at its state and its locks",
    "AuthorizationFailure": f"let this machine through the account's firewall; or {_ROLE}",
    "ContainerDisabled": "have the container enabled; then `factory dead-letters retry`",
    "BlobImmutableDueToPolicy": _IMMUTABLE,
    "BlobImmutableDueToLegalHold": _IMMUTABLE,
    "BlobArchived": _TIER,
    "BlobOperationNotSupported": "an account with a hierarchical namespace cannot be used",
}


def code_of(error: Exception) -> str | None:
    """What Azure calls it, like ``BlobNotFound``; None of what it did not answer."""
    code = getattr(error, "error_code", None)
    return None if code is None else str(getattr(code, "value", code))


@contextmanager
def blob_errors(container: str) -> Generator[None]:
    """Turns the library's errors into those of the port.

    Raises:
        ArtifactNotFoundError: the body is gone.
        PermanentError: who we are there may not do it, or nobody may until somebody mends it.
        StorageAwayError: it does not answer, or asks us to come again.
        StorageFullError: there is no room.
    """
    from azure.core import exceptions as azure

    try:
        yield
    except azure.ResourceNotFoundError as exc:
        raise ArtifactNotFoundError(
            f"a body in {container} is gone: {code_of(exc)}",
            hint="run its template once more to make it again",
        ) from exc
    except azure.HttpResponseError as exc:
        status = exc.status_code
        # An identity that is not accepted has no status: Entra refuses it, and not the storage.
        is_nobody = isinstance(exc, azure.ClientAuthenticationError)
        if is_nobody or status in (401, 403) or code_of(exc) in _WHAT_TO_DO:
            raise _refused(container, exc) from exc
        if status == 507:
            raise StorageFullError(
                f"no room left in {container}: {code_of(exc)}",
                hint="have the account's limit raised, or what is kept there expire",
            ) from exc
        if status == 412:
            raise StorageAwayError(f"a body in {container} was replaced while it was read") from exc
        if status is None or status in _LATER:
            raise _away(container, exc) from exc
        raise PermanentError(f"{container} refuses: {status} {code_of(exc)}") from exc
    except azure.AzureError as exc:  # no answer at all
        raise _away(container, exc) from exc


def _away(container: str, error: Exception) -> StorageAwayError:
    said = code_of(error) or type(error).__name__
    return StorageAwayError(
        f"the blob storage of {container} does not answer: {said}",
        hint="look at the account, and at FACTORY_ARTIFACT_ACCOUNT",
    )


def _refused(container: str, error: Exception) -> PermanentError:
    return PermanentError(
        f"the blob storage refuses us in {container}: {code_of(error)}",
        hint=_WHAT_TO_DO.get(code_of(error) or "", _ROLE),
    )
