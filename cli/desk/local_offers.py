"""The templates at hand, and what a tenant's policies say to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cli.desk.desk import Offer
from factory_runtime.domain.errors import FactoryError, TransientError
from factory_runtime.services.policy_check import template_refusals

if TYPE_CHECKING:
    from factory_runtime.bootstrap import Runtime
    from factory_runtime.domain.policy import Policy
    from factory_runtime.domain.publication import Publication


def find_offers(runtime: Runtime, tenant: str) -> tuple[tuple[Offer, ...], str | None]:
    """Each template as a run would get it now; and why none can be asked for, if so."""
    catalog = runtime.catalog
    published: dict[str, list[Publication]] = {}
    for one in catalog.publications(tenant):
        published.setdefault(one.template_id, []).append(one)
    names = catalog.names(tenant)
    found = tuple(_offer(runtime, tenant, name, published.get(name, ())) for name in names)
    try:
        policies = runtime.policies.of(tenant)
    except TransientError as error:
        return found, str(error)
    return tuple(_ruled(policies, one) for one in found), None


def _offer(runtime: Runtime, tenant: str, name: str, published: Sequence[Publication]) -> Offer:
    blank = Offer(name, tuple(published))
    try:
        template = runtime.catalog.load(name, tenant_id=tenant)
    except FactoryError as error:
        return replace(blank, problem=str(error))
    one = runtime.catalog.publication_of(template, tenant)
    return replace(
        blank,
        version=template.version,
        title=template.title,
        description=template.description,
        origin=str(template.folder) if one is None else one.origin,
    )


def _ruled(policies: Sequence[Policy], offer: Offer) -> Offer:
    """With the rule that refuses it as its problem, where nothing else is."""
    refusals = template_refusals(policies, offer.id, offer.version)
    problem = str(refusals[0]) if refusals and offer.problem is None else offer.problem
    return replace(offer, allowed=not refusals, problem=problem)
