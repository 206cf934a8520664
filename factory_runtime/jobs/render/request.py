"""What the box and its child tell each other, as JSON in two files of the staging folder."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

MAX_DEPTH = 64
"""Folders inside folders. Far more than a repository needs, far less than walking a tree bears."""

LimitName = Literal["wall", "cpu", "memory", "size", "files", "file", "depth"]


class LayerRequest(TypedDict):
    """One layer: ``folder`` is where the source was unpacked, ``name`` what the template calls it."""

    name: str
    digest: str
    folder: str
    data: dict[str, Any]


class RenderRequest(TypedDict):
    """Everything the child is told; sizes in bytes."""

    staging: str
    out: str
    reply: str
    memory: int
    cpu: int
    file: int
    size: int
    files: int
    layers: list[LayerRequest]


class RenderProblem(TypedDict):
    """Why a render failed, in words for the template's author.

    ``place`` is the source, the file in it and the line, as far as they are known.
    """

    kind: Literal["failed", "hostile", "limit", "full"]
    message: str
    place: NotRequired[str]
    hint: NotRequired[str]
    limit: NotRequired[LimitName]


class RenderReply(TypedDict):
    """The child's answer: ``problem`` is there if and only if it failed."""

    peak_memory_bytes: int
    cpu_seconds: float
    problem: NotRequired[RenderProblem]
