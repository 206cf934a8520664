"""What policies say to one request: which rules refuse it, what needs an approval, how long."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from factory_runtime.compiler.explain import explain
from factory_runtime.compiler.expressions import evaluate
from factory_runtime.compiler.findings import did_you_mean
from factory_runtime.compiler.gates import APPROVAL, gate_all, with_of
from factory_runtime.compiler.schema import validator_for
from factory_runtime.domain.durations import spell_duration
from factory_runtime.domain.errors import (
    ExpressionError,
    PolicyRefusedError,
    Problem,
    UnknownJobTypeError,
)
from factory_runtime.domain.plan import Plan
from factory_runtime.domain.policy import ANY, ApprovalRule, Policy, TemplateRule
from factory_runtime.domain.template import JobTypeFacts
from factory_runtime.ports import RunTransaction

_QUOTA_LOCK = "policy.runs-per-day"


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """What a request comes to, as far as policies ask.

    Attributes:
        inputs: with defaults filled in.
        deadline: that was asked for; None where nobody did.
    """

    template_id: str
    template_version: str
    inputs: Mapping[str, Any]
    deadline: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Ruling:
    """What policies that allow a request ask of its run.

    Attributes:
        policies: that were asked.
        approvals: to be granted before anything is done.
        max_deadline: the shortest one of them; None is no limit.
    """

    policies: tuple[Policy, ...] = ()
    approvals: tuple[ApprovalRule, ...] = ()
    max_deadline: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Refusals:
    """Rules that refuse, each with its source."""

    problems: list[Problem] = field(default_factory=list[Problem])

    def add(self, source: str, rule: str, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem(source, 0, 0, rule, message, hint))

    def raise_any(self, what: str) -> None:
        """Raises PolicyRefusedError if there are any."""
        if self.problems:
            count = len(self.problems)
            rules = "one rule refuses" if count == 1 else f"{count} rules refuse"
            raise PolicyRefusedError(f"the policy does not allow {what}: {rules}", self.problems)


def refusals(policies: Iterable[Policy], facts: PolicyFacts) -> Refusals:
    """The rules that refuse, but for quotas."""
    found = Refusals()
    for policy in policies:
        _check_template(policy, facts, found)
        _check_inputs(policy, facts, found)
        longest = policy.max_deadline
        if longest is not None and facts.deadline is not None and facts.deadline > longest:
            asked, most = spell_duration(facts.deadline), spell_duration(longest)
            message = f"a deadline of {asked} is longer than {most}"
            found.add(policy.source, "max_deadline", message, f"ask for {most} at most")
    return found


def template_refusals(
    policies: Iterable[Policy], template_id: str, version: str
) -> tuple[Problem, ...]:
    """The rules that refuse a template in this version, whatever its inputs."""
    facts, found = PolicyFacts(template_id, version, {}), Refusals()
    for policy in policies:
        _check_template(policy, facts, found)
    return tuple(found.problems)


def rule_on(policies: Sequence[Policy], facts: PolicyFacts) -> Ruling:
    """What policies that allow it ask of the run."""
    longest = [one.max_deadline for one in policies if one.max_deadline is not None]
    return Ruling(tuple(policies), _approvals(policies, facts), min(longest, default=None))


def count_day(
    tx: RunTransaction, policies: Iterable[Policy], at: datetime, found: Refusals
) -> None:
    """Add the quotas of runs a day that are used up at that time."""
    quotas = [(p.source, p.runs_per_day) for p in policies if p.runs_per_day is not None]
    if not quotas:
        return
    day = day_of(at)
    count = tx.count_runs_since(day)
    for source, quota in quotas:
        if count >= quota:
            resets = day + timedelta(days=1)
            message = f"{count} of {quota} runs were accepted today"
            hint = f"it begins anew at {resets:%Y-%m-%d %H:%M} UTC"
            found.add(source, "quotas.runs_per_day", message, hint)


def day_of(at: datetime) -> datetime:
    """When the day began, in UTC."""
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def hold_quota(tx: RunTransaction, ruling: Ruling, at: datetime) -> None:
    """Refuse a run beyond the day's quota, in the transaction that accepts it.

    Who comes at the same moment waits until this transaction has ended.

    Raises:
        PolicyRefusedError: the quota is used up.
    """
    if all(policy.runs_per_day is None for policy in ruling.policies):
        return
    # Its row stays locked until the end; the lock itself has run out by then, for everybody.
    while not tx.try_lock(_QUOTA_LOCK, _QUOTA_LOCK, at, at):
        pass  # somebody else made the row just now: the next try finds it
    found = Refusals()
    count_day(tx, ruling.policies, at, found)
    found.raise_any("another run today")


def gate_plan(
    plan: Plan, approvals: Iterable[ApprovalRule], job_types: Mapping[str, JobTypeFacts]
) -> Plan:
    """The plan with a job before all others for each approval that policies want.

    Raises:
        UnknownJobTypeError: there is no job type that asks.
        InputError: a step of the plan is called like such a job.
    """
    for rule in approvals:
        facts = job_types.get(APPROVAL)
        if facts is None:
            raise UnknownJobTypeError(
                f"the policy wants the approval {rule.name}, and there is no job type {APPROVAL!r}"
            )
        plan = gate_all(plan, gate_job(rule), rule.question, facts)
    return plan


def gate_lacking(
    plan: Plan, approvals: Iterable[ApprovalRule], job_types: Mapping[str, JobTypeFacts]
) -> Plan:
    """The plan of a run that began, with what policies want by now; its gates ask as they say.

    Raises:
        UnknownJobTypeError, InputError: as ``gate_plan``.
    """
    rules = {gate_job(rule): rule for rule in approvals}
    jobs = tuple(
        replace(job, with_=with_of(rules[job.name].question))
        if job.type == APPROVAL and job.name in rules
        else job
        for job in plan.jobs
    )
    gates = {job.name for job in plan.jobs if job.type == APPROVAL}
    lacking = [rule for name, rule in rules.items() if name not in gates]
    return gate_plan(replace(plan, jobs=jobs), lacking, job_types)


def free_name(name: str, taken: Container[str]) -> str:
    """The name, or one like it that no rule of an earlier policy has."""
    while name in taken:
        name += "-too"
    return name


def gate_job(rule: ApprovalRule) -> str:
    """What the job is called that asks for the rule's approval."""
    return f"policy-{rule.name}"


def _check_template(policy: Policy, facts: PolicyFacts, found: Refusals) -> None:
    rules = policy.templates
    if rules is None:
        return
    name = facts.template_id if facts.template_id in rules else ANY
    rule = rules.get(name)
    if rule is None:
        hint = did_you_mean(facts.template_id, sorted(rules)) if rules else "none is allowed"
        found.add(policy.source, "templates", f"{facts.template_id} is not allowed", hint)
        return
    version, place = facts.template_version, f"templates.{name}"
    if not _is_within(rule, version):
        message = f"{version} is not allowed, only {rule.versions}"
        found.add(policy.source, f"{place}.versions", message)
    if version in rule.withdrawn:
        message = f"{version} is withdrawn: {rule.withdrawn[version]}"
        found.add(policy.source, f"{place}.withdrawn", message, "take another version")


def _is_within(rule: TemplateRule, version: str) -> bool:
    if rule.versions is None:
        return True
    allowed = SpecifierSet(rule.versions)
    try:
        # A pre-release only where the rule itself names one.
        return allowed.contains(Version(version), prereleases=bool(allowed.prereleases))
    except InvalidVersion:  # like 1.0.0-alpha.beta: it stands nowhere in their order
        return False


def _check_inputs(policy: Policy, facts: PolicyFacts, found: Refusals) -> None:
    for name in (facts.template_id, ANY):
        schema = policy.inputs.get(name)
        if schema is None:
            continue
        try:
            problems = {
                p for e in validator_for(schema).iter_errors(facts.inputs) for p in explain(e)
            }
        except RecursionError:
            found.add(
                policy.source,
                f"inputs.{name}",
                "the inputs are too large or nested too deep to be checked",
            )
            continue
        for problem in sorted(problems, key=lambda p: p.message):
            found.add(policy.source, f"inputs.{name}", problem.message, problem.hint)


def _approvals(policies: Iterable[Policy], facts: PolicyFacts) -> tuple[ApprovalRule, ...]:
    """The rules that want an approval of this run, each under a name of its own."""
    wanted: dict[str, ApprovalRule] = {}
    for policy in policies:
        for rule in policy.approvals:
            if not _applies(rule, facts) or wanted.get(rule.name) == rule:
                continue
            name = free_name(rule.name, wanted)
            wanted[name] = replace(rule, name=name)
    return tuple(wanted.values())


def _applies(rule: ApprovalRule, facts: PolicyFacts) -> bool:
    if not {facts.template_id, ANY} & set(rule.templates):
        return False
    if rule.when is None:
        return True
    try:
        return bool(evaluate(rule.when, {"inputs": facts.inputs}))
    except ExpressionError:
        return True  # nobody can tell: then a person has to look
