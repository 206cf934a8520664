"""Check the routes that the settings name, before any job is sent along one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches

from factory_runtime.domain.errors import InputError, SettingsError
from factory_runtime.domain.route import Route, parse_route
from factory_runtime.jobs.approval import ApprovalGate


def check_routes(given: Mapping[str, str], job_types: Collection[str]) -> dict[str, Route]:
    """The routes by job type, as they were written.

    Raises:
        SettingsError: a route is none, or is for a type that nobody knows, or that only asks people.
    """
    routes: dict[str, Route] = {}
    for name, text in given.items():
        if name not in job_types:
            near = get_close_matches(name, job_types, 1)
            hint = (
                f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(job_types))}"
            )
            raise SettingsError(f"FACTORY_JOB_ROUTES: no job type is called {name!r}", hint=hint)
        if name == ApprovalGate.facts.name:
            raise SettingsError(
                f"FACTORY_JOB_ROUTES: jobs of type {name} do no work that could be done elsewhere",
                hint="take it out",
            )
        try:
            routes[name] = parse_route(text)
        except InputError as error:
            raise SettingsError(f"FACTORY_JOB_ROUTES: {name}: {error}", hint=error.hint) from error
    return routes
