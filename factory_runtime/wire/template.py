"""Templates that are offered, and what a tenant may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import Field

from factory_runtime.domain.artifact import ArtifactType
from factory_runtime.domain.durations import spell_duration
from factory_runtime.domain.memory import Collection
from factory_runtime.domain.policy import Limits, Policy, spell_expiry
from factory_runtime.domain.publication import Publication
from factory_runtime.domain.template import Template
from factory_runtime.wire.base import Answer
from factory_runtime.wire.plan import AskedFirst


class PublicationAnswer(Answer):
    """A version that was published to the tenant."""

    version: str
    published_at: datetime
    published_by: str
    ref: str | None = Field(default=None, description="the tag, branch or commit asked for")
    commit_id: str | None = None

    @classmethod
    def of(cls, one: Publication) -> PublicationAnswer:
        """What a publication's record says; not where it came from, which may be private."""
        return cls(**{name: getattr(one, name) for name in cls.model_fields})


class TemplateSummary(Answer):
    """A template as a run would get it now."""

    template_id: str
    version: str | None = Field(description="null where it cannot be read")
    title: str = ""
    description: str = ""
    published: tuple[PublicationAnswer, ...] = Field(default=(), description="the newest first")
    allowed: bool = Field(description="whether policies allow it, in this version")
    problem: str | None = Field(default=None, description="why it cannot be asked for")


class StepAnswer(Answer):
    """A template's declared unit of work; expressions stand as written."""

    name: str
    type: str
    needs: tuple[str, ...]
    each: str | None = None
    when: str | None = None


class TemplateDetail(Answer):
    """One version of a template: what it wants to be told, and what it does."""

    template_id: str
    version: str
    title: str
    description: str
    digest: str = Field(description="SHA-256 over all its files, 64 hex digits")
    docs: str = Field(description="a page for people; empty where there is none")
    deadline: str | None = Field(default=None, examples=["2h"])
    inputs_schema: Mapping[str, Any] = Field(description="JSON Schema 2020-12")
    steps: tuple[StepAnswer, ...]
    published: tuple[PublicationAnswer, ...] = Field(description="all versions, the newest first")
    allowed: bool
    problem: str | None = None

    @classmethod
    def told(
        cls, template: Template, published: tuple[Publication, ...], problem: str | None
    ) -> TemplateDetail:
        """What a template says of itself, and what stands against it."""
        same = ("version", "title", "description", "digest", "docs", "inputs_schema")
        steps = (
            StepAnswer(**{name: getattr(step, name) for name in StepAnswer.model_fields})
            for step in template.steps
        )
        return cls(
            template_id=template.id,
            **{name: getattr(template, name) for name in same},
            deadline=None if template.deadline is None else spell_duration(template.deadline),
            steps=tuple(steps),
            published=tuple(map(PublicationAnswer.of, published)),
            allowed=problem is None,
            problem=problem,
        )


class TemplateRuleAnswer(Answer):
    """Which versions of a template are allowed."""

    versions: str | None = Field(default=None, description="like `>=1.2,<2`; null is any")
    withdrawn: Mapping[str, str] = Field(default_factory=dict, description="version to why")


class PolicyAnswer(Answer):
    """The rules of one source; a run has to pass those of all."""

    source: str
    templates: Mapping[str, TemplateRuleAnswer] | None = Field(
        default=None, description="by name, or `*` for all others; null allows all"
    )
    inputs: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=dict, description="JSON Schemas by template that inputs have to meet too"
    )
    approvals: tuple[AskedFirst, ...] = ()
    runs_per_day: int | None = None
    max_deadline: str | None = None
    shared_memory: tuple[Collection, ...] | None = Field(
        default=None,
        description="what is looked into of the memories that are shared with all tenants; null"
        " says nothing of it",
    )
    git_host: str | None = Field(
        default=None,
        description="where repositories are made: `local`, or `block:` and a name; null says"
        " nothing of it",
    )
    expiry: Mapping[ArtifactType, str] = Field(
        default_factory=dict[ArtifactType, str],
        description="how long artifacts are kept whose jobs do not say, by type: a duration, or"
        " `downloaded`",
    )

    @classmethod
    def of(cls, policy: Policy) -> PolicyAnswer:
        """What a policy asks of runs; not where its notices go."""
        rules = policy.templates
        longest = policy.max_deadline
        return cls(
            source=policy.source,
            templates=None
            if rules is None
            else {
                name: TemplateRuleAnswer(versions=rule.versions, withdrawn=rule.withdrawn)
                for name, rule in rules.items()
            },
            inputs=policy.inputs,
            approvals=tuple(map(AskedFirst.of, policy.approvals)),
            runs_per_day=policy.runs_per_day,
            max_deadline=None if longest is None else spell_duration(longest),
            shared_memory=policy.shared_memory,
            git_host=policy.git_host,
            expiry={type_: spell_expiry(one) for type_, one in policy.expiry.items()},
        )


class LimitsAnswer(Answer):
    """How much at once; null is no limit of the tenant's own."""

    weight: float = Field(description="share of the slots beside other tenants', 1 by default")
    running_runs: int | None = None
    projects: Mapping[str, int] = Field(default_factory=dict)
    topics: Mapping[str, int] = Field(default_factory=dict, description="by type of job")

    @classmethod
    def of(cls, limits: Limits) -> LimitsAnswer:
        """What limits say."""
        return cls(**{name: getattr(limits, name) for name in cls.model_fields})


class PoliciesAnswer(Answer):
    """What a tenant may ask for. Without policies, everything."""

    policies: tuple[PolicyAnswer, ...]
    limits: LimitsAnswer
