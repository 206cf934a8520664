"""The plan that a request gets: compiled, allowed by the tenant's policies, and gated by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from factory_runtime.compiler.plan import compile_plan
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.ids import is_slug
from factory_runtime.domain.plan import Plan
from factory_runtime.domain.policy import Policy
from factory_runtime.domain.run import RunRequest
from factory_runtime.domain.template import Template
from factory_runtime.services.catalog import TemplateCatalog
from factory_runtime.services.policy import PolicyBook
from factory_runtime.services.policy_check import PolicyFacts, Ruling, gate_plan


def preview_plan(
    catalog: TemplateCatalog, request: RunRequest, policies: PolicyBook | None = None
) -> tuple[Template, Plan, Ruling]:
    """The plan that the request would get, and what policies ask for it; nothing is recorded.

    Raises:
        InputError, PolicyUnavailableError: as ``request_run``.
    """
    refuse_bad_names(request)
    tenant_id, inputs = request.tenant_id, request.inputs
    template = catalog.load(request.template, request.version, tenant_id)
    plan, ruling = plan_under_policy(
        catalog, policies, tenant_id, template, inputs, deadline=request.deadline
    )
    return template, plan, ruling


def plan_under_policy(
    catalog: TemplateCatalog,
    policies: PolicyBook | None,
    tenant_id: str,
    template: Template,
    inputs: Mapping[str, Any],
    *,
    deadline: timedelta | None = None,
    counts: bool = True,
    among: Sequence[Policy] | None = None,
) -> tuple[Plan, Ruling]:
    """Compile a plan that the tenant's policies allow, with the approvals they want before it.

    Its deadline is no longer than theirs.

    Args:
        catalog: knows the job types.
        policies: None allows everything.
        tenant_id: whose policies.
        template: to be compiled.
        inputs: as they were given.
        deadline: that was asked for.
        counts: whether it is a run of its own, for quotas; one that goes round again is not.
        among: as ``PolicyBook.rule``.

    Raises:
        InputError: as ``compile_plan``; PolicyRefusedError with every rule that refuses.
        PolicyUnavailableError: a policy cannot be read.
    """
    plan = compile_plan(template, inputs, catalog.job_types)
    if policies is None:
        return plan, Ruling()
    facts = PolicyFacts(template.id, template.version, plan.inputs, deadline)
    ruling = policies.rule(tenant_id, facts, counts=counts, among=among)
    limits = [limit for limit in (plan.deadline, ruling.max_deadline) if limit is not None]
    plan = replace(plan, deadline=min(limits, default=None))
    return gate_plan(plan, ruling.approvals, catalog.job_types), ruling


def refuse_bad_names(request: RunRequest) -> None:
    """Raises InputError where the tenant or the project cannot be called that."""
    for what, value in (("tenant", request.tenant_id), ("project", request.project_id)):
        if not is_slug(value):
            raise InputError(
                f"{value!r} cannot be a {what}", hint="use lower-case letters, digits, - _ or ."
            )
