"""`factory memory add`: files and folders, and what is no knowledge among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory_runtime.domain.document import MAX_BYTES
from tests.cli_home import Factory

GUIDE = "# Queues\n\nOrders are put on one queue each, so that no customer waits.\n"


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "notes"
    (folder / ".hidden").mkdir(parents=True)
    (folder / "queues.md").write_text(GUIDE)
    (folder / "empty.md").write_text("")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / ".hidden" / "old.md").write_text("# Old\n\nNobody is to find this again.\n")
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_folder_is_added_and_found_and_added_again_without_a_change(
    factory: Factory, notes: Path
) -> None:
    told = factory("memory", "add", "notes", "--json").json
    assert [(one["source"], one["changed"]) for one in told["added"]] == [("notes/queues.md", 1)]
    assert [one["source"] for one in told["skipped"]] == ["notes/empty.md"]
    found = factory("memory", "search", "who waits for a customer", "--kind", "document", "--json")
    assert [one["path"] for one in found.json["results"]] == ["notes/queues.md"]
    again = factory("memory", "add", "notes")
    assert again.code == 0
    assert "left out notes/empty.md" in again.out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("nowhere.md",), 3),
        (("notes/empty.md",), 2),
        (("notes/queues.md", "notes/empty.md", "--source", "one"), 2),
        (("notes/queues.md", "--classification", "secret"), 2),
        ((), 2),
    ],
)
def test_what_cannot_be_added_is_said(
    factory: Factory, notes: Path, words: tuple[str, ...], code: int
) -> None:
    assert factory("memory", "add", *words).code == code


def test_a_file_that_cannot_be_read_keeps_no_other_from_being_added(
    factory: Factory, notes: Path
) -> None:
    (notes / "broken.md").symlink_to("/proc/self/mem")
    (notes / "large.md").write_bytes(b"x" * (MAX_BYTES + 9))
    told = factory("memory", "add", "notes", "--json").json
    assert [one["source"] for one in told["added"]] == ["notes/queues.md"]
    reasons = {one["source"]: one["reason"] for one in told["skipped"]}
    assert "cannot be read" in reasons["notes/broken.md"]
    assert f"{MAX_BYTES + 9} bytes" in reasons["notes/large.md"]
    assert factory("memory", "add", "notes/broken.md").code == 2
    assert factory("memory", "add", "/dev/zero").code == 2
