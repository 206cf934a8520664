"""Templates that are offered to a tenant, and what its policies allow."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from api.access import Reader, Searcher
from api.context import Here
from api.problems import documented, words_of
from factory_runtime.bootstrap import Runtime
from factory_runtime.domain.access import Right
from factory_runtime.domain.errors import (
    FactoryError,
    InvalidTemplateError,
    TemplateNotFoundError,
    UnknownTemplateError,
)
from factory_runtime.domain.policy import Policy
from factory_runtime.domain.publication import Publication
from factory_runtime.domain.template import Template
from factory_runtime.services.visible import require_in, visible_projects
from factory_runtime.wire.page import Part
from factory_runtime.wire.suggestion import SuggestionAnswer, SuggestQuestion
from factory_runtime.wire.template import (
    LimitsAnswer,
    PoliciesAnswer,
    PolicyAnswer,
    PublicationAnswer,
    TemplateDetail,
    TemplateSummary,
)

router = APIRouter(tags=["templates"])

TemplateId = Annotated[str, Path(alias="templateId", min_length=1, max_length=200)]
Version = Annotated[str, Path(min_length=1, max_length=64)]


@router.get("/templates")
def list_templates(reader: Reader, api: Here) -> Part[TemplateSummary]:
    """Every template at hand, as a run would get it now, by name."""
    runtime, tenant_id = api.runtime, reader.tenant_id
    policies = runtime.policies.of(tenant_id)
    published: dict[str, list[Publication]] = {}
    for one in runtime.catalog.publications(tenant_id):
        published.setdefault(one.template_id, []).append(one)
    return Part(
        items=tuple(
            _summary(runtime, tenant_id, name, published.get(name, []), policies)
            for name in runtime.catalog.names(tenant_id)
        )
    )


@router.get("/templates/{templateId}", responses=documented(404))
def get_template(template_id: TemplateId, reader: Reader, api: Here) -> TemplateDetail:
    """A template as a run would get it now: what it wants to be told, and what it does."""
    return _detail(api.runtime, reader.tenant_id, template_id, None)


@router.get("/templates/{templateId}/versions/{version}", responses=documented(404))
def get_version(
    template_id: TemplateId, version: Version, reader: Reader, api: Here
) -> TemplateDetail:
    """A template in this version."""
    return _detail(api.runtime, reader.tenant_id, template_id, version)


@router.post("/templates/suggest")
def suggest(asked: SuggestQuestion, reader: Searcher, api: Here) -> SuggestionAnswer:
    """A template that fits, with inputs from runs that were asked for likewise; no run is begun."""
    projects = visible_projects(reader)
    if asked.project is not None:
        require_in(reader, Right.READ, asked.project)
        projects = (asked.project,)
    suggestion = api.runtime.suggester.suggest(reader.tenant_id, asked.query, projects)
    return SuggestionAnswer.of(suggestion, asked.project or api.runtime.settings.project)


@router.get("/policy")
def get_policy(reader: Reader, api: Here) -> PoliciesAnswer:
    """What the tenant may ask for, and how much of it at once."""
    from factory_runtime.services.combined_policies import combined_limits

    policies = api.runtime.policies.of(reader.tenant_id)
    return PoliciesAnswer(
        policies=tuple(map(PolicyAnswer.of, policies)),
        limits=LimitsAnswer.of(combined_limits(policies)),
    )


def _summary(
    runtime: Runtime,
    tenant_id: str,
    name: str,
    published: list[Publication],
    policies: tuple[Policy, ...],
) -> TemplateSummary:
    versions = tuple(map(PublicationAnswer.of, published))
    try:
        template = _load(runtime, tenant_id, name, None)
    except FactoryError as error:  # one that is broken does not hide the others
        return TemplateSummary(
            template_id=name,
            version=None,
            published=versions,
            allowed=False,
            problem=words_of(error),
        )
    problem = _refusal(policies, name, template.version)
    return TemplateSummary(
        template_id=name,
        version=template.version,
        title=template.title,
        description=template.description,
        published=versions,
        allowed=problem is None,
        problem=problem,
    )


def _detail(
    runtime: Runtime, tenant_id: str, template_id: str, version: str | None
) -> TemplateDetail:
    template = _load(runtime, tenant_id, template_id, version)
    problem = _refusal(runtime.policies.of(tenant_id), template_id, template.version)
    published = runtime.catalog.publications(tenant_id, template_id)
    return TemplateDetail.told(template, published, problem)


def _load(runtime: Runtime, tenant_id: str, name: str, version: str | None) -> Template:
    try:
        return runtime.catalog.load(name, version, tenant_id)
    except UnknownTemplateError as error:
        # Asked for in a request it is a mistake there; in an address it is not found.
        raise TemplateNotFoundError(str(error), hint=error.hint) from error
    except InvalidTemplateError as error:
        # Its own message says where the template lies on this machine.
        count = len(error.problems)
        raise InvalidTemplateError(
            f"template {name} has {count} problems", error.problems
        ) from error


def _refusal(policies: tuple[Policy, ...], name: str, version: str) -> str | None:
    from factory_runtime.services.policy_check import template_refusals

    return next(map(str, template_refusals(policies, name, version)), None)
