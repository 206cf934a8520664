"""The labelled set that comes with the factory: documents of our domain, questions, answers.

Two files a collection, one JSON object a line: ``runs.jsonl`` has the documents of ``runs``, and
``runs.queries.jsonl`` the questions that they answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from factory_runtime.domain.errors import InputError
from factory_runtime.domain.memory import Collection, Kind, Memory
from factory_runtime.domain.retrieval import EVALUATION_TENANT, RIGHT, Half, LabelledSet, Question

SHIPPED = Path(__file__).parent / "evaluation"
_KIND_OF: Mapping[Collection, Kind] = {
    Collection.TEMPLATES: Kind.TEMPLATE,
    Collection.RUNS: Kind.RUN,
    Collection.CODE: Kind.CODE,
    Collection.DOMAIN: Kind.DOCUMENT,
}
_WRITTEN = datetime(2026, 11, 22, tzinfo=UTC)

_Text = Annotated[str, Field(min_length=1)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: _Text
    cluster: _Text = Field(description="of documents that are much alike, and of their question")


_L = TypeVar("_L", bound=_Line)


class _Document(_Line):
    title: _Text
    text: _Text


class _Query(_Line):
    half: Half
    style: _Text
    query: _Text
    relevant: dict[str, Annotated[int, Field(ge=1, le=RIGHT)]]
    near_misses: list[str]


def read_labelled(folder: Path = SHIPPED) -> LabelledSet:
    """All four collections together, in the order of the files.

    Raises:
        InputError: a file that is missing or cannot be read, an id twice, a label of no document.
    """
    documents = tuple(one for collection in Collection for one in _documents(folder, collection))
    questions = tuple(one for collection in Collection for one in _questions(folder, collection))
    _check(documents, questions)
    return LabelledSet(documents, questions)


def _documents(folder: Path, collection: Collection) -> Iterator[Memory]:
    for document in _lines(folder / f"{collection.value}.jsonl", _Document):
        yield Memory(
            id=document.id,
            tenant_id=EVALUATION_TENANT,
            kind=_KIND_OF[collection],
            title=document.title,
            # What is learned of runs and templates begins with its title, too.
            text=f"{document.title}\n{document.text}",
            created_at=_WRITTEN,
        )


def _questions(folder: Path, collection: Collection) -> Iterator[Question]:
    for query in _lines(folder / f"{collection.value}.queries.jsonl", _Query):
        yield Question(
            id=query.id,
            collection=collection,
            half=query.half,
            style=query.style,
            query=query.query,
            relevant=query.relevant,
            near_misses=tuple(query.near_misses),
        )


def _lines(path: Path, form: type[_L]) -> Iterator[_L]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"{path} cannot be read: {exc}") from exc
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            yield form.model_validate_json(line)
        except ValidationError as exc:
            raise InputError(f"{path}:{number} is no labelled line: {exc}") from exc


def _check(documents: tuple[Memory, ...], questions: tuple[Question, ...]) -> None:
    known = {document.id for document in documents}
    if len(known) < len(documents) or len({one.id for one in questions}) < len(questions):
        raise InputError("an id of the labelled set stands twice")
    for question in questions:
        missing = {*question.relevant, *question.near_misses} - known
        if missing:
            raise InputError(f"question {question.id} names no documents: {sorted(missing)}")
        if RIGHT not in question.relevant.values():
            raise InputError(f"question {question.id} has no right answer")
