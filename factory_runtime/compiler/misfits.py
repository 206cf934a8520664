"""What jobs have made that would not fit a changed plan. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from factory_runtime.compiler.expressions import evaluate, scope_name
from factory_runtime.compiler.syntax import Expression, parse_text
from factory_runtime.domain.errors import ExpressionError
from factory_runtime.domain.ids import canonical_json
from factory_runtime.domain.plan import Plan, PlannedJob
from factory_runtime.domain.progress import StepOutputs
from factory_runtime.domain.template import Step, Template


@dataclass(frozen=True, slots=True)
class Side:
    """A plan, and what expressions see as ``run`` under it."""

    plan: Plan
    run: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Misfit:
    """A job whose work the changed plan has no place for.

    Attributes:
        why: what would be otherwise, for people.
        inputs: names of the changed inputs that do it; none where the template does.
    """

    job: str
    why: str
    inputs: tuple[str, ...] = ()

    def __str__(self) -> str:
        names = f" (input {', '.join(self.inputs)})" if self.inputs else ""
        return f"{self.job}: {self.why}{names}"


def misfits(
    old: Side,
    new: Side,
    template: Template,
    kept: Collection[str],
    outputs: Mapping[str, Mapping[str, Any]],
    to_do: Collection[str],
) -> Iterator[Misfit]:
    """The jobs, of those in the old plan whose work is kept, that the new plan would do otherwise.

    That is one it does not have, or has with another type, or would skip, or would give another
    ``with``: as far as that can be worked out from the inputs and from what earlier jobs gave.
    Another version of a type, or other files in a source, are no misfit: the work was good when it
    was done.

    Args:
        old: as the work was done.
        new: as the run is to go on.
        template: that the new plan was compiled from.
        kept: names of the jobs whose work is kept.
        outputs: of the jobs that succeeded, by name.
        to_do: names of the jobs of the new plan that are still to be done.
    """
    changed = changed_inputs(old.plan.inputs, new.plan.inputs)
    giving = {scope_name(new.plan.job(name).step) for name in to_do}
    for job in old.plan.jobs:
        if job.name not in kept:
            continue
        now = new.plan.by_name.get(job.name)
        if now is None:
            yield _gone(job, template, changed)
        elif now.type != job.type:
            yield Misfit(job.name, f"would be of type {now.type} in place of {job.type}")
        elif now.skip or (now.when is not None and not _holds(new, now, outputs)):
            step = _step(now, template)
            conditions = [now.when, step.when if step is not None else None]
            yield Misfit(job.name, "its condition would not hold", _read(conditions, changed))
        else:
            for key, why in _other_with(old, new, job, now, outputs, giving):
                yield Misfit(job.name, why, _blamed(key, job, now, template, changed))


def _gone(job: PlannedJob, template: Template, changed: frozenset[str]) -> Misfit:
    step = _step(job, template)
    if step is None:
        return Misfit(job.name, f"template {template.id} {template.version} has no such step")
    return Misfit(job.name, "would not be there", _read(step.each, changed))


def _other_with(
    old: Side,
    new: Side,
    job: PlannedJob,
    now: PlannedJob,
    outputs: Mapping[str, Mapping[str, Any]],
    giving: Collection[str],
) -> Iterator[tuple[str, str]]:
    """The keys of ``with`` that the new plan would give otherwise, and why each."""
    before, after = _given(old, job, outputs), _given(new, now, outputs)
    for key in sorted({*before, *after}):
        late = _steps_in(now.with_.get(key)) & frozenset(giving)
        if before.get(key) != after.get(key):
            yield key, f"would be given another {key}"
        elif late:
            yield key, f"its {key} reads what step {min(late)} has still to give"


def _blamed(
    key: str, job: PlannedJob, now: PlannedJob, template: Template, changed: frozenset[str]
) -> tuple[str, ...]:
    """The changed inputs that a value of ``with`` is made from, its item's among them."""
    texts = [job.with_.get(key), now.with_.get(key)]
    step = _step(job, template)
    if step is not None and any("item" in one.names for one in _expressions(texts)):
        texts.append(step.each)
    return _read(texts, changed)


def _given(side: Side, job: PlannedJob, outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Each value of ``with``, in a spelling that tells 1 from 1.0 and from true."""
    scope = _scope(side, job, outputs)
    return {key: _spelled(value, scope) for key, value in job.with_.items()}


def _holds(side: Side, job: PlannedJob, outputs: Mapping[str, Mapping[str, Any]]) -> bool:
    try:
        return bool(evaluate(job.when, _scope(side, job, outputs)))
    except ExpressionError:
        return False  # nobody can tell any more


def _scope(side: Side, job: PlannedJob, outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    scope: dict[str, Any] = {
        "inputs": side.plan.inputs,
        "steps": StepOutputs(side.plan, outputs),
        "run": side.run,
    }
    return scope if job.item_key is None else {**scope, "item": job.item}


def _spelled(value: Any, scope: Mapping[str, Any]) -> str:
    try:
        return canonical_json(evaluate(value, scope))
    except ExpressionError as error:
        return f"cannot be worked out: {error}"


def changed_inputs(old: Mapping[str, Any], new: Mapping[str, Any]) -> frozenset[str]:
    """Names of the inputs that differ, or that one side does not have."""
    return frozenset(
        name
        for name in {*old, *new}
        if not (name in old and name in new)
        or canonical_json(old[name]) != canonical_json(new[name])
    )


def _step(job: PlannedJob, template: Template) -> Step | None:
    return next((step for step in template.steps if step.name == job.step), None)


def _read(value: Any, changed: frozenset[str]) -> tuple[str, ...]:
    """Which of the changed inputs the expressions in a value read."""
    read: set[str] = set()
    for one in _expressions(value):
        whole = "inputs" in one.names and not one.inputs
        read |= changed if whole else changed & one.inputs
    return tuple(sorted(read))


def _steps_in(value: Any) -> frozenset[str]:
    return frozenset(scope_name(step) for one in _expressions(value) for step in one.steps)


def _expressions(value: Any) -> Iterator[Expression]:
    if isinstance(value, str):
        yield from parse_text(value).expressions
    elif isinstance(value, Mapping):
        for item in cast("Mapping[str, Any]", value).values():
            yield from _expressions(item)
    elif isinstance(value, list | tuple):
        for item in cast("Sequence[Any]", value):
            yield from _expressions(item)
