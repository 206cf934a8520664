"""What is to be otherwise when something goes round again: options that retries share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.door import Door
from cli.inputs import gather_inputs, read_inputs
from cli.options import duration_option
from factory_runtime.domain.dead_letter import Change
from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.ids import canonical_json

if TYPE_CHECKING:
    from factory_runtime.domain.run import Run

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Another value for an input; repeatable."),
]
InputsFile = Annotated[
    str | None,
    typer.Option(
        "--inputs",
        metavar="FILE",
        help="Other inputs, in YAML or JSON; null takes one away, - is standard input.",
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help="Time for each job that goes round again, like 2h."),
]
TemplateVersion = Annotated[
    str | None,
    typer.Option(metavar="VERSION", help="Go on with this version of the template."),
]


@dataclass(frozen=True)
class Asked:
    """The options as they were given."""

    settings: Sequence[str] | None = None
    file: str | None = None
    timeout: str | None = None
    version: str | None = None

    def of_run(self, door: Door, run_id: str) -> Change:
        """What they come to for one run: its inputs and its template say what texts mean.

        Raises:
            RunNotFoundError: no such run.
            InputError: an option or the file cannot be read.
        """
        timeout = duration_option(self.timeout, "--timeout")
        with door.desk.reading() as tx:
            run = tx.get_run(run_id)
        inputs: dict[str, Any] | None = None
        if self.settings or self.file is not None:
            inputs = self._inputs(door, run)
        return Change(
            inputs=inputs,
            timeout_seconds=None if timeout is None else timeout.total_seconds(),
            template_version=self.version,
        )

    def of_group(self, door: Door, run_id: str) -> Change:
        """What they come to for many runs, of which this is one: its template says what texts mean.

        Raises:
            RunNotFoundError, InputError: as ``of_run``.
        """
        change = self.of_run(door, run_id)
        if not self.settings and self.file is None:
            return change
        with door.desk.reading() as tx:
            run = tx.get_run(run_id)
        schema = _schema(door, run, self.version)
        # What this run has already, another may not have.
        inputs = gather_inputs(self.settings or (), None, schema, deepcopy(self._in_file))
        return replace(change, inputs=inputs)

    def _inputs(self, door: Door, run: Run) -> dict[str, Any]:
        current = door.desk.inputs_of(run)
        base = deepcopy({**current, **self._in_file})
        schema = _schema(door, run, self.version)
        wanted = gather_inputs(self.settings or (), None, schema, base)
        return {
            name: value
            for name, value in wanted.items()
            if name in self._in_file
            or name not in current
            or canonical_json(value) != canonical_json(current[name])
        }

    @cached_property
    def _in_file(self) -> Mapping[str, Any]:
        """Read once: standard input can be."""
        return {} if self.file is None else read_inputs(self.file)


def _schema(door: Door, run: Run, version: str | None) -> Mapping[str, Any]:
    """The template's schema; nothing where it cannot be loaded: the retry will say why."""
    try:
        return door.desk.schema_of_run(run, version)
    except FactoryError:
        return {}
