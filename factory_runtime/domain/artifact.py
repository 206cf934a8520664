"""An Artifact: a reference to something a job made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from factory_runtime.domain.artifact_reference import check_image, check_package


class ArtifactKind(StrEnum):
    """What sort of thing it is."""

    REPOSITORY = "repository"
    COMMIT = "commit"
    TREE = "tree"
    PIPELINE = "pipeline"
    DOCUMENT = "document"
    LOG = "log"
    FILE = "file"
    IMAGE = "image"
    PACKAGE = "package"


class ArtifactType(StrEnum):
    """What it is to those who read it: ``services.artifact_readers`` says who may."""

    GENERATED_FILE = "generated-file"
    DATA_EXPORT = "data-export"
    ANALYSIS_RESULT = "analysis-result"
    MESSAGE_CONTENT = "message-content"

    @classmethod
    def of(cls, kind: ArtifactKind) -> ArtifactType:
        """What things of this kind are, where their job does not say."""
        return cls.ANALYSIS_RESULT if kind is ArtifactKind.LOG else cls.GENERATED_FILE


class Classification(StrEnum):
    """Who may see it."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"


@dataclass(frozen=True, slots=True)
class ArtifactDraft:
    """What a job type returns; the engine adds who and when.

    Attributes:
        name: unique within its job, like ``orders`` or ``azure-pipelines.yml``.
        uri: where it is: a clone URL, a commit URL, ``oci://…@sha256:…`` for an image, ``pkg:…`` for a
            package, or ``artifact:sha256:<hex>`` for a body that lies in artifact storage.
        sha256: digest of the body, or of what a registry has, as 64 hex digits; None for what has no
            bytes of its own.
        size: bytes, or None likewise.
        type: None is what things of its kind are.
        expires: how long it is kept; None is for good.
        once_downloaded: it expires when somebody has got all of it, if that comes first.

    Raises:
        InputError: an image or a package is not named so that it can be no other tomorrow.
    """

    kind: ArtifactKind
    name: str
    uri: str
    media_type: str
    size: int | None = None
    sha256: str | None = None
    classification: Classification = Classification.INTERNAL
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    type: ArtifactType | None = None
    expires: timedelta | None = None
    once_downloaded: bool = False

    def __post_init__(self) -> None:
        if self.kind is ArtifactKind.IMAGE:
            check_image(self.uri, self.sha256)
        elif self.kind is ArtifactKind.PACKAGE:
            check_package(self.uri, self.sha256)


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact as recorded. One per run, step, kind and name: a repeated record is a no-op.

    Attributes:
        creator: the attempt key that made it.
        expires_at: from then on nobody reads it, and the sweep may delete its body; None is never.
        once_downloaded: it expires soon after somebody has got all of it.
        body_deleted_at: since when its bytes are gone; the record stays.
    """

    id: str
    tenant_id: str
    run_id: str
    step: str
    kind: ArtifactKind
    name: str
    uri: str
    media_type: str
    creator: str
    created_at: datetime
    project_id: str
    size: int | None = None
    sha256: str | None = None
    classification: Classification = Classification.INTERNAL
    accessed_at: datetime | None = None
    expires_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    type: ArtifactType = ArtifactType.GENERATED_FILE
    once_downloaded: bool = False
    body_deleted_at: datetime | None = None

    @property
    def has_body(self) -> bool:
        """Whether artifact storage holds its bytes."""
        return self.uri.startswith("artifact:") and self.body_deleted_at is None

    def has_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now
