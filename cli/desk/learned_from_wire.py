"""Answers of the Factory API about what was learned, as the values that the pages show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.desk.from_wire import recalled_of
from factory_runtime.domain.context import Bundle, Cited
from factory_runtime.domain.difference import Difference
from factory_runtime.domain.failure_hints import FailureHints, KnownFailure
from factory_runtime.domain.failure_pattern import Resolution
from factory_runtime.domain.memory import ContextPackage
from factory_runtime.domain.suggestion import NearTemplate, Suggestion

if TYPE_CHECKING:
    from factory_runtime.wire.context import ContextAnswer
    from factory_runtime.wire.hints import FailureHint, HintsAnswer, ResolutionAnswer
    from factory_runtime.wire.suggestion import NearTemplateAnswer, SuggestionAnswer


def bundle_of(answer: ContextAnswer, tenant: str) -> Bundle:
    """What is known about a task."""
    told = answer.freshness
    package = ContextPackage(
        tenant_id=tenant,
        id=answer.context_package_id,
        task_digest="",
        memory_ids=tuple(one.memory_id for one in answer.items),
        scores=tuple(one.score for one in answer.items),
        budget=answer.budget_tokens,
        created_at=told.created_at,
        expires_at=told.expires_at,
        newest_at=told.newest_at,
        lag_seconds=told.index_lag_seconds,
    )
    cited = (
        Cited(recalled_of(one, tenant), one.cited_text, one.tokens, is_cut=one.is_cut)
        for one in answer.items
    )
    return Bundle(package, tuple(cited), answer.counted_by)


def hints_of(answer: HintsAnswer, tenant: str) -> FailureHints:
    """What may help with a dead letter."""
    return FailureHints(
        same=None if answer.same is None else _failure_of(answer.same, tenant),
        similar=tuple(_failure_of(one, tenant) for one in answer.similar),
        trouble=answer.trouble,
    )


def suggestion_of(answer: SuggestionAnswer, tenant: str) -> Suggestion:
    """What may be asked for."""
    best = answer.template
    return Suggestion(
        template=None if best is None else _near_of(best),
        inputs=answer.inputs,
        asked=answer.asked,
        because=tuple(recalled_of(one, tenant) for one in answer.because),
        drawn_from=answer.drawn_from,
        nearest=tuple(map(_near_of, answer.nearest)),
    )


def _near_of(answer: NearTemplateAnswer) -> NearTemplate:
    return NearTemplate(answer.template_id, answer.version, answer.title, answer.score)


def _failure_of(answer: FailureHint, tenant: str) -> KnownFailure:
    resolutions = tuple(map(_resolution_of, answer.resolutions))
    return KnownFailure(recalled_of(answer, tenant), resolutions)


def _resolution_of(answer: ResolutionAnswer) -> Resolution:
    return Resolution(
        digest=answer.digest,
        difference=Difference.from_facts([dict(one) for one in answer.changes]),
        tried=answer.tried,
        worked=answer.worked,
        last_at=answer.last_at,
    )
