"""`factory memory`: what was learned, and what is made of it."""

from __future__ import annotations

import typer

from cli.memory_context import context
from cli.memory_search import search

app = typer.Typer(help="Search what was learned.", no_args_is_help=True)
for command in (search, context):
    app.command()(command)


@app.callback()
def _memory() -> None:
    """Search what was learned."""
