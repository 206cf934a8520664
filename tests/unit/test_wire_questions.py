"""What a body may say is what the document says: nothing is turned into what it is not."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from factory_runtime import wire
from factory_runtime.wire.base import Question

_OTHERS: dict[Any, tuple[Any, ...]] = {
    bool: (0, 1.0, "false", "no"),
    int: (False, "7", 7.5),
    float: (True, "7"),
}


def _below(kind: type[Question]) -> Iterator[type[Question]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _fields() -> Iterator[tuple[type[Question], str, type]]:
    for module in iter_modules(wire.__path__):
        import_module(f"{wire.__name__}.{module.name}")
    bodies = {one for one in _below(Question) if one.__module__.startswith(wire.__name__)}
    for question in sorted(bodies, key=lambda one: one.__name__):
        for name, field in question.model_fields.items():
            for plain in {*_parts(field.annotation)} & {*_OTHERS}:
                yield question, name, plain


_ALL = [
    (f"{question.__name__}.{name}", question, name, plain) for question, name, plain in _fields()
]


def test_there_are_such_fields():
    assert {"BulkCancel.undo", "Redrive.timeout_seconds", "MemoryQuestion.limit"} <= {
        name for name, *_ in _ALL
    }


@pytest.mark.parametrize(
    ("question", "name", "plain"), [rest for _, *rest in _ALL], ids=[name for name, *_ in _ALL]
)
def test_a_number_is_no_text_and_neither_is_true_or_false(
    question: type[Question], name: str, plain: type
):
    field = to_camel(name)
    for other in _OTHERS[plain]:
        with pytest.raises(ValidationError) as caught:
            question.model_validate({field: other})
        assert field in {error["loc"][0] for error in caught.value.errors()}, other
