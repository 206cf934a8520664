"""A policy's text → Policy, or all of its problems at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from factory_runtime.compiler.findings import Fields, Findings, TooManyError, did_you_mean
from factory_runtime.compiler.policy_expiry import read_expiry
from factory_runtime.compiler.policy_rules import read_approvals, read_notices
from factory_runtime.compiler.schema_check import check_schema
from factory_runtime.compiler.work import EndlessError
from factory_runtime.compiler.yaml_nodes import Node, read_yaml
from factory_runtime.domain.errors import InvalidPolicyError, Problem
from factory_runtime.domain.ids import is_slug
from factory_runtime.domain.memory import Collection as MemoryCollection
from factory_runtime.domain.policy import (
    ANY,
    BLOCK,
    LOCAL_HOST,
    MAY_BE_SHARED,
    Limits,
    Policy,
    TemplateRule,
    names_git_host,
)

POLICY_KEYS = (
    "templates",
    "inputs",
    "approval",
    "quotas",
    "topics",
    "weight",
    "max_deadline",
    "notify",
    "memory",
    "git_host",
    "expiry",
)
VERSIONS_HINT = 'like ">=1.2,<2" or "==1.4.*"'
_WEIGHTS = (0.001, 1000)


@dataclass(frozen=True, slots=True)
class Known:
    """What there is to name; None where that cannot be told."""

    templates: Collection[str] | None = None
    job_types: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class PolicyReading:
    """What a policy's text says.

    Attributes:
        policy: None where there are problems.
        problems: all that is wrong, by place.
        warnings: what names something that is not here; it may be elsewhere, or come later.
    """

    policy: Policy | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def load_policy(body: bytes, file: str, source: str) -> Policy:
    """The policy that a text gives.

    Args:
        body: YAML.
        file: what to call the text in problems.
        source: ``Policy.source``.

    Raises:
        InvalidPolicyError: with all problems at once.
    """
    reading = read_policy(body, file, source)
    if reading.policy is None:
        count = f"{len(reading.problems)} problem" + ("s" if len(reading.problems) != 1 else "")
        raise InvalidPolicyError(f"the policy {file} has {count}", reading.problems)
    return reading.policy


def read_policy(body: bytes, file: str, source: str, known: Known | None = None) -> PolicyReading:
    """Read and check a policy's text; nothing is raised, whatever it holds."""
    root, problems = read_yaml(body, file)
    findings, warnings = Findings(file, problems), Findings(file)
    policy = None
    if root is not None:
        with suppress(TooManyError):
            try:
                fields = Fields.of(root, "a policy", findings, POLICY_KEYS)
                if fields is not None:
                    reader = _PolicyReader(fields, findings, warnings, known or Known())
                    policy = reader.read(source)
            except EndlessError:
                findings.add(root, "too-large", "the policy has more expressions than can be read")
    elif not problems:
        # Cut off while it was written, it must not allow everything.
        findings.add((1, 1), "missing-key", "the policy is empty", "write {} for one without rules")
    return PolicyReading(
        policy=None if findings else policy,
        problems=tuple(findings.sorted()),
        warnings=tuple(warnings.sorted()),
    )


@dataclass(frozen=True, slots=True)
class _PolicyReader:
    """Reads the keys of a policy in turn; no problem in one stops the next."""

    fields: Fields
    findings: Findings
    warnings: Findings
    known: Known

    def read(self, source: str) -> Policy:
        """The policy; it is only in order where no problem was noted."""
        quotas = self._inner("quotas", ("runs_per_day", "running_runs", "projects"))
        projects = None if quotas is None else quotas.node_of("projects")
        weight = self._weight()
        return Policy(
            source=source,
            templates=self._templates(),
            inputs=self._inputs(),
            approvals=self._approvals(),
            runs_per_day=None if quotas is None else _cap(quotas, "runs_per_day"),
            max_deadline=self.fields.duration("max_deadline"),
            limits=Limits(
                weight=1.0 if weight is None else weight,
                running_runs=None if quotas is None else _cap(quotas, "running_runs"),
                projects=self._caps(projects, "projects", "a project"),
                topics=self._topics(),
            ),
            notices=read_notices(self.fields, self.findings),
            weight=weight,
            shared_memory=self._shared_memory(),
            git_host=self._git_host(),
            expiry=read_expiry(self.fields, self.findings),
        )

    def _inner(self, key: str, known: tuple[str, ...]) -> Fields | None:
        node = self.fields.node_of(key)
        return None if node is None else Fields.of(node, key, self.findings, known)

    def _templates(self) -> Mapping[str, TemplateRule] | None:
        node = self._by_template("templates", '{microservice: {versions: ">=1.2,<2"}}')
        if node is None:
            return None
        return {name: self._template(name, inner) for name, inner in node.items()}

    def _template(self, name: str, node: Node) -> TemplateRule:
        if node.members is None and node.scalar is None and node.items is None:
            return TemplateRule()  # the bare name: every version
        fields = Fields.of(node, name, self.findings, ("versions", "withdrawn"))
        if fields is None:
            return TemplateRule()
        versions = fields.text("versions") or None
        if versions is not None and not _is_specifier(versions):
            fields.bad("versions", "a set of version specifiers", VERSIONS_HINT)
        return TemplateRule(versions, self._withdrawn(fields))

    def _withdrawn(self, fields: Fields) -> Mapping[str, str]:
        node = fields.node_of("withdrawn")
        if node is None:
            return {}
        if node.members is None:
            fields.bad("withdrawn", "a mapping from version to reason", '{"1.1.0": "leaks"}')
            return {}
        reasons = Fields(node, "withdrawn", self.findings, tuple(node.members))
        return {version: reasons.text(version) for version in node.members}

    def _inputs(self) -> Mapping[str, Mapping[str, Any]]:
        node = self._by_template("inputs", "{microservice: {properties: {…}}}")
        schemas: dict[str, Mapping[str, Any]] = {}
        for name, inner in (node or {}).items():
            if inner.members is None:
                self.findings.add(inner, "schema", "it must be a JSON Schema", "properties: …")
            elif check_schema(inner, schema := inner.plain(), self.findings):
                schemas[name] = schema
        return schemas

    def _by_template(self, key: str, hint: str) -> Mapping[str, Node] | None:
        node = self.fields.node_of(key)
        if node is None:
            return None
        if node.members is None:
            self.fields.bad(key, "a mapping by template", f"like {hint}")
            return {}
        for name, place in (node.keys or {}).items():
            self._warn_unknown(place, "template", name, self.known.templates)
        return node.members

    def _approvals(self) -> Any:
        rules, named = read_approvals(self.fields, self.findings)
        for name, place in named:
            self._warn_unknown(place, "template", name, self.known.templates)
        return rules

    def _topics(self) -> Mapping[str, int]:
        node = self.fields.node_of("topics")
        for name, place in ((node and node.keys) or {}).items():
            self._warn_unknown(place, "job type", name, self.known.job_types)
        return self._caps(node, "topics", "a job type")

    def _caps(self, node: Node | None, key: str, of: str) -> Mapping[str, int]:
        if node is None:
            return {}
        if node.members is None:
            hint = f"like {{NAME: 2}}, the name of {of}"
            self.findings.add(node, "bad-value", f"{key} must be a mapping of caps", hint)
            return {}
        for name, place in (node.keys or {}).items():
            if not is_slug(name):
                hint = "lower case, digits, hyphens, dots, at most 63"
                message = f"{name[:80]!r} cannot be the name of {of}"
                self.findings.add(place, "bad-value", message, hint)
        caps = Fields(node, key, self.findings, tuple(node.members))
        found = {name: _cap(caps, name) for name in node.members}
        return {name: cap for name, cap in found.items() if cap is not None}

    def _shared_memory(self) -> tuple[MemoryCollection, ...] | None:
        memory = self._inner("memory", ("shared",))
        if memory is None or memory.node_of("shared") is None:
            return None
        known = [one.value for one in MAY_BE_SHARED]
        named = memory.texts("shared")
        for name, node in named:
            if name not in known:
                message = f"{name!r} is no collection that is shared"
                self.findings.add(node, "bad-value", message, did_you_mean(name, known))
        return tuple(dict.fromkeys(MemoryCollection(name) for name, _ in named if name in known))

    def _git_host(self) -> str | None:
        named = self.fields.text("git_host") or None
        if named is not None and not names_git_host(named):
            self.fields.bad("git_host", "a git host", f"{LOCAL_HOST}, or {BLOCK}NAME")
        return named

    def _weight(self) -> float | None:
        node = self.fields.node_of("weight")
        if node is None:
            return None
        value, (least, most) = node.scalar, _WEIGHTS
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fields.bad("weight", "a number", "1 is everybody's, 2 gets twice as much")
        elif not least <= value <= most:
            hint = "to keep a tenant from running anything set quotas.running_runs to 0"
            self.fields.bad("weight", f"between {least} and {most}", hint)
        else:
            return float(value)
        return None

    def _warn_unknown(
        self, place: Any, what: str, name: str, known: Collection[str] | None
    ) -> None:
        if known is not None and name != ANY and name not in known:
            message = f"there is no {what} {name!r} here"
            self.warnings.add(
                place, f"unknown-{what.replace(' ', '-')}", message, _near(name, known)
            )


def _near(name: str, known: Collection[str]) -> str:
    return did_you_mean(name, sorted(known))


def _cap(fields: Fields, key: str) -> int | None:
    """A whole number, 0 at least."""
    node = fields.node_of(key)
    if node is None:
        return None
    value = node.scalar
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        fields.bad(key, "a whole number, 0 or more", "0 allows none; leave it out for no limit")
        return None
    return value


def _is_specifier(text: str) -> bool:
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return False
    return True
