"""What the disk's refusals mean, in the factory's own errors."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from factory_runtime.domain.errors import (
    FactoryError,
    PermanentError,
    StorageAwayError,
    StorageFullError,
)

REACH = "mount it again, or look at the disk"

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_AWAY = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ENOTCONN,
        errno.ENODEV,
        errno.ENXIO,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EREMOTEIO,
    }
)
"""What the system says of a share or a disk that it cannot reach."""

_REFUSED = frozenset({errno.EACCES, errno.EPERM})


@contextmanager
def disk_errors(folder: Path) -> Generator[None, None, None]:
    """Turns what the system says about files below ``folder`` into a ``disk_error``."""
    try:
        yield
    except OSError as exc:
        raise disk_error(exc, folder) from exc


def disk_error(exc: OSError, folder: Path) -> FactoryError:
    """The error that tells what to do about a failed write or read below ``folder``."""
    reason = exc.strerror or str(exc)
    if exc.errno in _FULL:
        return StorageFullError(
            f"no room left in {folder}: {reason}", hint="free some space, then try again"
        )
    if exc.errno in _AWAY:
        return StorageAwayError(f"{folder} does not answer: {reason}", hint=REACH)
    if exc.errno == errno.EROFS:
        return StorageFullError(
            f"{folder} cannot be written: {reason}",
            hint="mount it writable, or point FACTORY_HOME to another folder",
        )
    if exc.errno in _REFUSED:
        return PermanentError(
            f"{folder} may not be used: {reason}",
            hint="give this user the right to read and write it, or choose another FACTORY_HOME",
        )
    return PermanentError(f"{folder} cannot be used: {reason}", hint="look at the folder")
