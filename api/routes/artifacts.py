"""Artifacts: what jobs made, and its bytes."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response

from api.access import Operator, Reader
from api.context import Here
from api.downloads import UnsatisfiableError, download, headers_of, is_known, span_of
from api.parts import PartChoice, named_by, part
from api.problems import answer, documented, plain_problem
from factory_runtime.domain.access import Right
from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.ports import RunTransaction
from factory_runtime.services import keep_artifacts
from factory_runtime.services.artifact_readers import require_reader
from factory_runtime.services.read_artifact import note_reading, open_artifact
from factory_runtime.services.visible import visible_artifact, visible_projects
from factory_runtime.wire.history import ArtifactAnswer, Spans
from factory_runtime.wire.keeping import NewExpiry
from factory_runtime.wire.page import Part
from factory_runtime.wire.run import Name

router = APIRouter(prefix="/artifacts", tags=["artifacts"])

ArtifactId = Annotated[str, Path(alias="artifactId", min_length=1, max_length=64)]
_BYTES: dict[str, Any] = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
_BODY: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bytes, as they were recorded.", "content": _BYTES},
    206: {"description": "The part that `Range` asks for.", "content": _BYTES},
    304: {"description": "They are known: `If-None-Match` has their digest."},
    **documented(404, 416),
}


class ArtifactPage(PartChoice):
    """Which artifacts, and which part of them."""

    run: Name | None = None
    project: Name | None = None
    kind: ArtifactKind | None = None


@router.get("")
def list_artifacts(
    wanted: Annotated[ArtifactPage, Query()], reader: Reader, api: Here
) -> Part[ArtifactAnswer]:
    """What jobs made, the newest first; of one run the oldest first."""
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        last = named_by(wanted.cursor, partial(visible_artifact, tx, reader))
        found = tx.list_artifacts(
            run_id=wanted.run,
            project_id=wanted.project,
            kind=wanted.kind,
            projects=visible_projects(reader),
            limit=wanted.limit + 1,
            after=last,
        )
        answer_of = _Answers(tx)
        return part(found, wanted.limit, answer_of, lambda artifact: (artifact.id,))


@router.get("/{artifactId}", responses=documented(404))
def get_artifact(artifact_id: ArtifactId, reader: Reader, api: Here) -> ArtifactAnswer:
    """What is recorded of an artifact."""
    with api.runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        return _Answers(tx)(visible_artifact(tx, reader, artifact_id))


@router.get("/{artifactId}/body", responses=_BODY, response_class=Response)
def get_body(
    artifact_id: ArtifactId,
    reader: Reader,
    api: Here,
    if_none_match: Annotated[str | None, Header(max_length=2000)] = None,
    range_: Annotated[str | None, Header(alias="Range", max_length=200)] = None,
    if_range: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """An artifact's bytes, once they were found to match their digest: all of them, or a range.

    Of what is confidential an operator of its project gets them, and nobody else; of a data export
    who asked for its run does, too; of message content nobody else than who asked for its run.
    """
    runtime = api.runtime
    with runtime.store.begin(reader.tenant_id, read_only=True) as tx:
        artifact = visible_artifact(tx, reader, artifact_id)
        require_reader(tx, reader, artifact, runtime.clock.now())
    tag = f'"{artifact.sha256}"'
    if artifact.has_body and is_known(tag, if_none_match):
        return Response(status_code=304, headers=headers_of(tag))
    note_reading(runtime.store, artifact, reader.name, runtime.clock.now())
    body, size = open_artifact(runtime.storage, artifact)
    try:
        span = span_of(range_, size) if if_range in (None, tag) else None
    except UnsatisfiableError:
        body.close()
        problem = plain_problem(416, "unsatisfiable-range", f"the body has {size} bytes")
        return answer(problem, {"Content-Range": f"bytes */{size}"})

    def got() -> None:
        with runtime.store.begin(artifact.tenant_id) as tx:
            keep_artifacts.note_download(tx, artifact.id, runtime.clock.now())

    whole = artifact.once_downloaded and span is None
    name, media_type = artifact.name, artifact.media_type
    return download(body, size, span, name, media_type, tag, then=got if whole else None)


@router.post("/{artifactId}/expiry", responses=documented(404))
def set_expiry(
    artifact_id: ArtifactId, wanted: NewExpiry, operator: Operator, api: Here
) -> ArtifactAnswer:
    """Have an artifact expire then, or once it was downloaded; neither keeps it for good.

    Its bytes are deleted later, where no run that may go on, no other artifact and no hold needs
    them.
    """
    with api.runtime.store.begin(operator.tenant_id) as tx:
        visible_artifact(tx, operator, artifact_id, Right.OPERATE)
        expiring = keep_artifacts.set_expiry(
            tx,
            artifact_id,
            operator.name,
            api.runtime.clock.now(),
            wanted.expires_at,
            once_downloaded=wanted.once_downloaded,
        )
        return _Answers(tx)(expiring)


class _Answers:
    """Tells of artifacts of any runs; each run is looked up once."""

    def __init__(self, tx: RunTransaction) -> None:
        self._tx = tx
        self._spans = dict[str, Spans]()

    def __call__(self, artifact: Artifact) -> ArtifactAnswer:
        run_id = artifact.run_id
        if run_id not in self._spans:
            jobs = self._tx.list_jobs(run_id)
            self._spans[run_id] = Spans.of(self._tx.get_run(run_id), jobs)
        return ArtifactAnswer.of(artifact, self._spans[run_id])
