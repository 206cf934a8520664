"""Options that many commands share."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

import typer

from cli.completion import complete_run, complete_step, complete_template
from factory_runtime.compiler.durations import DURATION_HINT, parse_duration
from factory_runtime.domain.errors import InputError

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Tenant = Annotated[str | None, typer.Option(help="Whose records; FACTORY_TENANT by default.")]
RunId = Annotated[
    str, typer.Argument(metavar="RUN_ID", help="Like run-01k….", autocompletion=complete_run)
]
RunIds = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN_ID", help="One or more, like run-01k….", autocompletion=complete_run
    ),
]
AnyRunIds = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN_ID]...",
        help="Like run-01k…; or choose runs with --where.",
        autocompletion=complete_run,
    ),
]
_STEP = typer.Argument(
    metavar="STEP", help="The job, like apply-domain[order].", autocompletion=complete_step
)
Step = Annotated[str, _STEP]
AnyStep = Annotated[str | None, _STEP]
TemplateName = Annotated[
    str, typer.Argument(metavar="TEMPLATE", help="Its name.", autocompletion=complete_template)
]

_DECIMAL = re.compile(r"\d+")


def overlap_option(text: str) -> timedelta:
    """How long what is replaced counts still, as ``--overlap`` gives it.

    Raises:
        InputError: it is no duration.
    """
    none = timedelta(0)
    return none if text in ("0", "0s") else duration_option(text, "--overlap") or none


def duration_option(text: str | None, name: str) -> timedelta | None:
    """The duration that an option gives.

    Raises:
        InputError: it is none, or nothing at all.
    """
    if text is None:
        return None
    length = parse_duration(text) if _DECIMAL.search(text) else None
    if not length:
        raise InputError(f"{name} is {text!r}, which is no duration", hint=f"write {DURATION_HINT}")
    return length
