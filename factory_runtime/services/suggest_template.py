"""Suggest a template for what somebody wants, by what it says of itself and what came of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from factory_runtime.domain.errors import FactoryError
from factory_runtime.domain.memory import Collection, Kind, Recalled
from factory_runtime.domain.policy import Policy
from factory_runtime.domain.suggestion import NearTemplate, Suggestion
from factory_runtime.domain.template import Template
from factory_runtime.ports import Embedder, RecallQuery
from factory_runtime.ports.memory import model_name
from factory_runtime.services.catalog import TemplateCatalog
from factory_runtime.services.policy_check import template_refusals
from factory_runtime.services.recall import Recaller, bounded
from factory_runtime.services.suggest_inputs import suggest_inputs

MINIMUM = 0.3
"""From this score on a template is suggested: what has nothing to do with another stays below."""

_LOOKED_AT = 30
_RUNS = 5
_BECAUSE = 5
_NEAREST = 3
_DESCRIPTION = 600
_MOST = 200
"""Templates that are compared by what they say of themselves."""

_KEPT = 2000
"""Vectors of what templates say, of all tenants: a few megabytes."""

_SUCCEEDED = "succeeded"


@dataclass(frozen=True)
class Suggester:
    """Suggests templates that a tenant may ask for.

    Attributes:
        policies_of: the rules of a tenant.
    """

    catalog: TemplateCatalog
    recaller: Recaller
    policies_of: Callable[[str], Sequence[Policy]]
    embedder_of: Callable[[str], Embedder]
    _vectors: dict[tuple[str, str], tuple[float, ...]] = field(
        default_factory=dict[tuple[str, str], "tuple[float, ...]"], repr=False
    )

    def suggest(
        self, tenant_id: str, text: str, projects: tuple[str, ...] | None = None
    ) -> Suggestion:
        """What fits the text; ``projects`` are those that whoever asks may see, None is all.

        Raises:
            InputError: there is no text.
            MemoryUnavailableError: the model or the index cannot be used.
            PolicyUnavailableError: it cannot be told what the tenant may ask for.
        """
        asked = bounded(
            RecallQuery(
                text=text,
                collections=(Collection.TEMPLATES, Collection.RUNS),
                kinds=(Kind.TEMPLATE, Kind.RUN, Kind.SUCCESS),
                projects=projects,
                limit=_LOOKED_AT,
            )
        )
        templates = self._offered(tenant_id)
        found = [
            one
            for one in self.recaller.recall(tenant_id, asked)
            if one.memory.template_id in templates and _speaks_for(one)
        ]
        nearest = self._nearest(tenant_id, asked.text, templates, found)
        if not nearest or nearest[0].score < MINIMUM:
            return Suggestion(nearest=tuple(nearest[:_NEAREST]))
        best = nearest[0]
        template = templates[best.template_id]
        runs = self._runs(tenant_id, asked, template, found)
        inputs, asked_for, drawn_from = suggest_inputs(template, [one.memory for one in runs])
        drawn = [one for one in runs if one.memory.id in drawn_from]
        because = [one for one in found if one.memory.template_id == template.id]
        because = [*drawn, *(one for one in because if one.memory.id not in drawn_from)]
        return Suggestion(
            template=best,
            inputs=inputs,
            asked=asked_for,
            because=tuple(because[:_BECAUSE]),
            drawn_from=drawn_from,
            nearest=tuple(nearest[:_NEAREST]),
        )

    def _offered(self, tenant_id: str) -> Mapping[str, Template]:
        """Those that are in order and allowed, by name."""
        policies = self.policies_of(tenant_id)
        found: dict[str, Template] = {}
        for name in self.catalog.names(tenant_id)[:_MOST]:
            with suppress(FactoryError):  # one that is broken does not hide the others
                template = self.catalog.load(name, tenant_id=tenant_id)
                if not template_refusals(policies, name, template.version):
                    found[name] = template
        return found

    def _nearest(
        self,
        tenant_id: str,
        text: str,
        templates: Mapping[str, Template],
        found: Sequence[Recalled],
    ) -> list[NearTemplate]:
        """Each template by the best that speaks for it, the nearest first."""
        if not templates:
            return []
        said = [_said_by(template) for template in templates.values()]
        query, *vectors = self._embedded(self.embedder_of(tenant_id), text, said)
        scores = {
            name: max(0.0, math.fsum(a * b for a, b in zip(query, vector, strict=True)))
            for name, vector in zip(templates, vectors, strict=True)
        }
        for one in found:
            if one.shared_by and not self.recaller.have_one_model(tenant_id, one.shared_by):
                continue
            name = str(one.memory.template_id)
            scores[name] = max(scores[name], one.score)
        near = (
            NearTemplate(name, template.version, template.title, scores[name])
            for name, template in templates.items()
        )
        return sorted(near, key=lambda one: (-one.score, one.template_id))

    def _embedded(
        self, embedder: Embedder, text: str, said: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """The text's vector, then theirs: those are kept, each suggestion would need them all."""
        model = model_name(embedder)
        known = {one: self._vectors.get((model, one)) for one in said}
        new = [one for one, vector in known.items() if vector is None]
        query, *vectors = embedder.embed([text, *new])
        found = {one: vector for one, vector in known.items() if vector is not None}
        found.update(zip(new, vectors, strict=True))
        if len(self._vectors) + len(new) > _KEPT:
            self._vectors.clear()
        self._vectors.update(
            ((model, one), vector) for one, vector in zip(new, vectors, strict=True)
        )
        return [query, *(found[one] for one in said)]

    def _runs(
        self, tenant_id: str, asked: RecallQuery, template: Template, found: Sequence[Recalled]
    ) -> list[Recalled]:
        """The closest runs of the template that succeeded; asked for where none was found yet."""
        runs = list(_runs_of(template, found))
        if runs:
            return runs[:_RUNS]
        more = RecallQuery(
            text=asked.text,
            collections=(Collection.RUNS,),
            kinds=(Kind.RUN,),
            projects=asked.projects,
            template_id=template.id,
            outcome=_SUCCEEDED,
            limit=_RUNS,
        )
        return list(_runs_of(template, self.recaller.recall(tenant_id, more)))


def _speaks_for(one: Recalled) -> bool:
    """A run that failed speaks for nothing."""
    return one.memory.kind is not Kind.RUN or one.memory.outcome == _SUCCEEDED


def _runs_of(template: Template, found: Sequence[Recalled]) -> Iterator[Recalled]:
    return (
        one
        for one in found
        if one.memory.kind is Kind.RUN
        and one.memory.template_id == template.id
        and one.shared_by is None
    )


def _said_by(template: Template) -> str:
    return f"{template.title}. {' '.join(template.description.split())[:_DESCRIPTION]}"
