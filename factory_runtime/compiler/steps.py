"""Reads one step: its own keys, checked by themselves and against its job type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from factory_runtime.compiler.durations import DURATION_HINT, parse_duration
from factory_runtime.compiler.findings import Fields, Findings, did_you_mean
from factory_runtime.compiler.syntax import Text, has_expression, parse_text, reading_steps
from factory_runtime.compiler.with_check import check_with
from factory_runtime.compiler.yaml_nodes import Node
from factory_runtime.domain.approval import GROUP, Question
from factory_runtime.domain.errors import ExpressionError
from factory_runtime.domain.run import Priority
from factory_runtime.domain.template import (
    CacheRule,
    JobTypeFacts,
    OnFailure,
    RetryPolicy,
    Step,
)

STEP_KEYS = (
    "name",
    "type",
    "needs",
    "each",
    "when",
    "priority",
    "with",
    "retry",
    "timeout",
    "cache",
    "on_failure",
    "undo",
    "approval",
)
APPROVAL_KEYS = ("message", "by", "count", "expires", "escalate")
_NAME = re.compile(r"[a-z](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_NAME_HINT = "up to 63 lower-case letters, digits, hyphens and underscores, a letter first"
_FAIL_HINT = "fail, continue, compensate or {fallback: STEP}"


@dataclass(frozen=True, slots=True)
class Read:
    """A text with expressions, where it stands."""

    text: Text
    node: Node


@dataclass(slots=True)
class StepDraft:
    """A step as far as it could be read, with the places that later checks point at."""

    node: Node
    step: Step
    needs: list[tuple[str, Node]] = field(default_factory=list[tuple[str, Node]])
    fallback: Node | None = None
    each: Read | None = None
    reads: list[Read] = field(default_factory=list[Read])


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a template says for all of its steps."""

    retry: Fields | None = None
    timeout: timedelta | None = None


def read_texts(node: Node, findings: Findings) -> Iterator[Read]:
    """Every text with an expression at or below the node; those that cannot be read are noted.

    Raises:
        EndlessError: the file has too many.
    """
    if node.members is not None:
        for key, inner in node.members.items():
            if has_expression(key):
                place = (node.keys or {})[key]
                findings.add(place, "expression", "a key cannot hold an expression")
            yield from read_texts(inner, findings)
    elif node.items is not None:
        for inner in node.items:
            yield from read_texts(inner, findings)
    elif isinstance(node.scalar, str) and has_expression(node.scalar):
        findings.work.charge(reading_steps(node.scalar))
        try:
            yield Read(parse_text(node.scalar), node)
        except ExpressionError as error:
            findings.add(node, "expression", str(error), error.hint)


def read_retry(fields: Fields | None, base: RetryPolicy) -> RetryPolicy:
    """The policy: the base with whatever the mapping says."""
    if fields is None:
        return base
    policy = base
    if node := fields.node_of("max_attempts"):
        attempts = node.scalar
        if isinstance(attempts, int) and not isinstance(attempts, bool) and 1 <= attempts <= 20:
            policy = replace(policy, max_attempts=attempts)
        else:
            fields.bad("max_attempts", "a whole number from 1 to 20")
    if node := fields.node_of("jitter"):
        jitter = node.scalar
        if isinstance(jitter, int | float) and not isinstance(jitter, bool) and 0 <= jitter <= 1:
            policy = replace(policy, jitter=float(jitter))
        else:
            fields.bad("jitter", "a number from 0 to 1")
    delays = fields.list_of("delays", _duration, f"durations, {DURATION_HINT}")
    if delays is not None:
        policy = replace(policy, delays=tuple(delay for delay, _ in delays))
    return policy


def retry_fields(node: Node | None, findings: Findings) -> Fields | None:
    """The mapping of a ``retry``."""
    keys = ("max_attempts", "delays", "jitter")
    return None if node is None else Fields.of(node, "retry", findings, keys)


def _duration(node: Node) -> timedelta | None:
    return parse_duration(node.scalar) if isinstance(node.scalar, str) else None


class StepReader:
    """Reads the steps of one template."""

    def __init__(
        self, job_types: Mapping[str, JobTypeFacts], defaults: Defaults, findings: Findings
    ) -> None:
        self._job_types = job_types
        self._defaults = defaults
        self._findings = findings

    def read(self, node: Node) -> StepDraft | None:
        """The step; None where it is no mapping or has no name to call it by."""
        fields = Fields.of(node, "a step", self._findings, STEP_KEYS)
        if fields is None:
            return None
        name = self._name(fields)
        type_ = fields.text("type", required=did_you_mean("", self._job_types))
        facts = self._job_type(fields, type_)
        draft = StepDraft(node, Step(name=name, type=type_), needs=fields.texts("needs"))
        draft.each = self._one_expression(fields, "each", "a list, like ${{ inputs.entities }}")
        when = self._one_expression(fields, "when", "a condition, like ${{ inputs.docs }}")
        if when is not None:
            draft.reads.append(when)
        with_ = self._with(fields, facts, draft)
        on_failure = self._on_failure(fields, draft)
        draft.step = replace(
            draft.step,
            needs=tuple(dict.fromkeys(need for need, _ in draft.needs)),
            with_=with_,
            each=None if draft.each is None else str(draft.each.node.scalar),
            when=None if when is None else str(when.node.scalar),
            priority=self._priority(fields),
            retry=self._retry(fields, facts),
            timeout=fields.duration("timeout") or self._defaults.timeout,
            cache=self._cache(fields),
            on_failure=on_failure,
            undo=self._undo(fields, facts),
            approval=self._approval(fields, draft),
        )
        return draft if name else None

    def _name(self, fields: Fields) -> str:
        name = fields.text("name", required=_NAME_HINT)
        if name and not _NAME.fullmatch(name):
            fields.bad("name", f"a step's name, not {name[:80]!r}", _NAME_HINT)
            return ""
        return name

    def _job_type(self, fields: Fields, name: str) -> JobTypeFacts | None:
        facts = self._job_types.get(name)
        node = fields.node_of("type")
        if facts is None and name and node is not None:
            message = f"there is no job type {name!r}"
            self._findings.add(
                node, "unknown-job-type", message, did_you_mean(name, self._job_types)
            )
        return facts

    def _one_expression(self, fields: Fields, key: str, what: str) -> Read | None:
        node = fields.node_of(key)
        if node is None:
            return None
        before = len(self._findings)
        reads = list(read_texts(node, self._findings))
        if len(reads) == 1 and reads[0].text.whole:
            return reads[0]
        if len(self._findings) == before:
            fields.bad(key, f"one expression that gives {what}", "write it as ${{ … }}")
        return None

    def _with(
        self, fields: Fields, facts: JobTypeFacts | None, draft: StepDraft
    ) -> Mapping[str, Any]:
        node = fields.node_of("with")
        if node is None:
            node = Node(fields.node.line, fields.node.column, members={}, keys={})
        elif node.members is None:
            fields.bad("with", "a mapping")
            return {}
        draft.reads.extend(read_texts(node, self._findings))
        if facts is not None:
            check_with(node, facts, self._findings)
        return node.plain()

    def _priority(self, fields: Fields) -> Priority:
        text = fields.text("priority", Priority.NORMAL.value)
        try:
            return Priority(text)
        except ValueError:
            names = ", ".join(priority.value for priority in Priority)
            fields.bad("priority", f"one of {names}", did_you_mean(text, names.split(", ")))
            return Priority.NORMAL

    def _retry(self, fields: Fields, facts: JobTypeFacts | None) -> RetryPolicy | None:
        own = retry_fields(fields.node_of("retry"), self._findings)
        if own is None and self._defaults.retry is None:
            return None
        base = facts.retry if facts is not None else RetryPolicy()
        base = read_retry(self._defaults.retry, base)
        return read_retry(own, base)

    def _cache(self, fields: Fields) -> CacheRule:
        node = fields.node_of("cache")
        if node is None:
            return CacheRule()
        if node.scalar is False:
            return CacheRule(enabled=False)
        if node.members is None:
            fields.bad("cache", "false or a mapping", "like {ttl: 30d}")
            return CacheRule()
        return CacheRule(ttl=Fields(node, "cache", self._findings, ("ttl",)).duration("ttl"))

    def _on_failure(self, fields: Fields, draft: StepDraft) -> OnFailure:
        node = fields.node_of("on_failure")
        if node is None:
            return OnFailure()
        if node.members is not None:
            inner = Fields(node, "on_failure", self._findings, ("fallback",))
            name = inner.text("fallback", required="the name of a step")
            draft.fallback = inner.node_of("fallback") if name else None
            return OnFailure("fallback", name) if name else OnFailure()
        match node.scalar:
            case "fail" | "continue" | "compensate" as action:
                return OnFailure(action)
            case _:
                fields.bad("on_failure", _FAIL_HINT)
                return OnFailure()

    def _undo(self, fields: Fields, facts: JobTypeFacts | None) -> str | None:
        name = fields.text("undo") or None
        node = fields.node_of("undo")
        if name and node is not None and facts is not None and name not in facts.undos:
            message = f"{facts.name} offers no undo {name!r}"
            self._findings.add(node, "unknown-undo", message, did_you_mean(name, facts.undos))
        return name

    def _approval(self, fields: Fields, draft: StepDraft) -> Mapping[str, Any] | None:
        node = fields.node_of("approval")
        if node is None:
            return None
        inner = Fields.of(node, "approval", self._findings, APPROVAL_KEYS)
        if inner is None:
            return None
        draft.reads.extend(read_texts(node, self._findings))
        inner.text("message")
        named = _people(inner, "by")
        inner.duration("expires")
        if escalate := inner.node_of("escalate"):
            named += self._escalation(escalate, inner)
        self._count(inner, named)
        return node.plain()

    def _escalation(self, node: Node, approval: Fields) -> list[str]:
        """Who may decide as well, later."""
        inner = Fields.of(node, "escalate", self._findings, ("after", "to"))
        if inner is None:
            return []
        inner.require("after", DURATION_HINT)
        inner.require("to", "names, or group:NAME")
        after, expires = inner.duration("after"), approval.duration("expires")
        if after is not None and after >= (expires or Question("").expires):
            inner.bad("after", "shorter than it takes to expire")
        return _people(inner, "to")

    def _count(self, fields: Fields, named: list[str]) -> None:
        """How many have to grant it: not more than can be."""
        node = fields.node_of("count")
        if node is None:
            return
        count = node.scalar
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 100:
            fields.bad("count", "a whole number from 1 to 100")
            return
        countable = not any(name.startswith(GROUP) or has_expression(name) for name in named)
        if fields.node_of("by") is not None and countable and len(set(named)) < count:
            fields.bad("count", f"no more than the {len(set(named))} who may", "or name a group")


def _people(fields: Fields, key: str) -> list[str]:
    """Who may decide; to name nobody is not to leave it out, which lets anybody."""
    node = fields.node_of(key)
    if node is not None and node.items == []:
        fields.bad(key, "a list of at least one", "names of users, or group:NAME")
    return [name for name, _ in fields.texts(key)]
