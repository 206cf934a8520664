"""`factory templates suggest`: which template fits, and what to ask it for."""

from __future__ import annotations

import json as json_module
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, cast

import typer

from cli.as_json import print_json, to_json
from cli.door import Door, open_door
from cli.options import Json, Tenant
from cli.recalled import became_of, recalled_as_json
from cli.text import one_line
from factory_runtime.domain.suggestion import Suggestion


def suggest(
    query: Annotated[
        str, typer.Argument(help="What you want to make, like: a service that keeps orders.")
    ],
    project: Annotated[
        str | None, typer.Option(help="Draw from runs of this project alone.")
    ] = None,
    tenant: Tenant = None,
    json: Json = False,
) -> None:
    """Suggest a template, with inputs from runs that were asked for likewise."""
    door = open_door(tenant=tenant, json=json)
    suggestion = door.desk.suggest(query, project)
    named = suggestion.named_by(project or door.desk.project)
    line = _command(suggestion, project, named)
    command = door.desk.typed(line)
    if json:
        print_json({**_as_json(suggestion), "drawn_from": list(named), "command": command or None})
    else:
        _show(door, suggestion, command)


def _show(door: Door, suggestion: Suggestion, command: str) -> None:
    screen, best = door.screen, suggestion.template
    if best is None:
        screen.line("nothing like that was made yet, and no template says that it is for that")
    else:
        screen.line(f"{best.template_id} {best.version}: {one_line(best.title)}", "head")
    if suggestion.because:
        screen.heading("Because of")
        rows = [
            (
                f"{one.score:.2f}",
                one.memory.kind,
                one_line(one.memory.title),
                "; ".join(became_of(one)),
            )
            for one in suggestion.because
        ]
        screen.table(("score", "kind", "what", "became"), rows, flexible=("what",))
    if suggestion.inputs or suggestion.asked:
        screen.heading("Inputs")
        screen.facts(
            [
                *((name, "yours to say") for name in suggestion.asked),
                *((name, _spelled(value)) for name, value in suggestion.inputs.items()),
            ]
        )
    others = [one for one in suggestion.nearest if best is None or one != best]
    if others:
        screen.heading("Nearest templates" if best is None else "Also near")
        screen.table(
            ("score", "template", "title"),
            [
                (f"{one.score:.2f}", f"{one.template_id} {one.version}", one_line(one.title))
                for one in others
            ],
            flexible=("title",),
        )
    if command:
        screen.heading("To ask for it")
        screen.line(command)


def _command(suggestion: Suggestion, project: str | None, named: Sequence[str]) -> str:
    """What to type; names of what is yet to be said stand in capitals."""
    if suggestion.template is None:
        return ""
    words = ["factory", "run", suggestion.template.template_id]
    if project is not None:
        words += ["--project", project]
    for name in suggestion.asked:
        words += ["--set", f"{name}={name.upper()}"]
    for option in _options(suggestion.inputs):
        words += ["--set", option]
    for id_ in named:
        words += ["--drawn-from", id_]
    return shlex.join(words)


def _options(inputs: Mapping[str, Any]) -> Iterator[str]:
    for name, value in inputs.items():
        yield f"{name}={_spelled(value)}"


def _spelled(value: Any) -> str:
    """As ``--set`` reads it again."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        items = cast("list[Any]", value)
        if items and all(isinstance(one, str) and _is_plain(one) for one in items):
            return ",".join(items)
    return json_module.dumps(value, ensure_ascii=False)


def _is_plain(text: str) -> bool:
    return text == text.strip() != "" and "," not in text and not text.startswith(("[", "{"))


def _as_json(suggestion: Suggestion) -> dict[str, Any]:
    return {
        "template": to_json(suggestion.template),
        "inputs": to_json(suggestion.inputs),
        "asked": list(suggestion.asked),
        "because": [recalled_as_json(one) for one in suggestion.because],
        "nearest": to_json(suggestion.nearest),
    }
