"""Links to the bytes of artifacts, for who is to fetch them without a credential of ours."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from api.access import Reader
from api.context import Here
from api.problems import documented
from api.routes.artifacts import ArtifactId
from factory_runtime.services.link_artifact import link_artifact
from factory_runtime.services.visible import visible_artifact
from factory_runtime.wire.history import ArtifactLink

router = APIRouter(prefix="/artifacts", tags=["artifacts"])

Minutes = Annotated[int, Query(ge=1, le=60, description="how long it is good")]


@router.post("/{artifactId}/link", responses=documented(404, 409))
def link_body(
    artifact_id: ArtifactId, reader: Reader, api: Here, minutes: Minutes = 15
) -> ArtifactLink:
    """An address that gives an artifact's bytes to whoever has it, for minutes.

    It is for who may have the bytes. They come from storage itself, so nobody has looked whether they
    match their digest. Where storage is a folder there are none: 409.
    """
    runtime = api.runtime
    with runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        artifact = visible_artifact(tx, reader, artifact_id)
    now, good_for = runtime.clock.now(), timedelta(minutes=minutes)
    link = link_artifact(runtime.store, runtime.storage, reader, artifact, now, good_for)
    return ArtifactLink(
        url=link.url, expires_at=link.expires_at, sha256=artifact.sha256, size=artifact.size
    )
