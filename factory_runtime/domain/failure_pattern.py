"""A failure that was seen, and what was otherwise when it was got over: a fold over observations.

The same observations give the same pattern, in whatever order they come and however often.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from factory_runtime.domain.difference import Difference
from factory_runtime.domain.failure_tries import Try, tries_of
from factory_runtime.domain.memory import Observation, ObservationKind

CONFIRMED_AFTER = 2
"""Successes behind the same difference: one may be chance."""

_NAMED = 8


@dataclass(frozen=True, slots=True)
class Resolution:
    """Something that was otherwise when a step was tried again after a failure.

    Attributes:
        difference: what; without values that one project alone has, where several had the failure.
        tried: in how many cycles of runs.
        worked: in how many of them the step succeeded.
        last_at: when it was tried last.
    """

    digest: str
    difference: Difference
    tried: int
    worked: int
    last_at: datetime

    @property
    def is_confirmed(self) -> bool:
        """Whether it is more than a candidate."""
        return self.worked >= CONFIRMED_AFTER

    @property
    def rate(self) -> float:
        """The share of tries that worked, 0 to 1."""
        return self.worked / self.tried

    @property
    def words(self) -> str:
        """What was otherwise, for people."""
        return self.difference.words


@dataclass(frozen=True, slots=True)
class FailurePattern:
    """A kind of failure, as far as it was seen.

    Attributes:
        symptom: the error without what varies, and without secrets.
        steps, templates, projects, versions: where it was seen, most often first.
        jobs: how many failed so; ``runs``: of how many runs.
        resolutions: what helped most often first; what was tried in vain last.
    """

    tenant_id: str
    id: str
    fingerprint: str
    error_code: str
    job_type: str
    symptom: str
    steps: tuple[str, ...]
    templates: tuple[str, ...]
    versions: tuple[str, ...]
    projects: tuple[str, ...]
    jobs: int
    runs: int
    first_at: datetime
    last_at: datetime
    resolutions: tuple[Resolution, ...] = ()


def fold_failure(observations: Iterable[Observation]) -> FailurePattern | None:
    """The pattern of one subject; None where no failure is left of it."""
    unique = {_key(one): one for one in observations}
    seen = sorted(unique.values(), key=lambda one: (one.at, *map(str, _key(one))))
    failed = [one for one in seen if one.kind is ObservationKind.FAILED]
    if not failed:
        return None
    last = failed[-1]
    projects = _most_often(one.project_id or "" for one in failed)
    return FailurePattern(
        tenant_id=last.tenant_id,
        id=last.subject,
        fingerprint=str(last.facts["fingerprint"]),
        error_code=str(last.facts["error_code"]),
        job_type=str(last.facts["job_type"]),
        symptom=str(last.facts["symptom"]),
        steps=_most_often(one.step for one in failed),
        templates=_most_often(str(one.facts["template"]) for one in failed),
        versions=_most_often(str(_so(one).get("template_version", "")) for one in failed),
        projects=projects,
        jobs=sum(int(one.facts.get("jobs", 1)) for one in failed),
        runs=len({one.run_id for one in failed}),
        first_at=failed[0].at,
        last_at=last.at,
        resolutions=_resolutions(tries_of(seen), is_shared=len(projects) > 1),
    )


def _resolutions(tries: Sequence[Try], *, is_shared: bool) -> tuple[Resolution, ...]:
    by_digest: dict[str, list[Try]] = defaultdict(list)
    for one in tries:
        by_digest[one.difference.digest].append(one)
    found = [
        resolution
        for digest, some in by_digest.items()
        if (resolution := _resolution(digest, some, is_shared=is_shared)) is not None
    ]
    # Those that came later first, then the better ones before them: a sort keeps what is equal.
    found.sort(key=lambda one: (one.last_at, one.digest), reverse=True)
    found.sort(key=lambda one: (one.is_confirmed, one.rate, one.worked), reverse=True)
    return tuple(found)


def _resolution(digest: str, tries: Sequence[Try], *, is_shared: bool) -> Resolution | None:
    """None where nobody meant it as a remedy: other runs that failed likewise, and none that did not."""
    worked = {one.place for one in tries if one.worked}
    in_vain = {one.place for one in tries if not one.worked}
    worked -= in_vain  # it worked in one step of a cycle, and not in another
    if not worked and not any(one.is_own for one in tries):
        return None
    whole = tries[0].difference
    is_one_projects = is_shared and len({one.project_id for one in tries}) == 1
    return Resolution(
        digest=digest,
        difference=whole.without_values() if is_one_projects else whole,
        tried=len(worked | in_vain),
        worked=len(worked),
        last_at=max(one.at for one in tries),
    )


def _key(one: Observation) -> tuple[Any, ...]:
    # A failure goes before a success of the same moment: it may be what that one got over.
    is_success = one.kind is not ObservationKind.FAILED
    return (is_success, one.run_id, one.cycle, one.step, one.place)


def _so(one: Observation) -> Mapping[str, Any]:
    return one.facts.get("so") or {}


def _most_often(values: Iterable[str]) -> tuple[str, ...]:
    counted = Counter(value for value in values if value)
    ordered = sorted(counted, key=lambda value: (-counted[value], value))
    return tuple(ordered[:_NAMED])
