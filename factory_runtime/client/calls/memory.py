"""The memory: asking it, adding to it, and having it forget."""

from __future__ import annotations

from datetime import timedelta

from factory_runtime.client.call import Call, body_of, path_of, query_of
from factory_runtime.wire.context import ContextAnswer, ContextQuestion
from factory_runtime.wire.document import AddedAnswer, NewDocument
from factory_runtime.wire.forgotten import ErasedAnswer
from factory_runtime.wire.memory import MemoryQuestion, RecalledAnswer
from factory_runtime.wire.page import Part

_ERASING = timedelta(minutes=10)
"""Of very many memories it takes longer: it goes on there, and who asks again waits for the rest."""


def search_memory(asked: MemoryQuestion) -> Call[Part[RecalledAnswer]]:
    """What the factory remembers."""
    return Call("POST", "/memory/search", Part[RecalledAnswer], body=body_of(asked))


def make_context(asked: ContextQuestion) -> Call[ContextAnswer]:
    """What is known about a task."""
    return Call("POST", "/memory/context", ContextAnswer, body=body_of(asked))


def get_context(package_id: str) -> Call[ContextAnswer]:
    """A context package, until it expires."""
    return Call("GET", path_of("memory", "context", package_id), ContextAnswer)


def add_document(asked: NewDocument) -> Call[AddedAnswer]:
    """Keep a document's sections."""
    return Call("POST", "/memory/documents", AddedAnswer, body=body_of(asked))


def forget_run(run_id: str) -> Call[ErasedAnswer]:
    """Erase what a run taught, for good."""
    return Call("DELETE", path_of("memory", "runs", run_id), ErasedAnswer, takes=_ERASING)


def forget_project(project_id: str) -> Call[ErasedAnswer]:
    """Erase what the runs and documents of a project taught, for good."""
    return Call("DELETE", path_of("memory", "projects", project_id), ErasedAnswer, takes=_ERASING)


def forget_everything(tenant: str) -> Call[ErasedAnswer]:
    """Erase the whole memory of one's tenant, for good: it is named to say what is meant."""
    return Call("DELETE", "/memory", ErasedAnswer, query_of(tenant=tenant), takes=_ERASING)
