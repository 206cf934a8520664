"""How values are written on the wire: camelCase, as the seeds have it, and nothing unknown."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Question(BaseModel):
    """The body of a request. A field that is not known is refused, not passed over.

    In a body, fields that are numbers or true or false are pydantic's strict ones: "no" and 0.0 are
    not false. In a query, which can be one as well, all is text.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
    )


class Answer(BaseModel):
    """The body of an answer. A client passes over what a newer server adds."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="ignore",
        frozen=True,
    )
