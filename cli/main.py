"""The `factory` command: parse, call one service, render.

Nothing heavy is imported here or at the top of a command's module: `factory --help` and the
reading commands must answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any

import typer
from typer.exceptions import Abort, TyperException
from typer.main import get_command

from cli import (
    api,
    approvals,
    artifacts,
    audit,
    callbacks,
    dead_letters,
    deploy,
    doctor,
    effects,
    jobs,
    keys,
    memory,
    policy,
    prove,
    run,
    runs,
    stack,
    steer,
    sweep,
    templates,
    undo,
    webhooks,
)
from cli.door import close_doors
from cli.errors import BAD_INPUT, DONE, RUN_FAILED, report, report_unexpected, report_usage
from cli.screen import Screen
from factory_runtime.domain.errors import FactoryError

_INTERRUPTED = 130

app = typer.Typer(
    name="factory",
    help="A software factory: templates become repositories, recorded and remembered.",
    epilog="Exit codes: 0 done, 1 the run failed, 2 bad usage or input, 3 not found, "
    "4 conflict, 5 unavailable.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: Rich would take longer than everything else
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.add_typer(runs.app, name="runs")
for command in (steer.cancel, steer.pause, steer.resume, steer.retry, undo.undo):
    runs.app.command()(command)
app.add_typer(jobs.app, name="jobs")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(approvals.app, name="approvals")
app.add_typer(effects.app, name="effects")
app.add_typer(templates.app, name="templates")
app.add_typer(artifacts.app, name="artifacts")
app.add_typer(audit.app, name="audit")
app.add_typer(policy.app, name="policy")
app.add_typer(memory.app, name="memory")
app.add_typer(keys.app, name="keys")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(callbacks.app, name="callbacks")
app.add_typer(deploy.app, name="deploy")
app.command("api")(api.api)
app.command("up")(stack.up)
app.command("down")(stack.down)
app.command("sweep")(sweep.sweep)
app.command("prove")(prove.prove)
app.command("doctor")(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"factory-runtime {version('factory-runtime')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A software factory: templates become repositories, recorded and remembered."""


@cache
def commands() -> Callable[..., Any]:
    """All commands, made of their functions: this takes longer than many a command."""
    return get_command(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(given, as_json="--json" in given)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough. The interpreter flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return RUN_FAILED
    return code


def _run(given: list[str], *, as_json: bool) -> int:
    if any(not _is_text(argument) for argument in given):
        return report_usage("an argument is no text in UTF-8", "factory", as_json=as_json)
    try:
        code: int | None = commands()(given, prog_name="factory", standalone_mode=False)
    except TyperException as error:
        return _usage(error, as_json=as_json)
    except FactoryError as error:
        return report(error, as_json=as_json)
    except (Abort, KeyboardInterrupt):
        code = _INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        return report_unexpected(error, as_json=as_json)
    finally:
        close_doors()
    if code == _INTERRUPTED:
        Screen(sys.stderr).line("interrupted", "warn")
        return RUN_FAILED
    return code or DONE


def _is_text(argument: str) -> bool:
    """Whether it can be printed and stored: the system gives bytes that are none as surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in argument)


def _usage(error: TyperException, *, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "factory"
    message = error.format_message().rstrip(".")
    if type(error).__name__ == "NoArgsIsHelpError":  # typer keeps the class to itself
        if not as_json:
            print(message, file=sys.stderr)
            return BAD_INPUT
        message = "say what to do"
    return report_usage(message[:1].lower() + message[1:], command, as_json=as_json)
