"""The one place where an error becomes an exit code and a message."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from cli.as_json import to_json
from cli.screen import Screen
from cli.text import first_line
from factory_runtime.domain.errors import (
    AccessError,
    CancelledError,
    ConflictError,
    FactoryError,
    InputError,
    NotFoundError,
    PermanentError,
    ProblemsError,
    TransientError,
)

DONE, RUN_FAILED, BAD_INPUT, NOT_FOUND, CONFLICT, UNAVAILABLE = range(6)

_CODES: tuple[tuple[type[FactoryError], int], ...] = (
    (InputError, BAD_INPUT),
    (NotFoundError, NOT_FOUND),
    (AccessError, CONFLICT),
    (ConflictError, CONFLICT),
    (TransientError, UNAVAILABLE),
    (PermanentError, UNAVAILABLE),
    (CancelledError, RUN_FAILED),
)


def exit_code_of(error: FactoryError) -> int:
    """What the command ends with."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), UNAVAILABLE)


def report(error: FactoryError, *, as_json: bool) -> int:
    """Tell standard error what went wrong and how to mend it; the exit code."""
    if as_json:
        _print_json(facts_of(error))
    else:
        screen = Screen(sys.stderr)
        screen.line(str(error), "bad")
        if isinstance(error, ProblemsError):
            for problem in error.problems:
                screen.line(f"  {problem}")
        if error.hint:
            screen.line(error.hint)
        if error.run_id:
            screen.line(f"recorded as {error.run_id}", "dim")
    return exit_code_of(error)


def facts_of(error: FactoryError) -> dict[str, Any]:
    """The error as JSON."""
    facts: dict[str, Any] = {"code": error.code, "message": str(error), "hint": error.hint}
    facts["problems"] = to_json(error.problems) if isinstance(error, ProblemsError) else []
    return {**facts, "run_id": error.run_id} if error.run_id else facts


def report_usage(message: str, command: str, *, as_json: bool) -> int:
    """Tell what was wrong with the command line itself; the exit code."""
    hint = f"`{command} --help` shows how it is used"
    if as_json:
        _print_json({"code": "usage", "message": message, "hint": hint, "problems": []})
    else:
        screen = Screen(sys.stderr)
        screen.line(f"{command}: {message}", "bad")
        screen.line(hint)
    return BAD_INPUT


def report_unexpected(error: Exception, *, as_json: bool) -> int:
    """An error that nobody foresaw: one line here, the traceback in a file; the exit code."""
    message = f"{type(error).__name__}: {first_line(str(error)) or 'no message'}"
    place = _write_traceback(error)
    hint = f"this is a bug in the factory; the traceback is in {place}"
    if as_json:
        _print_json({"code": "unexpected", "message": message, "hint": hint, "problems": []})
    else:
        screen = Screen(sys.stderr)
        screen.line(message, "bad")
        screen.line(hint)
    return UNAVAILABLE


def _print_json(facts: dict[str, Any]) -> None:
    print(json.dumps({"error": facts}, ensure_ascii=False), file=sys.stderr)


def _write_traceback(error: Exception) -> Path:
    text = "".join(traceback.format_exception(error))
    # Not through Settings: they may be what failed.
    folder = Path(os.environ.get("FACTORY_HOME") or ".factory").expanduser().absolute() / "stack"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = folder / "cli-error.log"
        place.write_text(text)
    except OSError:
        with tempfile.NamedTemporaryFile(
            "w", prefix="factory-error-", suffix=".log", delete=False
        ) as file:
            file.write(text)
        place = Path(file.name)
    return place
