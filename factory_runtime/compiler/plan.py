"""Template + inputs → Plan, purely; and a plan as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from factory_runtime.compiler.expressions import evaluate
from factory_runtime.compiler.gates import APPROVAL, gate_of
from factory_runtime.compiler.graph import cycles, effective_needs, plan_order
from factory_runtime.compiler.schema import MAX_PROBLEMS, normalise_inputs
from factory_runtime.compiler.syntax import parse_text
from factory_runtime.compiler.work import one_work
from factory_runtime.domain.errors import (
    CorruptStoreError,
    ExpressionError,
    InvalidInputsError,
    PlanCycleError,
    Problem,
    UnknownJobTypeError,
)
from factory_runtime.domain.ids import canonical_json, is_slug
from factory_runtime.domain.plan import Plan, PlannedJob
from factory_runtime.domain.template import JobTypeFacts, Step, Template

MAX_JOBS = 20_000
MAX_NEEDS = 1_000_000
_KNOWN_WHEN_COMPILING = frozenset({"inputs", "item"})
_ITEM_KEYS = ("key", "name", "id")


def compile_plan(
    template: Template, inputs: Mapping[str, Any], job_types: Mapping[str, JobTypeFacts]
) -> Plan:
    """Turn a template and inputs into the graph of jobs. Pure: the same gives the same, always.

    Args:
        template: one that ``load_template`` found to be in order.
        inputs: JSON, as the caller gave it; defaults are filled in here.
        job_types: at least those that the template names.

    Raises:
        InvalidInputsError: with every problem of the inputs at once.
        UnknownJobTypeError: a job type of the template is not among them.
        PlanCycleError: the template was not checked.
    """
    filled, problems = normalise_inputs(template.inputs_schema, inputs)
    if problems:
        raise _refusal(template, problems)
    compiler = _Compiler(template, filled, job_types)
    with one_work():
        jobs = compiler.jobs()
    if compiler.problems:
        raise _refusal(template, compiler.problems[:MAX_PROBLEMS])
    return Plan(
        template_id=template.id,
        template_version=template.version,
        template_digest=template.digest,
        inputs=filled,
        jobs=jobs,
        outputs=template.outputs,
        each_steps=tuple(step.name for step in template.steps if step.each is not None),
        deadline=template.deadline,
    )


def _refusal(template: Template, problems: Sequence[Problem]) -> InvalidInputsError:
    count = f"{len(problems)} problem" + ("s" if len(problems) != 1 else "")
    return InvalidInputsError(f"the inputs of {template.id} have {count}", problems)


@dataclass(frozen=True, slots=True)
class _Item:
    """One thing that a step makes a job for."""

    job: str
    value: Any = None
    key: str | None = None


@dataclass(slots=True)
class _Compiler:
    """Makes the jobs, step by step in plan order."""

    template: Template
    inputs: Mapping[str, Any]
    job_types: Mapping[str, JobTypeFacts]
    problems: list[Problem] = field(default_factory=list[Problem])
    _jobs: list[PlannedJob] = field(default_factory=list[PlannedJob])
    # What a step is to those who need it: its jobs, or what it waited for where it has none.
    _stands_for: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    _made: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    _edges: int = 0

    def jobs(self) -> tuple[PlannedJob, ...]:
        steps = {step.name: step for step in self.template.steps}
        needs = effective_needs(self.template.steps)
        order = plan_order(needs)
        if len(order) < len(steps):
            raise PlanCycleError(next(cycles(needs)))
        replaces: dict[str, str] = {
            step.on_failure.fallback: step.name
            for step in self.template.steps
            if step.on_failure.fallback is not None
        }
        for name in order:
            self._add_step(steps[name], needs[name], replaces.get(name))
            if len(self._jobs) > MAX_JOBS or self._edges > MAX_NEEDS:
                message = f"more than {MAX_JOBS} jobs or {MAX_NEEDS} needs between them"
                self._problem("too-large", message, "give shorter lists")
                break
        return tuple(self._jobs)

    def _add_step(self, step: Step, needs: Sequence[str], replaces: str | None) -> None:
        above = self._needs_of(needs)
        items = self._items(step)
        names = tuple(item.job for item in items)
        self._made[step.name] = names
        self._stands_for[step.name] = names or above
        replaced = () if replaces is None else self._made[replaces]
        # With the same items as the step it stands in for, each stands in for its own, and waits
        # for no other.
        by_item = replaces is not None and step.each is not None
        shared = _without(above, replaced) if by_item else above
        each = 1 if step.approval is None else 2
        self._edges += (len(shared) + by_item) * len(items) * each
        if self._edges > MAX_NEEDS or len(self._jobs) + len(items) * each > MAX_JOBS:
            self._edges = MAX_NEEDS + 1
            return
        # A fallback of a step without jobs has nothing to stand in for.
        idle = replaces is not None and not replaced
        for item in items:
            own = (f"{replaces}[{item.key}]",) if by_item else ()
            job = self._job(step, item, (*shared, *own), own or replaced, idle)
            self._add_job(step, job)

    def _add_job(self, step: Step, job: PlannedJob) -> None:
        if step.approval is not None:
            gate = gate_of(job, step, self._facts(APPROVAL))
            self._jobs.append(gate)
            job = replace(job, needs=(*job.needs, gate.name))
        self._jobs.append(job)

    def _needs_of(self, needs: Sequence[str]) -> tuple[str, ...]:
        if len(needs) == 1:
            return self._stands_for[needs[0]]
        return tuple(dict.fromkeys(job for need in needs for job in self._stands_for[need]))

    def _job(
        self,
        step: Step,
        item: _Item,
        needs: tuple[str, ...],
        replaced: tuple[str, ...],
        idle: bool,
    ) -> PlannedJob:
        facts = self._facts(step.type)
        when, skip = self._condition(step, item)
        return PlannedJob(
            name=item.job,
            step=step.name,
            type=step.type,
            type_version=facts.version,
            needs=needs,
            with_=step.with_,
            retry=step.retry or facts.retry,
            timeout=step.timeout or facts.timeout,
            item=item.value,
            item_key=item.key,
            when=None if skip or idle else when,
            skip=skip or idle,
            priority=step.priority,
            cache=step.cache,
            on_failure=step.on_failure,
            undo=step.undo,
            fallback_for=replaced,
        )

    def _facts(self, type_: str) -> JobTypeFacts:
        facts = self.job_types.get(type_)
        if facts is None:
            raise UnknownJobTypeError(f"there is no job type {type_!r}")
        return facts

    def _condition(self, step: Step, item: _Item) -> tuple[str | None, bool]:
        """What is left of the condition, and whether it is false already."""
        if step.when is None:
            return None, False
        names = {name for one in parse_text(step.when).expressions for name in one.names}
        if not names <= _KNOWN_WHEN_COMPILING:
            return step.when, False
        scope = {"inputs": self.inputs} | ({} if item.key is None else {"item": item.value})
        try:
            return None, not evaluate(step.when, scope)
        except ExpressionError as error:
            self._problem("expression", f"when of {item.job}: {error}", error.hint)
            return None, False

    def _items(self, step: Step) -> list[_Item]:
        if step.each is None:
            return [_Item(step.name)]
        try:
            values = evaluate(step.each, {"inputs": self.inputs})
        except ExpressionError as error:
            self._problem("expression", f"each of {step.name}: {error}", error.hint)
            return []
        if not isinstance(values, list):
            self._problem("bad-input", f"each of {step.name} gives no list: {step.each}")
            return []
        return self._keyed(step, cast("list[Any]", values))

    def _keyed(self, step: Step, values: list[Any]) -> list[_Item]:
        found: dict[str, _Item] = {}
        for number, value in enumerate(values):
            key = _key_of(value)
            what = f"item {number + 1} of {step.name}"
            if key is None:
                hint = "an item is text, a number, or a mapping with a key, name or id"
                self._problem("bad-input", f"{what} has no key", hint)
            elif not is_slug(key):
                hint = "lower case, digits, hyphens, dots and underscores, at most 63"
                self._problem("bad-input", f"{what}: {key[:80]!r} cannot be a key", hint)
            elif key in found:
                self._problem("bad-input", f"{what}: {key!r} is there already", "keys must differ")
            else:
                found[key] = _Item(f"{step.name}[{key}]", value, key)
        return list(found.values())

    def _problem(self, code: str, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem("inputs", 0, 0, code, message, hint))


def _without(names: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    gone = frozenset(others)
    return tuple(name for name in names if name not in gone)


def _key_of(item: Any) -> str | None:
    if isinstance(item, Mapping):
        values = cast("Mapping[str, Any]", item)
        item = next((values[key] for key in _ITEM_KEYS if key in values), None)
    if isinstance(item, bool) or not isinstance(item, str | int | float):
        return None
    return str(item)


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Plan]:
    return TypeAdapter(Plan)


def plan_to_json(plan: Plan) -> str:
    """The plan as canonical JSON: the same plan is the same text, byte by byte.

    Defaults are written out: a run keeps its plan even where a later release has other defaults.
    """
    return canonical_json(_adapter().dump_python(plan, mode="json"))


def plan_from_json(text: str) -> Plan:
    """The plan that ``plan_to_json`` wrote.

    Raises:
        CorruptStoreError: the text is not such a plan.
    """
    try:
        return _adapter().validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the text"
        raise CorruptStoreError(f"not a plan: {where}: {first['msg']}") from error
