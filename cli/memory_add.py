"""`factory memory add`: what people know, so that runs and agents find it too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli.as_json import print_json, to_json
from cli.door import open_door
from cli.options import Json, Tenant
from factory_runtime.domain.artifact import Classification
from factory_runtime.domain.document import MAX_BYTES, Added, Document
from factory_runtime.domain.errors import InputError, NotFoundError

SUFFIXES = (".md", ".markdown", ".txt", ".yaml", ".yml", ".json")
"""Of the files that are taken from a folder; a file that is named may have any."""
MOST_FILES = 1000


def add(
    paths: Annotated[
        list[Path], typer.Argument(help="Markdown, OpenAPI, ADRs, or folders of them.")
    ],
    project: Annotated[
        str | None, typer.Option(help="Whose knowledge it is; else the whole tenant's.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="What one document is called, instead of its path.")
    ] = None,
    classification: Annotated[
        Classification, typer.Option(help="Who may see it.")
    ] = Classification.INTERNAL,
    commit: Annotated[str | None, typer.Option(help="Of the repository they are from.")] = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Add what people know, section by section; a new edition takes the place of the one before."""
    files = list(_files(paths))
    if source is not None and len(files) > 1:
        raise InputError("--source names one document", hint="add the files one by one")
    door = open_door(tenant=tenant, json=json)
    added: list[Added] = []
    skipped: list[tuple[str, str]] = []
    for path, is_named in files:
        name = source or path.as_posix()
        try:
            document = Document(name, _read(path), project, classification, commit)
            added.append(door.desk.add_document(document))
        except InputError as error:
            if is_named:
                raise
            skipped.append((name, str(error)))
    door.desk.index_added()
    if json:
        told = [to_json(one) for one in added]
        print_json({"added": told, "skipped": [{"source": s, "reason": w} for s, w in skipped]})
        return
    door.screen.table(
        ("document", "sections", "new", "superseded"),
        [
            (one.source, str(len(one.memory_ids)), str(one.changed), str(one.superseded))
            for one in added
        ],
        flexible=("document",),
    )
    for name, reason in skipped:
        door.screen.line(f"left out {name}: {reason}", "dim")


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Files to read, and whether each was named itself."""
    count = 0
    for path in paths:
        if not path.exists():
            raise NotFoundError(f"there is no {path}")
        found = sorted(_below(path)) if path.is_dir() else [path]
        count += len(found)
        if count > MOST_FILES:
            raise InputError(f"more than {MOST_FILES} files", hint="add fewer at once")
        yield from ((one, not path.is_dir()) for one in found)


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and path.is_file() and not hidden:
            yield path


def _read(path: Path) -> bytes:
    """No more than can be added: some files have no end."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
            size = max(len(content), path.stat().st_size)
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror}") from exc
    if len(content) > MAX_BYTES:
        raise InputError(
            f"{path} has {size} bytes, and {MAX_BYTES} are the most",
            hint="add its parts by themselves",
        )
    return content
