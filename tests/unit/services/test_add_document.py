"""What people know is kept by section; a new edition takes the place of the one before."""

from __future__ import annotations

import pytest

from factory_runtime.domain.document import MAX_BYTES, Added, Document
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.memory import Kind, Memory
from factory_runtime.memory.cutting.cutter import FileCutter
from factory_runtime.run_store import InMemoryRunStore
from factory_runtime.services.add_document import add_document
from tests.builders import TENANT
from tests.small_factory import SettableClock

GUIDE = """# Queues

Orders are put on one queue each, so that a slow customer holds up nobody else.

## Retries

A message is tried five times, and then put aside for a person to look at.
"""
CANARY = "ghp_" + "A1b2C3d4E5f6G7h8I9j0"


class Shelf:
    def __init__(self) -> None:
        self.store = InMemoryRunStore()
        self.clock = SettableClock()

    def add(self, text: str, source: str = "docs/queues.md", project: str | None = "shop") -> Added:
        document = Document(source, text.encode(), project)
        return add_document(self.store, self.clock, FileCutter(), TENANT, document, "ada")

    def sections(self) -> dict[str, Memory]:
        with self.store.begin(TENANT, read_only=True) as tx:
            return {memory.id: memory for memory in tx.list_memories(kind=Kind.DOCUMENT)}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_each_section_is_a_memory_with_its_place(shelf: Shelf) -> None:
    added = shelf.add(GUIDE)
    assert (len(added.memory_ids), added.changed, added.superseded) == (2, 2, 0)
    memory = shelf.sections()[added.memory_ids[1]]
    assert memory.title == "docs/queues.md: Queues > Retries"
    assert "put aside for a person" in memory.text
    assert (memory.path, memory.project_id, memory.first_line) == ("docs/queues.md", "shop", 5)
    with shelf.store.begin(TENANT, read_only=True) as tx:
        (entry,) = tx.list_audit()
        assert (entry.action, entry.actor) == ("memory.add", "ada")


def test_added_again_nothing_changes(shelf: Shelf) -> None:
    first = shelf.add(GUIDE)
    before = shelf.sections()
    assert shelf.add(GUIDE) == Added(first.source, first.memory_ids, 0, 0)
    assert shelf.sections() == before


def test_a_new_edition_supersedes_what_it_says_otherwise_or_not_at_all(shelf: Shelf) -> None:
    old = shelf.add(GUIDE + "\n## Names\n\nA queue is named after its service.\n").memory_ids
    shelf.clock.pass_time()
    new = shelf.add(GUIDE.replace("five times", "nine times")).memory_ids
    kept = shelf.sections()
    assert kept[old[2]].changed_at == shelf.clock.now(), "it waits for the index from now on"
    assert kept[old[0]].superseded_by is None
    assert kept[old[1]].superseded_by == new[1]
    assert kept[old[2]].superseded_by == new[0]
    assert shelf.add(GUIDE + "\n## Names\n\nA queue is named after its service.\n").changed == 2
    again = shelf.sections()
    assert [again[id_].superseded_by for id_ in old] == [None, None, None]
    assert again[new[1]].superseded_by == old[1]


def test_another_project_or_source_is_another_document(shelf: Shelf) -> None:
    shelf.add(GUIDE)
    assert shelf.add(GUIDE, project=None).changed == 2
    assert shelf.add(GUIDE, source="docs/other.md").changed == 2
    assert all(memory.superseded_by is None for memory in shelf.sections().values())


def test_no_secret_is_kept(shelf: Shelf) -> None:
    shelf.add(f"# Keys {CANARY}\n\nThe key of the staging queue is {CANARY}, for now.\n")
    assert CANARY not in repr(shelf.sections())


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("", "a.md"),
        ("\x00\x01", "a.md"),
        ("x" * (MAX_BYTES + 1), "a.md"),
        (GUIDE, ""),
        (GUIDE, "a\nb.md"),
        (GUIDE, "x" * 501),
    ],
)
def test_what_cannot_be_kept_is_refused(shelf: Shelf, text: str, source: str) -> None:
    with pytest.raises(InputError):
        shelf.add(text, source)
    assert shelf.sections() == {}
