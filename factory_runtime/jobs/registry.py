"""Which job types there are: ours, and those of packages that offer theirs by entry point."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from factory_runtime.domain.errors import SettingsError, UnknownJobTypeError
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.ports import JobType

GROUP = "factory_runtime.job_types"
_OURS = "factory-runtime"


class InstalledJobTypes(dict[str, JobType]):
    """Job types by name. Asking for one that is missing says which one was probably meant.

    Attributes:
        broken: why a type that some package offers cannot be used, by name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.broken: dict[str, UnknownJobTypeError] = {}

    def __missing__(self, name: str) -> JobType:
        """Never gives one.

        Raises:
            UnknownJobTypeError: always.
        """
        if name in self.broken:
            raise self.broken[name]
        close = difflib.get_close_matches(name, self, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(self))}"
        raise UnknownJobTypeError(f"no job type {name!r}", hint=hint)


@cache
def job_types(modules: tuple[str, ...] = ()) -> InstalledJobTypes:
    """The job types that are installed, and those of these modules; found once for each process.

    Raises:
        SettingsError: a module cannot be loaded, or has no ``JOB_TYPES``.
    """
    found = find_job_types()
    for module in modules:
        found.update((job_type.facts.name, job_type) for job_type in _of_module(module))
    return found


def job_type_facts() -> Mapping[str, JobTypeFacts]:
    """What the installed job types say about themselves, by name."""
    return {name: job_type.facts for name, job_type in job_types().items()}


def find_job_types() -> InstalledJobTypes:
    """Look again for what is installed. One broken package does not hide the types of others."""
    found = InstalledJobTypes()
    offers: dict[str, set[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        offers.setdefault(entry.name, set()).add(entry)
    for name, entries in sorted(offers.items()):
        ours = [entry for entry in entries if _package(entry) == _OURS]
        if len(entries) > 1 and not ours:
            packages = ", ".join(sorted(_package(entry) for entry in entries))
            found.broken[name] = UnknownJobTypeError(
                f"job type {name!r} is offered more than once, by {packages}",
                hint="remove all but one of these packages",
            )
            continue
        entry = (ours or list(entries))[0]
        try:
            found[name] = _load(entry)
        except (Exception, SystemExit) as exc:  # a foreign package may raise anything
            found.broken[name] = UnknownJobTypeError(
                f"job type {name!r} of the package {_package(entry)} cannot be loaded: "
                f"{type(exc).__name__}: {exc}",
                hint=f"repair or remove the package {_package(entry)}",
            )
    return found


def check_with(facts: JobTypeFacts, with_: Mapping[str, Any]) -> tuple[str, ...]:
    """What is wrong with an evaluated ``with``, all of it, one line each; empty if nothing is."""
    # Half of what importing this module would cost, and the CLI only needs the names.
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(dict(facts.with_schema))
    errors = sorted(validator.iter_errors(dict(with_)), key=lambda error: error.json_path)  # pyright: ignore[reportUnknownMemberType] - its types are partial
    return tuple(_spelled(error.json_path, error.message) for error in errors)


def _of_module(module: str) -> list[JobType]:
    try:
        offered = list(import_module(module).JOB_TYPES)
        return [_checked(job_type, module) for job_type in offered]
    except (Exception, SystemExit) as exc:  # somebody's own module may raise anything
        raise SettingsError(
            f"the job types of {module} cannot be used: {type(exc).__name__}: {exc}",
            hint="FACTORY_JOB_TYPES names modules, each with a list JOB_TYPES",
        ) from exc


def _spelled(path: str, message: str) -> str:
    place = path.removeprefix("$").removeprefix(".")
    return f"{place}: {message[:300]}" if place else message[:300]


def _load(entry: EntryPoint) -> JobType:
    job_type = _checked(entry.load()(), entry.value)
    if job_type.facts.name != entry.name:
        raise ValueError(f"{entry.value} calls itself {job_type.facts.name!r}")
    return job_type


def _checked(job_type: Any, place: str) -> JobType:
    if not isinstance(getattr(job_type, "facts", None), JobTypeFacts):
        raise TypeError(f"{place} has no facts")
    for method in ("render", "publish", "probe"):
        if not callable(getattr(job_type, method, None)):
            raise TypeError(f"{place} has no {method}()")
    return cast(JobType, job_type)


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "unknown"
