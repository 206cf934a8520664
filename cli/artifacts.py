"""`factory artifacts`: what runs made, and how long it is kept."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from cli import artifacts_keeping
from cli.artifacts_keeping import kept
from cli.as_json import print_json, to_json
from cli.door import Door, open_door
from cli.options import Json, Tenant
from cli.text import size
from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.errors import InputError, StorageFullError

app = typer.Typer(help="What runs made, and how long it is kept.", no_args_is_help=True)
artifacts_keeping.add_to(app)


@app.command("list")
def list_artifacts(
    run: Annotated[str | None, typer.Option(help="Only what this run made.")] = None,
    project: Annotated[str | None, typer.Option(help="Only what this project's runs made.")] = None,
    kind: Annotated[ArtifactKind | None, typer.Option(help="Only this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many to show.")] = 50,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """List artifacts: the newest first, of one run in the order they were made."""
    door = open_door(tenant=tenant, json=json)
    with door.desk.reading() as tx:
        if run is not None:
            tx.get_run(run)
        found = tx.list_artifacts(run_id=run, project_id=project, kind=kind, limit=limit)
    if json:
        print_json({"artifacts": to_json(found)})
    elif not found:
        door.screen.line("no artifacts" if run is None else "the run made no artifacts")
    else:
        door.screen.table(
            ("id", "kind", "name", "step", "size", "kept", "digest"),
            [(a.id, a.kind, a.name, a.step, size(a.size), kept(a), a.sha256 or "") for a in found],
            flexible=("step", "name", "digest"),
        )


@app.command()
def get(
    artifact_id: Annotated[str, typer.Argument(metavar="ID", help="Like art-01k….")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; - is stdout.")
    ] = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Get an artifact's bytes, once they were found to match their digest."""
    if json and output == "-":
        raise InputError(
            "--json and --output - would both write to standard output", hint="choose one of them"
        )
    door = open_door(tenant=tenant, json=json)
    with door.desk.reading() as tx:
        artifact = tx.get_artifact(artifact_id)
    if not artifact.uri.startswith("artifact:") or artifact.sha256 is None:
        _tell_place(door, artifact)
        return
    _deliver(door, artifact, output)


def _tell_place(door: Door, artifact: Artifact) -> None:
    """A repository or a commit lies where its address says, not in artifact storage."""
    if door.json:
        print_json({"artifact": to_json(artifact), "verified": None, "output": None})
        return
    how = "git clone " if artifact.kind is ArtifactKind.REPOSITORY else ""
    door.screen.line(f"{artifact.name} is a {artifact.kind}, kept where it was made:")
    door.screen.line(f"{how}{artifact.uri}")


def _deliver(door: Door, artifact: Artifact, output: str | None) -> None:
    with door.desk.body_of(artifact) as body:
        if output is not None and output != "-":
            _write(body, Path(output))
            _tell_written(door, artifact, output)
        elif door.json:
            _tell_written(door, artifact, None)
        else:
            _print(body, artifact, asked=output == "-")


def _print(body: BinaryIO, artifact: Artifact, *, asked: bool) -> None:
    text = artifact.media_type.startswith("text/") or artifact.media_type.endswith(("json", "yaml"))
    if sys.stdout.isatty() and not text and not asked:
        raise InputError(
            f"{artifact.name} is {artifact.media_type}, nothing for a terminal",
            hint="write it to a file: --output FILE",
        )
    sys.stdout.flush()
    shutil.copyfileobj(body, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _write(body: BinaryIO, place: Path) -> None:
    """Replace the file in one step, so that nobody finds half of it."""
    if place.is_dir():
        raise InputError(f"{place} is a folder", hint="name a file")
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as out:
            shutil.copyfileobj(body, out)
        temporary.chmod(0o644)
        temporary.replace(place)
    except FileNotFoundError as exc:
        raise InputError(f"there is no folder {place.parent}", hint="make it first") from exc
    except PermissionError as exc:
        raise InputError(f"{place} cannot be written", hint="choose another place") from exc
    except OSError as exc:
        raise StorageFullError(f"{place} cannot be written: {exc.strerror}") from exc
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _tell_written(door: Door, artifact: Artifact, output: str | None) -> None:
    if door.json:
        print_json({"artifact": to_json(artifact), "verified": True, "output": output})
    else:
        door.screen.line(f"{output}  {size(artifact.size)}  sha256 {artifact.sha256} verified")
