"""How long artifacts are kept: when they expire, what is held, and which bodies may go."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from factory_runtime.domain.artifact import Artifact
from factory_runtime.domain.hold import DyingBody, Hold


@dataclass(frozen=True, slots=True)
class NamedDigests:
    """What a part of the runs that may still go on names.

    Attributes:
        named: all that looks like a digest in what stands in their rows.
        bodies: digests of their bodies that lie in artifact storage, and may name more.
        last: the last of these runs; None where there is none behind.
    """

    named: frozenset[str]
    bodies: frozenset[str]
    last: str | None


class KeepingRecords(Protocol):
    """A part of ``RunTransaction``: one tenant's rows, like everything there."""

    # when artifacts expire
    def set_expiry(
        self, artifact_id: str, expires_at: datetime | None, *, once_downloaded: bool
    ) -> None:
        """Raises ArtifactNotFoundError: there is none."""
        ...

    def expired_artifacts(
        self, now: datetime, limit: int, *, after: Artifact | None = None
    ) -> tuple[Artifact, ...]:
        """Those whose bodies are not deleted yet, by when they expired."""
        ...

    # holds
    def add_hold(self, hold: Hold) -> None: ...

    def get_hold(self, hold_id: str) -> Hold: ...

    def save_hold(self, hold: Hold) -> None: ...

    def list_holds(
        self,
        *,
        standing: bool = True,
        projects: Collection[str] | None = None,
        limit: int = 200,
        after: Hold | None = None,
    ) -> tuple[Hold, ...]:
        """Oldest first; ``standing`` alone, or those that were released as well."""
        ...

    def is_held(self, artifact: Artifact) -> bool:
        """Whether a hold stands on it or on its run."""
        ...

    # bodies that may go
    def mark_dying(self, digests: Iterable[str], at: datetime) -> None:
        """Mark those that are not marked yet."""
        ...

    def take_mark(self, digests: Collection[str]) -> int:
        """Take the marks of these away; how many there were.

        It waits for whoever is deleting one of them.
        """
        ...

    def lock_dying(self, digest: str) -> DyingBody | None:
        """The mark, kept as it is until the transaction ends; None where it was taken away."""
        ...

    def dying_bodies(
        self, limit: int, *, until: datetime | None = None, after: DyingBody | None = None
    ) -> tuple[DyingBody, ...]:
        """Those marked by ``until``, the oldest first."""
        ...

    def count_dying(self) -> int: ...

    def note_body_deleted(self, digest: str, at: datetime) -> tuple[str, ...]:
        """Have the artifacts with this body say since when it is gone; their ids."""
        ...

    # what refers to bodies
    def kept_digests(self, digests: Collection[str], now: datetime) -> frozenset[str]:
        """Those that an artifact has which has not expired, is held, or whose run may go on."""
        ...

    def referred_digests(self, digests: Collection[str]) -> frozenset[str]:
        """Those that another row has than an artifact's: of any run, template, letter or delivery."""
        ...

    def named_by_living_runs(self, limit: int, *, after: str | None = None) -> NamedDigests:
        """What runs that may still go on name, so many of them at once, by their ids."""
        ...

    def oldest_attempt(self) -> datetime | None:
        """Since when the attempt has run that has run the longest; None where none runs."""
        ...
