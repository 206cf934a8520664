"""What a job type is asked and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from factory_runtime.domain.artifact import ArtifactDraft


@dataclass(frozen=True, slots=True)
class Layer:
    """One source rendered with some data.

    Attributes:
        source: a name in the plan's sources: as the template wrote it, or ``<job type>:<name>`` for
            one that a job type brought along, like ``pipeline-generation:github-actions``.
    """

    source: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RenderOrder:
    """What a job wants rendered: layers in order, a later one over an earlier one."""

    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class ConfirmedEffect:
    """An effect that was intended in the ledger, and what came of it.

    Attributes:
        link: where a person finds it.
    """

    kind: str
    reference: str
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo did about one effect of the job that it undoes.

    Attributes:
        kind: of the effect.
        left: why it was left as it is; None where it is gone.
        note: how it was undone, for people.
    """

    kind: str
    left: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job's publishing half returns; the engine records it in one transaction.

    Attributes:
        outputs: JSON that later steps read as ``steps.<name>.outputs``.
        external_ids: any of ``build_id``, ``repo_id``, ``pipeline_id``, ``work_item_id``.
        degraded: in what way this is less than was asked for, for people: "from the copy of
            2026-11-20", "charts left out: latency". None where it is whole.
        undone: of an undo: one for each effect it was given.
        used: ids of memories that were shown to this run and that it made use of.
    """

    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    artifacts: tuple[ArtifactDraft, ...] = ()
    effects: tuple[ConfirmedEffect, ...] = ()
    external_ids: Mapping[str, str] = field(default_factory=dict[str, str])
    degraded: str | None = None
    undone: tuple[Undone, ...] = ()
    used: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """What a publishing half returns instead, to be called again later and hold nothing till then.

    The job is Waiting: no process, no lease. Effects that stand by now are confirmed.

    Attributes:
        due: when to wake it up; another attempt number, none of its budget.
        phrase: what it waits for, for people.
    """

    due: datetime
    phrase: str
    effects: tuple[ConfirmedEffect, ...] = ()
    external_ids: Mapping[str, str] = field(default_factory=dict[str, str])
