"""A template is suggested with inputs of the closest runs: nothing that no longer fits, no secrets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from factory_runtime.compiler.schema import normalise_inputs
from factory_runtime.domain.errors import InputError, PolicyUnavailableError
from factory_runtime.domain.memory import Collection, Kind, Memory
from factory_runtime.domain.policy import Policy, TemplateRule
from factory_runtime.domain.suggestion import Suggestion
from factory_runtime.ports import RecallQuery
from factory_runtime.services.recall import Recaller
from factory_runtime.services.suggest_inputs import suggest_inputs
from factory_runtime.services.suggest_template import Suggester
from tests.builders import TENANT, a_memory, a_step, a_template
from tests.remembering import Kinder, Remembering
from tests.small_factory import SmallFactory

SHOP = """
title: Online shop
description: Keeps orders and sends invoices.
inputs:
  type: object
  required: [service_name, region, size]
  properties:
    service_name: {type: string}
    description: {type: string}
    region: {enum: [eu, us]}
    size: {type: integer, minimum: 1}
    entities: {type: array, items: {type: string}}
    db_password: {type: string}
    secret_note: {type: string, writeOnly: true}
    team: {type: string, default: platform}
steps:
  - {name: make, type: act, with: {text: '${{ inputs.service_name }}'}}
"""
SITE = """
title: Static pages
description: Documentation built from Markdown.
steps: [{name: make, type: act}]
"""


class Shop:
    """Two templates, and what is remembered of them."""

    def __init__(self, factory: SmallFactory) -> None:
        for name, text in (("shop", SHOP), ("pages", SITE)):
            folder = factory.template(text, name=name)
            (folder / "template.yaml").write_text(f"id: {name}\nversion: 1.0.0\n{text}")
        self.factory = factory
        self.known = Remembering(factory.store)
        self.policies: tuple[Policy, ...] = ()
        recaller = Recaller(lambda: factory.store, factory.clock, self.known.open)
        self.suggester = Suggester(
            factory.catalog, recaller, lambda _tenant: self.policies, lambda _: self.known.embedder
        )

    def remember(self, text: str, outcome: str | None = "succeeded", **values: Any) -> Memory:
        facts = {"inputs": values.pop("inputs", {})}
        given = {"template_id": "shop", "template_version": "1.0.0", "outcome": outcome, **values}
        memory = a_memory(text=text, facts=facts, **given)
        self.known.remember(memory)
        return memory

    def suggest(self, text: str = "keeps orders and invoices", **sight: Any) -> Suggestion:
        return self.suggester.suggest(TENANT, text, **sight)


@pytest.fixture
def shop(factory: SmallFactory) -> Shop:
    return Shop(factory)


def test_with_nothing_remembered_templates_speak_for_themselves(shop: Shop):
    found = shop.suggest()
    assert found.template is not None
    assert found.template.template_id == "shop"
    assert (found.inputs, found.because, found.drawn_from) == ({}, (), ())
    assert found.asked == ("service_name", "region", "size")
    assert [one.template_id for one in found.nearest] == ["shop", "pages"]
    assert shop.known.opened == []


def test_what_templates_say_is_embedded_once(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    asked: list[list[str]] = []
    embed = shop.known.embedder.embed

    def count(texts: Sequence[str]) -> list[tuple[float, ...]]:
        asked.append(list(texts))
        return embed(texts)

    monkeypatch.setattr(shop.known.embedder, "embed", count)
    first, again = shop.suggest(), shop.suggest("static pages")
    assert [one.template_id for one in again.nearest] == ["pages", "shop"]
    assert first == shop.suggest()
    assert [len(texts) for texts in asked] == [3, 1, 1]


def test_what_another_model_scores_says_nothing_of_which_is_nearer(shop: Shop):
    theirs = Remembering(shop.factory.store, Kinder())
    told = a_memory(tenant_id="platform", kind=Kind.TEMPLATE, text="told", template_id="pages")
    theirs.remember(told)
    shop.remember("keeps orders")
    opened = {"platform": theirs.open, TENANT: shop.known.open}
    recaller = Recaller(
        lambda: shop.factory.store,
        shop.factory.clock,
        lambda tenant_id: opened[tenant_id](tenant_id),
        "platform",
        lambda _tenant: frozenset(Collection),
    )
    wanted = "orders for rockets on the moon"
    (theirs_scored,) = (
        one.score for one in recaller.recall(TENANT, RecallQuery(wanted)) if one.shared_by
    )
    nearest = replace(shop.suggester, recaller=recaller).suggest(TENANT, wanted).nearest
    assert theirs_scored > nearest[0].score
    assert [one.template_id for one in nearest] == ["shop", "pages"]


def test_where_nothing_is_near_it_says_so_and_what_there_is(shop: Shop):
    found = shop.suggest("rockets")
    assert found.template is None
    assert {one.template_id for one in found.nearest} == {"shop", "pages"}


def test_inputs_are_those_of_the_closest_runs_that_succeeded(shop: Shop):
    near = shop.remember(
        "keeps orders and invoices", inputs={"region": "us", "entities": ["order", "invoice"]}
    )
    far = shop.remember("keeps orders", inputs={"region": "eu", "size": 3})
    shop.remember("keeps orders and invoices, all", "failed", inputs={"size": 9})
    found = shop.suggest()
    assert found.inputs == {"region": "us", "size": 3, "entities": ["order", "invoice"]}
    assert found.drawn_from == (near.id, far.id)
    assert found.asked == ("service_name",)
    assert {one.memory.outcome for one in found.because} == {"succeeded"}


def test_what_no_longer_fits_is_left_out(shop: Shop):
    shop.remember(
        "keeps orders and invoices",
        inputs={"region": "mars", "size": 0, "entities": [1], "gone": True, "team": ["a"]},
    )
    found = shop.suggest()
    assert (found.inputs, found.drawn_from) == ({}, ())
    assert found.asked == ("service_name", "region", "size")


def test_secrets_names_prose_and_defaults_are_never_taken(shop: Shop):
    canary = "hunter2-canary"
    inputs = {
        "service_name": "orders",
        "description": "keeps what people order",
        "db_password": canary,
        "secret_note": canary,
        "team": "platform",
        "region": "eu",
        "entities": ["(redacted)"],
    }
    shop.remember("keeps orders and invoices", inputs=inputs)
    found = shop.suggest()
    assert found.inputs == {"region": "eu"}
    assert canary not in json.dumps(dict(found.inputs))


def test_what_a_repository_is_called_by_is_never_taken():
    template = a_template(
        inputs_schema={
            "type": "object",
            "properties": {"squad": {"type": "string"}, "region": {"type": "string"}},
        },
        steps=(a_step(with_={"repository": "${{ inputs.squad }}-orders"}),),
    )
    memory = a_memory(facts={"inputs": {"squad": "red", "region": "eu"}})
    assert suggest_inputs(template, [memory]) == ({"region": "eu"}, (), (memory.id,))


def test_what_is_suggested_is_what_the_template_takes(shop: Shop):
    shop.remember("keeps orders and invoices", inputs={"region": "us", "size": 2})
    found = shop.suggest()
    template = shop.factory.catalog.load("shop")
    said = {name: "orders" for name in found.asked}
    assert normalise_inputs(template.inputs_schema, {**found.inputs, **said})[1] == []


def test_runs_are_looked_for_where_the_template_alone_was_found(shop: Shop):
    shop.remember("online shop keeps orders and invoices", kind=Kind.TEMPLATE, outcome=None)
    for number in range(40):
        shop.remember(f"keeps orders and invoices w{number}", kind=Kind.SUCCESS)
    shop.remember("made something", inputs={"region": "eu"})
    assert shop.suggest().inputs == {"region": "eu"}


def test_only_what_a_policy_allows_is_suggested(shop: Shop):
    shop.remember("keeps orders and invoices", inputs={"region": "us"})
    shop.policies = (Policy("file", templates={"pages": TemplateRule()}),)
    found = shop.suggest()
    assert [one.template_id for one in found.nearest] == ["pages"]
    assert found.template is None

    def broken(_tenant_id: str) -> tuple[Policy, ...]:
        raise PolicyUnavailableError("the policy cannot be read")

    unknown = Suggester(
        shop.factory.catalog, shop.suggester.recaller, broken, shop.suggester.embedder_of
    )
    with pytest.raises(PolicyUnavailableError):
        unknown.suggest(TENANT, "orders")


def test_a_template_that_is_gone_or_broken_is_not_suggested(shop: Shop):
    shop.remember("keeps rockets in orbit", template_id="gone", inputs={"region": "us"})
    shop.factory.template("steps: 3", name="broken")
    assert {one.template_id for one in shop.suggest("keeps rockets").nearest} == {"shop", "pages"}


def test_what_other_projects_were_asked_is_not_told(shop: Shop):
    shop.remember("keeps orders and invoices", project_id="mill", inputs={"region": "us"})
    assert shop.suggest(projects=("shop",)).inputs == {}
    assert shop.suggest(projects=("mill",)).inputs == {"region": "us"}


@pytest.mark.parametrize("text", ["", " \n"])
def test_nothing_to_suggest_for_is_refused(shop: Shop, text: str):
    with pytest.raises(InputError):
        shop.suggest(text)
