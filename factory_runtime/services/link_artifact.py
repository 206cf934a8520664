"""Hand out a link to what an artifact's record refers to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from factory_runtime.domain.access import Principal
from factory_runtime.domain.artifact import Artifact
from factory_runtime.domain.download import disposition, safe_type
from factory_runtime.domain.errors import InputError, NoLinksError
from factory_runtime.ports import ArtifactStorage, RunStore
from factory_runtime.services.artifact_readers import require_reader
from factory_runtime.services.keep_artifacts import note_download
from factory_runtime.services.read_artifact import body_of, note_reading

SHORTEST, LONGEST = timedelta(minutes=1), timedelta(hours=1)
"""How long a link is good: nobody can take it back."""


@dataclass(frozen=True, slots=True)
class Link:
    """Whoever has it gets the bytes until then, without any other credential."""

    url: str
    expires_at: datetime


def link_artifact(
    store: RunStore,
    storage: ArtifactStorage,
    reader: Principal,
    artifact: Artifact,
    now: datetime,
    good_for: timedelta,
) -> Link:
    """A link to an artifact's bytes, for who may read them. It counts as reading all of them.

    Raises:
        InputError: it would be good for too short, or too long.
        ForbiddenError: they may not read its bytes.
        ArtifactNotFoundError: it has no bytes in artifact storage, or they are gone.
        NoLinksError: this storage gives none.
        StoreUnavailableError: it cannot be written down, which it is before it is handed out.
    """
    if not SHORTEST <= good_for <= LONGEST:
        raise InputError("a link is good for a minute at least, and for an hour at most")
    with store.begin(artifact.tenant_id, read_only=True) as tx:
        require_reader(tx, reader, artifact, now)
    until = (now + good_for).replace(microsecond=0)
    url = storage.link(
        artifact.tenant_id,
        body_of(artifact),
        until=until,
        disposition=disposition(artifact.name),
        media_type=safe_type(artifact.media_type),
    )
    if url is None:
        raise NoLinksError(
            "the factory's artifact storage gives no links",
            hint="`…/body` answers with the bytes, and so does `factory artifacts get`",
        )
    # Written down before it is handed out: from then on nobody asks us who reads, or tells that
    # they have.
    note_reading(store, artifact, reader.name, now, link_until=until)
    with store.begin(artifact.tenant_id) as tx:
        note_download(tx, artifact.id, now)
    return Link(url, until)
