"""A policy's rules in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from cli.text import duration
from factory_runtime.domain.approval import Question, spell_deciders
from factory_runtime.domain.policy import (
    ANY,
    ApprovalRule,
    Limits,
    Policy,
    TemplateRule,
    spell_expiry,
)


def rule_rows(policy: Policy) -> list[tuple[str, str]]:
    """Each rule: where it stands in the policy, and what it says."""
    return list(_rules(policy)) or [("none", "everything is allowed")]


def limit_rows(limits: Limits) -> list[tuple[str, str]]:
    """How much may run at once, under all policies together."""
    running = "no limit of its own" if limits.running_runs is None else str(limits.running_runs)
    return [
        ("weight", f"{limits.weight:g}"),
        ("runs at once", running),
        *((f"runs at once in {name}", str(cap)) for name, cap in sorted(limits.projects.items())),
        *((f"jobs at once, {name}", str(cap)) for name, cap in sorted(limits.topics.items())),
    ]


def approval_words(rule: ApprovalRule) -> str:
    """Who has to approve, and when."""
    where = "" if rule.templates == (ANY,) else f" of {', '.join(rule.templates)}"
    when = "" if rule.when is None else f" if {rule.when}"
    return f"runs{where}{when}: {question_words(rule.question)}"


def question_words(question: Question) -> str:
    """Who has to grant it, and how long they have."""
    count = "" if question.count == 1 else f"{question.count} votes of "
    by = spell_deciders(question.by)
    later = ""
    if question.escalate_after is not None:
        to = spell_deciders(question.escalate_to)
        later = f", after {duration(question.escalate_after)} {to} as well"
    return f"{count}{by}, within {duration(question.expires)}{later}"


def _rules(policy: Policy) -> Iterator[tuple[str, str]]:
    if policy.templates is not None:
        yield from _templates(policy.templates)
    for name, schema in policy.inputs.items():
        yield f"inputs.{name}", json.dumps(schema, ensure_ascii=False)
    for rule in policy.approvals:
        yield f"approval {rule.name}", approval_words(rule)
    limits = policy.limits
    numbers = (
        ("quotas.runs_per_day", policy.runs_per_day),
        ("quotas.running_runs", limits.running_runs),
        *((f"quotas.projects.{name}", cap) for name, cap in limits.projects.items()),
        *((f"topics.{name}", cap) for name, cap in limits.topics.items()),
    )
    yield from ((name, str(cap)) for name, cap in numbers if cap is not None)
    if policy.weight is not None:
        yield "weight", f"{policy.weight:g}"
    if policy.max_deadline is not None:
        yield "max_deadline", duration(policy.max_deadline)
    if policy.shared_memory is not None:
        yield "memory.shared", ", ".join(policy.shared_memory) or "none"
    if policy.git_host is not None:
        yield "git_host", policy.git_host
    for type_, expiry in policy.expiry.items():
        yield f"expiry.{type_}", spell_expiry(expiry)
    for notice in policy.notices:
        yield f"notify {notice.name}", f"{', '.join(notice.kinds) or 'all'} to {notice.to}"


def _templates(rules: Mapping[str, TemplateRule]) -> Iterator[tuple[str, str]]:
    if not rules:
        yield "templates", "none is allowed"
    for name, rule in rules.items():
        yield f"templates.{name}", rule.versions or "all versions"
        for version, why in rule.withdrawn.items():
            yield f"templates.{name}.withdrawn", f"{version}: {why}"
