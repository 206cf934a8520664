"""Why a run, or a job of it, stands where it does."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from factory_runtime.wire.base import Answer


class ReasonAnswer(Answer):
    """One thing that keeps it from going on."""

    kind: str = Field(examples=["tenant-slots"])
    step: str | None = Field(default=None, description="the job that it keeps; null is the run")
    limit: str | None = Field(default=None, examples=["quotas.running_runs"])
    allowed: int | None = None
    taken: int | None = None
    holders: tuple[str, ...] = Field(default=(), description="runs that hold the limit, by id")
    others: int = Field(default=0, description="runs that hold it and are not theirs to see")
    position: int | None = Field(default=None, description="in the tenant's queue, from 1")
    overall: int | None = Field(default=None, description="among all tenants' runs, from 1")
    until: datetime | None = None
    about: str | None = None
    reference: str | None = None
    by: tuple[str, ...] = Field(default=(), description="who may decide")
    changes: tuple[str, ...] = Field(default=(), description="what would change it")
