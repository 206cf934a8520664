"""Checks what holds between the parts of a template: names, needs, fallbacks, reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from factory_runtime.compiler.expressions import scope_name
from factory_runtime.compiler.findings import Findings, did_you_mean
from factory_runtime.compiler.gates import APPROVAL, gate_name
from factory_runtime.compiler.graph import Ancestors, cycles, effective_needs, plan_order
from factory_runtime.compiler.steps import Read, StepDraft
from factory_runtime.compiler.syntax import Expression, shorten
from factory_runtime.domain.errors import PlanCycleError
from factory_runtime.domain.template import OnFailure, Step


@dataclass(frozen=True, slots=True)
class Where:
    """A place of expressions: what it is called, and which names it may use."""

    what: str
    names: frozenset[str]
    hint: str


_EACH = Where("each", frozenset({"inputs"}), "each is evaluated before any step runs")
_OUTPUTS = Where("outputs", frozenset({"inputs", "steps", "run"}), "it may use inputs, steps, run")
_MAP = Where("map", frozenset({"event"}), "the map of a webhook reads the event alone")
_WHEN = Where("when", frozenset({"event"}), "the condition of a webhook reads the event alone")


class References:
    """What expressions may read: inputs by the schema, steps by their names."""

    def __init__(
        self, drafts: Iterable[StepDraft], schema: Mapping[str, Any], findings: Findings
    ) -> None:
        self._findings = findings
        self._steps = {scope_name(draft.step.name): draft.step.name for draft in drafts}
        self._inputs: Mapping[str, Any] = schema.get("properties", {})
        extra = schema.get("additionalProperties", schema.get("unevaluatedProperties", True))
        self._open = extra is not False or "allOf" in schema or "$ref" in schema

    def check(self, read: Read, where: Where) -> list[tuple[str, Expression]]:
        """Note names, inputs and steps that are not there; the steps that are."""
        found: list[tuple[str, Expression]] = []
        for expression in read.text.expressions:
            for name in sorted(expression.names - where.names):
                message = f"{name} cannot be used in {where.what}: {shorten(expression.text)}"
                self._findings.add(read.node, "expression", message, where.hint)
            for name in sorted(expression.inputs - self._inputs.keys()):
                if not self._open:
                    message = f"{shorten(expression.text)} reads an unknown input {name!r}"
                    hint = did_you_mean(name, self._inputs)
                    self._findings.add(read.node, "unknown-input", message, hint)
            for spelt in sorted(expression.steps):
                step = self._steps.get(scope_name(spelt))
                if step is not None:
                    found.append((step, expression))
                else:
                    message = f"{shorten(expression.text)} reads an unknown step {spelt!r}"
                    hint = did_you_mean(spelt, self._steps)
                    self._findings.add(read.node, "unknown-step", message, hint)
        return found

    def check_outputs(self, reads: Iterable[Read]) -> None:
        """The template's own outputs may read any step."""
        for read in reads:
            self.check(read, _OUTPUTS)

    def check_map(self, reads: Iterable[Read]) -> None:
        """What a webhook maps into inputs."""
        for read in reads:
            self.check(read, _MAP)

    def check_condition(self, read: Read) -> None:
        """Which events of a webhook are meant."""
        self.check(read, _WHEN)


class StepChecks:
    """Checks the steps against each other."""

    def __init__(self, drafts: Sequence[StepDraft], references: References, findings: Findings):
        self._findings = findings
        self._references = references
        self._drafts = self._distinct(drafts)

    def run(self) -> tuple[Step, ...]:
        """Note every problem; the steps, each with what it reads."""
        self._check_needs()
        self._check_fallbacks()
        self._check_gates()
        for circle in cycles(self._needs):
            place = self._drafts[circle[0]]
            node = place.needs[0][1] if place.needs else place.node
            self._findings.add(node, "cycle", str(PlanCycleError(circle)), "break the circle")
        return tuple(self._check_reads(draft) for draft in self._drafts.values())

    @cached_property
    def _needs(self) -> dict[str, list[str]]:
        return effective_needs([draft.step for draft in self._drafts.values()])

    @cached_property
    def _ordered(self) -> frozenset[str]:
        return frozenset(plan_order(self._needs))

    @cached_property
    def _ancestors(self) -> Ancestors:
        return Ancestors(self._needs, plan_order(self._needs))

    def _distinct(self, drafts: Sequence[StepDraft]) -> dict[str, StepDraft]:
        kept: dict[str, StepDraft] = {}
        for draft in drafts:
            name = draft.step.name
            first = kept.setdefault(scope_name(name), draft)
            if first is draft:
                continue
            message = f"two steps are called {name!r}"
            if first.step.name != name:
                spelt = scope_name(name)
                message = f"{name!r} and {first.step.name!r} are both steps.{spelt} in expressions"
            hint = f"the first is in line {first.node.line}"
            self._findings.add(draft.node.find(["name"]), "duplicate-step", message, hint)
        return {draft.step.name: draft for draft in kept.values()}

    def _check_needs(self) -> None:
        for draft in self._drafts.values():
            for need, node in draft.needs:
                if need not in self._drafts:
                    others = [name for name in self._drafts if name != draft.step.name]
                    message = f"{draft.step.name} needs {need!r}, which is no step"
                    self._findings.add(node, "unknown-need", message, did_you_mean(need, others))

    def _check_fallbacks(self) -> None:
        taken: dict[str, str] = {}
        for draft in self._drafts.values():
            name, node = draft.step.on_failure.fallback, draft.fallback
            if name is None or node is None:
                continue
            fallback = self._drafts.get(name)
            message = None
            if fallback is None or name == draft.step.name:
                message = f"{draft.step.name} falls back to {name!r}, which is no other step"
            elif fallback.each is not None and fallback.step.each != draft.step.each:
                message = f"{name} has an each, and {draft.step.name} not the same"
            elif name in taken:
                message = f"{name} is the fallback of {taken[name]} already"
            if message is not None:
                others = [other for other in self._drafts if other != draft.step.name]
                hint = did_you_mean(name, others) if fallback is None else None
                self._findings.add(node, "unknown-fallback", message, hint)
                draft.step = replace(draft.step, on_failure=OnFailure())
            taken.setdefault(name, draft.step.name)

    def _check_gates(self) -> None:
        """Approvals cannot be gone round, and nothing else is called as they are."""
        taken = {scope_name(name): name for name in self._drafts}
        fallbacks = {draft.step.on_failure.fallback for draft in self._drafts.values()}
        for draft in self._drafts.values():
            step, place = draft.step, draft.node.find(["approval"])
            if step.type == APPROVAL and step.on_failure.action in ("continue", "fallback"):
                message = f"{step.name} is an approval: what it stops cannot go on without it"
                hint = "leave it at fail, or compensate"
                self._findings.add(draft.node.find(["on_failure"]), "bad-value", message, hint)
            if step.approval is None:
                continue
            other = taken.get(scope_name(gate_name(step.name)))
            if other is not None:
                message = f"the job that asks for {step.name} is called {other}, as a step is"
                self._findings.add(
                    place, "duplicate-step", message, f"call the step {other} otherwise"
                )
            if step.name in fallbacks:
                message = f"{step.name} is a fallback and cannot ask for an approval"
                hint = "let it need a step of the type approval"
                self._findings.add(place, "bad-value", message, hint)

    def _check_reads(self, draft: StepDraft) -> Step:
        if draft.each is not None:
            self._references.check(draft.each, _EACH)
        has_items = draft.each is not None or draft.node.find(["each"]) is not draft.node
        names = ["inputs", "steps", "run", *(["item"] if has_items else [])]
        hint = "item needs an each, event belongs to triggers"
        where = Where("this step", frozenset(names), hint)
        reads: dict[str, None] = {}
        for read in draft.reads:
            for step, expression in self._references.check(read, where):
                reads[step] = None
                self._check_needed(draft.step.name, step, expression, read)
        return replace(draft.step, reads=tuple(reads))

    def _check_needed(self, reader: str, step: str, expression: Expression, read: Read) -> None:
        if step in self._needs[reader] or not {reader, step} <= self._ordered:
            return
        if not self._ancestors.waits_for(reader, step):
            message = f"{reader} reads {step} in {shorten(expression.text)} and does not need it"
            hint = f"add {step} to its needs" if step != reader else "a step cannot read itself"
            self._findings.add(read.node, "not-needed", message, hint)
