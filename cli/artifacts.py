"""`factory artifacts`: what runs made, and how long it is kept."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from cli import artifacts_keeping
from cli.artifacts_keeping import kept
from cli.as_json import print_json, to_json
from cli.door import Door, open_door
from cli.options import Json, Tenant, duration_option
from cli.screen import Screen
from cli.text import local_time, size
from factory_runtime.domain.artifact import Artifact, ArtifactKind
from factory_runtime.domain.errors import InputError, StorageFullError

_MINUTE, _LONGEST = timedelta(minutes=1), timedelta(hours=1)
_GOOD_FOR = timedelta(minutes=15)

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
    link: Annotated[
        bool, typer.Option("--link", help="Print an address that gives them to whoever has it.")
    ] = False,
    good_for: Annotated[
        str | None,
        typer.Option("--for", metavar="DURATION", help="How long that is good: 15m, 1h at most."),
    ] = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Get an artifact's bytes, once they were found to match their digest; or a link to them."""
    link_for = _link_for(good_for, link=link, output=output)
    if json and output == "-":
        raise InputError(
            "--json and --output - would both write to standard output", hint="choose one of them"
        )
    door = open_door(tenant=tenant, json=json)
    with door.desk.reading() as tx:
        artifact = tx.get_artifact(artifact_id)
    if link_for is not None:
        _hand_out(door, artifact, link_for)
        return
    if not artifact.uri.startswith("artifact:") or artifact.sha256 is None:
        _tell_place(door, artifact)
        return
    _deliver(door, artifact, output)


def _link_for(text: str | None, *, link: bool, output: str | None) -> timedelta | None:
    """How long a link is to be good, in whole minutes as the API counts; None where none is asked."""
    if not link:
        if text is not None:
            raise InputError("--for says how long a link is good", hint="give --link with it")
        return None
    if output is not None:
        raise InputError("a link is no file", hint="--link or --output, not both")
    wanted = duration_option(text, "--for") or _GOOD_FOR
    if not _MINUTE <= wanted <= _LONGEST or wanted % _MINUTE:
        raise InputError(f"--for is {text!r}", hint="a link is good for whole minutes, 1m to 1h")
    return wanted


def _hand_out(door: Door, artifact: Artifact, good_for: timedelta) -> None:
    """The address alone goes to standard output, for whatever is to fetch it."""
    link = door.desk.link_to(artifact, good_for)
    if door.json:
        print_json({"artifact": to_json(artifact), "link": to_json(link)})
        return
    sys.stdout.write(f"{link.url}\n")
    Screen(sys.stderr).line(
        f"good until {local_time(link.expires_at)}, for whoever has it;"
        f" what comes is to have the sha256 {artifact.sha256}",
        "dim",
    )


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
