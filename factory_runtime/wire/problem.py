"""Problem details: what every refusal and failure looks like (RFC 9457)."""

from __future__ import annotations

from pydantic import Field

from factory_runtime.wire.base import Answer

PROBLEM_TYPE = "urn:factory-runtime:problem:"
"""Before the code of the error, which stays the same between releases."""

PROBLEM_MEDIA_TYPE = "application/problem+json"


class Mistake(Answer):
    """One thing that is wrong with a request; all of them are named at once."""

    pointer: str = Field(description="where: a JSON pointer into the body, or a parameter's name")
    message: str
    code: str | None = None
    hint: str | None = None


class Problem(Answer):
    """Why a request was not carried out."""

    type: str = Field(examples=[f"{PROBLEM_TYPE}run-not-found"])
    title: str = Field(examples=["Run not found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["no run run-01k7d2v9f5x7m3g8t1r6c4w0qa"])
    hint: str | None = Field(default=None, description="what can be done about it")
    run_id: str | None = Field(default=None, description="the run that recorded a refused request")
    trace_id: str | None = None
    errors: tuple[Mistake, ...] = ()
