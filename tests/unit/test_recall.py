"""Recall finds what is meant, also where no word is shared."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from factory_runtime.domain.body import Body
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.memory import Embedded, Memory
from factory_runtime.domain.records import TemplateRecord
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.memory.embedders.minilm import MiniLmEmbedder
from factory_runtime.memory.in_memory import InMemoryMemoryIndex, WordsEmbedder
from factory_runtime.memory.lance import LanceMemoryIndex
from factory_runtime.ports import MemoryIndex, RecallQuery
from factory_runtime.services.recall import recall
from factory_runtime.services.run_memory import memory_of_run
from factory_runtime.services.template_memory import memory_of_template

AT = datetime(2026, 5, 6, tzinfo=UTC)
SERVICE = ("Microservice", "A service repository with domain, infrastructure, pipelines and docs.")
TEMPLATES = {
    "microservice": SERVICE,
    "saas-starter": (
        "SaaS starter",
        "Accounts for several customer organisations: sign-up, login, groups, permissions.",
    ),
    "library": ("Python library", "A package with tests, published to an index on every tag."),
    "data-pipeline": ("Data pipeline", "Nightly batch jobs that load files into a warehouse."),
    "static-site": ("Static site", "A documentation website built from Markdown."),
    "mobile-app": ("Mobile app", "An app for phones, with push messages and offline storage."),
    "ml-training": ("Model training", "Trains and evaluates a classifier on GPUs, tracks runs."),
    "event-consumer": ("Event consumer", "Reads a message queue and handles each message once."),
}
# name → template, what it was asked for, error
RUNS: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "identity": (
        "microservice",
        {
            "service_name": "identity",
            "entities": ["account", "organisation", "permission", "membership"],
        },
        None,
    ),
    "orders": ("microservice", {"service_name": "orders", "entities": ["order", "basket"]}, None),
    "billing": (
        "microservice",
        {"service_name": "billing", "entities": ["invoice", "payment"]},
        None,
    ),
    "warehouse": (
        "microservice",
        {"service_name": "warehouse", "entities": ["parcel", "shelf", "stock level"]},
        None,
    ),
    "mailer": (
        "event-consumer",
        {"service_name": "mailer", "purpose": "sends e-mail when something happened"},
        None,
    ),
    "patients": (
        "microservice",
        {"service_name": "patients", "entities": ["patient", "appointment", "doctor"]},
        None,
    ),
    "weather": (
        "data-pipeline",
        {"name": "weather", "purpose": "collects temperature and rain measurements"},
        None,
    ),
    "ledger": (
        "data-pipeline",
        {"name": "ledger", "purpose": "books of account for the finance department"},
        None,
    ),
    "handbook": ("static-site", {"name": "handbook", "purpose": "rules for new employees"}, None),
    "courier": ("mobile-app", {"name": "courier", "purpose": "drivers see their route"}, None),
    "spam": ("ml-training", {"name": "spam", "purpose": "tells junk mail from real"}, None),
    "dates": ("library", {"name": "dates", "purpose": "calendar arithmetic, time zones"}, None),
    "broken-disk": ("microservice", {"service_name": "carts"}, "no space left on device"),
    "broken-name": (
        "microservice",
        {"service_name": "shop"},
        "a repository of that name exists and is not ours",
    ),
    "broken-network": ("library", {"name": "colors"}, "the host did not answer in time"),
    "broken-template": (
        "static-site",
        {"name": "guide"},
        "undefined variable 'company' in index.md",
    ),
    "portal": ("saas-starter", {"name": "portal"}, None),
    "search": (
        "microservice",
        {"service_name": "search", "purpose": "full text queries over products"},
        None,
    ),
}
QUERIES: dict[str, frozenset[str]] = {
    "multi-tenant user management with role-based access": frozenset(
        {"identity", "saas-starter", "portal"}
    ),
    "who may do what, for each company separately": frozenset(
        {"identity", "saas-starter", "portal"}
    ),
    "shopping cart and checkout": frozenset({"orders", "broken-disk"}),
    "charge customers money": frozenset({"billing"}),
    "inventory and logistics": frozenset({"warehouse"}),
    "notify people by message": frozenset({"mailer"}),
    "clinic scheduling system": frozenset({"patients"}),
    "climate sensor data": frozenset({"weather"}),
    "onboarding guide for staff": frozenset({"handbook"}),
    "filter unwanted emails with machine learning": frozenset({"spam"}),
    "disk full": frozenset({"broken-disk"}),
    "name already taken": frozenset({"broken-name"}),
    "timeout while connecting": frozenset({"broken-network"}),
    "android and ios client": frozenset({"mobile-app", "courier"}),
    "process events from a broker": frozenset({"event-consumer", "mailer"}),
    "ETL into an analytics database": frozenset({"data-pipeline", "ledger", "weather"}),
}


def run_memory(name: str, template: str, inputs: dict[str, Any], error: str | None) -> Memory:
    run = Run(
        id=name,
        tenant_id="acme",
        project_id="demo",
        template_id=template,
        template_version="1.0.0",
        template_digest="d" * 64,
        status=RunStatus.FAILED if error else RunStatus.SUCCEEDED,
        inputs=Body(inline=inputs),
        requested_by="ann",
        requested_at=AT,
        updated_at=AT,
        started_at=AT,
        completed_at=AT,
        trace_id="t",
        correlation_id="c",
        error=error,
    )
    return memory_of_run(run, (), (), *TEMPLATES[template], inputs, AT)


def what_is_known() -> list[Memory]:
    templates = [
        memory_of_template(TemplateRecord("acme", id_, "1.0.0", "d" * 64, title, purpose, AT))
        for id_, (title, purpose) in TEMPLATES.items()
    ]
    return templates + [run_memory(name, *rest) for name, rest in RUNS.items()]


def embedded(embedder: MiniLmEmbedder) -> list[Embedded]:
    known = what_is_known()
    vectors = embedder.embed([memory.text for memory in known])
    return [Embedded(memory, vector) for memory, vector in zip(known, vectors, strict=True)]


def name_of(memory: Memory) -> str:
    return memory.run_id or memory.template_id or ""


@pytest.fixture(scope="module")
def embedder() -> MiniLmEmbedder:
    return MiniLmEmbedder()


@pytest.fixture(scope="module")
def index(embedder: MiniLmEmbedder, tmp_path_factory: pytest.TempPathFactory) -> MemoryIndex:
    index = LanceMemoryIndex(tmp_path_factory.mktemp("memory"), embedder)
    index.upsert("acme", embedded(embedder))
    return index


def test_what_is_meant_ranks_high(index: MemoryIndex, embedder: MiniLmEmbedder) -> None:
    ranks: dict[str, int] = {}
    for text, wanted in QUERIES.items():
        recalled = recall(index, embedder, "acme", RecallQuery(text, limit=50))
        ranks[text] = 1 + next(i for i, r in enumerate(recalled) if name_of(r.memory) in wanted)
    mean_reciprocal_rank = sum(1 / rank for rank in ranks.values()) / len(ranks)
    assert mean_reciprocal_rank >= 0.75, ranks


def test_user_management_finds_the_run_and_the_template_that_mean_it(
    index: MemoryIndex, embedder: MiniLmEmbedder
) -> None:
    query = RecallQuery("multi-tenant user management with role-based access", limit=3)
    recalled = recall(index, embedder, "acme", query)
    assert {name_of(r.memory) for r in recalled} == {"identity", "saas-starter", "portal"}


def test_a_run_is_most_like_its_sisters(index: MemoryIndex, embedder: MiniLmEmbedder) -> None:
    inputs = {"service_name": "invoicing", "entities": ["invoice", "reminder"]}
    text = run_memory("new", "microservice", inputs, None).text
    (best, *_) = recall(index, embedder, "acme", RecallQuery(text))
    assert name_of(best.memory) == "billing"


def test_both_indexes_agree_on_what_is_meant(
    index: MemoryIndex, embedder: MiniLmEmbedder, tmp_path: Path
) -> None:
    exact = InMemoryMemoryIndex(embedder)
    exact.upsert("acme", embedded(embedder))
    for text in QUERIES:
        query = RecallQuery(
            text, limit=10, exclude_run_ids=("orders",), project_id="demo", words_weight=0
        )
        one = recall(index, embedder, "acme", query)
        other = recall(exact, embedder, "acme", query)
        assert [r.memory for r in one] == [r.memory for r in other]
        assert [r.score for r in one] == pytest.approx([r.score for r in other], abs=1e-5)


@pytest.mark.parametrize("text", ["", "  \n"])
def test_a_query_without_text_is_refused(text: str) -> None:
    embedder = WordsEmbedder()
    with pytest.raises(InputError, match="nothing to look for"):
        recall(InMemoryMemoryIndex(embedder), embedder, "acme", RecallQuery(text))


@pytest.mark.parametrize("name", ["project_id", "template_id", "outcome"])
def test_a_filter_without_a_name_is_refused_whatever_is_searched(name: str) -> None:
    nothing: dict[str, Any] = {name: ""}
    with pytest.raises(InputError, match="has no name"):
        RecallQuery("orders", **nothing)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_out_of_bounds_is_refused(limit: int) -> None:
    embedder = WordsEmbedder()
    with pytest.raises(InputError, match="limit"):
        recall(InMemoryMemoryIndex(embedder), embedder, "acme", RecallQuery("x", limit=limit))
