"""`factory memory`: what was learned, and what is made of it."""

from __future__ import annotations

import typer

from cli import memory_model
from cli.memory_add import add
from cli.memory_context import context
from cli.memory_evaluate import evaluate
from cli.memory_forget import forget
from cli.memory_keep import rebuild, stats
from cli.memory_search import search

app = typer.Typer(help="Search what was learned.", no_args_is_help=True)
for command in (search, context, add, stats, rebuild, forget, evaluate):
    app.command()(command)
app.add_typer(memory_model.app, name="model")


@app.callback()
def _memory() -> None:
    """Search what was learned."""
