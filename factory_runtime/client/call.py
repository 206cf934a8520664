"""A call of the API: what is sent, and how its answer is read. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter
from pydantic.alias_generators import to_camel

from factory_runtime.domain.errors import InputError
from factory_runtime.wire.base import Question
from factory_runtime.wire.paths import API_PREFIX

T = TypeVar("T")

_STEPS = frozenset({"", ".", ".."})
"""No quoting hides these: a path is the same with and without them."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and the type of its answer.

    Attributes:
        path: below the API's prefix; its parts are quoted already.
        is_repeatable: whether sending it twice does no more than once.
        takes: how long its answer may take, where that can be longer than any other's.
    """

    method: str
    path: str
    answer: type[T]
    query: Mapping[str, Any] = field(default_factory=dict[str, Any])
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    is_repeatable: bool = True
    takes: timedelta = timedelta(0)

    @property
    def url(self) -> str:
        return API_PREFIX + self.path

    def read(self, content: bytes) -> T:
        """The answer.

        Raises:
            pydantic.ValidationError: it is none of this kind.
        """
        return TypeAdapter(self.answer).validate_json(content)


def path_of(*parts: str) -> str:
    """A path of these parts, none of which can lead to another.

    Raises:
        InputError: one of them is a step in a path, and not a name.
    """
    for part in parts:
        if part in _STEPS:
            raise InputError(f"{part!r} is the id of nothing", hint="give it as it is listed")
    return "/" + "/".join(quote(part, safe="") for part in parts)


def query_of(**chosen: Any) -> dict[str, Any]:
    """What a query says, by the names it has on the wire; what is None is left out."""
    return {to_camel(name): _text(value) for name, value in chosen.items() if value is not None}


def body_of(question: Question | None) -> Any:
    """A question as JSON, with only what was said in it."""
    if question is None:
        return None
    return question.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value).lower() if isinstance(value, bool) else value
