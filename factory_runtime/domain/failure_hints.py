"""What is known of failures like one that somebody looks at."""

from __future__ import annotations

from dataclasses import dataclass

from factory_runtime.domain.failure_pattern import Resolution
from factory_runtime.domain.memory import Recalled


@dataclass(frozen=True, slots=True)
class KnownFailure:
    """A kind of failure that was seen before, and what was otherwise when it was got over.

    Attributes:
        recalled: the memory of it; of the very kind, with a score of 1.
        resolutions: what helped most often first; what was tried in vain last.
    """

    recalled: Recalled
    resolutions: tuple[Resolution, ...] = ()


@dataclass(frozen=True, slots=True)
class FailureHints:
    """What may help with a failure.

    Attributes:
        same: its own kind, by its fingerprint; None where it is new.
        similar: other kinds that read like it, the most alike first.
        trouble: why it is not known what is similar; None where it is.
    """

    same: KnownFailure | None = None
    similar: tuple[KnownFailure, ...] = ()
    trouble: str | None = None
