"""An exception of Copier, Jinja, YAML or Python in one line, with the place in the source."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import yaml
from copier.errors import (
    ForbiddenPathError,
    InvalidConfigFileError,
    MultipleConfigFilesError,
    UnsafeTemplateError,
)
from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.exceptions import SecurityError

from factory_runtime.jobs.render.boxed import OverLimitError
from factory_runtime.jobs.render.guard import EscapeError
from factory_runtime.jobs.render.request import LayerRequest, RenderProblem

_LONGEST = 400


def explain(error: BaseException, layer: LayerRequest, out: Path) -> RenderProblem:
    """What to tell the template's author; never a path of this machine, never a traceback."""
    chain = list(_chain(error))
    problem = _problem(chain)
    folder = layer["folder"]
    message = problem["message"]
    for path in (folder, str(out), str(out.parent)):
        message = message.replace(f"{path}/", "").replace(path, ".")
    file, line = _place(chain, Path(folder))
    place = "/".join(filter(None, [layer["name"], file])) + (f":{line}" if line else "")
    problem["message"], problem["place"] = _one_line(message), _one_line(place)
    return problem


def _problem(chain: list[BaseException]) -> RenderProblem:
    for error in chain:
        match error:
            case MemoryError():
                return {"kind": "limit", "limit": "memory", "message": ""}
            case OverLimitError():
                return {"kind": "limit", "limit": error.limit, "message": ""}
            case OSError(errno=errno.EFBIG):
                return {"kind": "limit", "limit": "file", "message": ""}
            case OSError(errno=errno.ENOSPC | errno.EDQUOT):
                return {"kind": "full", "message": "the disk is full"}
            case UnsafeTemplateError():
                return _hostile_feature(error)
            case EscapeError() | SecurityError() | ForbiddenPathError():
                return {"kind": "hostile", "message": str(error).partition("\n\n")[0]}
            case _:
                pass
    return {"kind": "failed", "message": _message(chain)}


def _hostile_feature(error: UnsafeTemplateError) -> RenderProblem:
    features = str(error).partition("\n")[0].partition(": ")[2].rstrip(".")
    named = ", ".join(f"_{name}" for name in features.split(", "))
    return {
        "kind": "hostile",
        "message": f"copier.yml asks for {named}, which would run code of its own",
        "hint": f"remove {named}",
    }


def _message(chain: list[BaseException]) -> str:
    error = chain[0]
    match error:
        case InvalidConfigFileError():
            cause = chain[-1]
            if isinstance(cause, yaml.MarkedYAMLError):
                return f"it is not YAML: {cause.problem or cause.context}"
            return f"it is not YAML: {cause}"
        case MultipleConfigFilesError():
            return "there is a copier.yml and a copier.yaml; keep one of them"
        case UnicodeDecodeError():
            return "the file is a template but not UTF-8"
        case RecursionError():
            return "it is nested too deeply"
        case TemplateError():
            return error.message or type(error).__name__
        case KeyError():
            return f"KeyError: {error}"
        case _:
            pass
    text = str(error)
    module = type(error).__module__
    named = module.startswith(("copier", "factory_runtime")) or type(error) is ValueError
    return text if text and named else f"{type(error).__name__}: {text}".removesuffix(": ")


def _place(chain: list[BaseException], folder: Path) -> tuple[str, int]:
    """File and line in the source: the innermost frame that runs one of its templates."""
    for error in reversed(chain):
        if isinstance(error, TemplateSyntaxError):
            file = _below(error.filename, folder) or error.name
            return (file, error.lineno) if file else _place_in_work(chain)
    cause = chain[-1]
    if isinstance(chain[0], InvalidConfigFileError) and isinstance(cause, yaml.MarkedYAMLError):
        return "copier.yml", cause.problem_mark.line + 1 if cause.problem_mark else 0
    for error in chain:
        found = [
            (file, line)
            for name, line in _frames(error.__traceback__)
            if (file := _below(name, folder))
        ]
        if found:
            return found[-1]
    return _place_in_work(chain)


def _place_in_work(chain: list[BaseException]) -> tuple[str, int]:
    """The file Copier was at, or the question, from the variables of its frames."""
    for error in chain:
        step = error.__traceback__
        while step is not None:
            names = step.tb_frame.f_locals
            match step.tb_frame.f_code.co_name:
                case "_render_file":
                    return str(names.get("src_relpath", "")), 0
                case "_ask" if "var_name" in names:
                    return f"copier.yml, question {names['var_name']!r}", 0
                case "_raw_config" | "config_data" | "jinja_env":
                    return "copier.yml", 0
                case _:
                    pass
            step = step.tb_next
    return "", 0


def _frames(traceback: TracebackType | None) -> Iterator[tuple[str, int]]:
    while traceback is not None:
        yield traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
        traceback = traceback.tb_next


def _below(name: str | None, folder: Path) -> str | None:
    if name and Path(name).is_relative_to(folder):
        return Path(name).relative_to(folder).as_posix()
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


def _one_line(text: str) -> str:
    """For a terminal: without line ends, and without what would steer it."""
    line = "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
