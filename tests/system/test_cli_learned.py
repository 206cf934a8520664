"""What the commands make of what was learned, over the index that users have."""

from __future__ import annotations

import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from factory_runtime.domain.memory import Collection, Kind, Memory
from factory_runtime.domain.retrieval import EVALUATION_TENANT, Half, LabelledSet, Question
from factory_runtime.services import forget_memory
from factory_runtime.services.failure_patterns import find_failure_memory_id
from tests.builders import NOON, a_failure_kind, a_letter, a_memory
from tests.cli_home import Factory, fail_run, get_jobs

WANTED = ("run", "microservice", "--set", "service_name=orders", "--dry-run")


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedder that begins at once."""
    monkeypatch.setenv("FACTORY_EMBEDDER", "light")


@pytest.fixture
def learned(light: None, factory: Factory) -> Factory:
    remember(
        factory,
        a_memory(
            id="mem-orders",
            tenant_id="local",
            project_id="shop",
            run_id="run-orders",
            title="Microservice: service name: orders",
            text="Microservice: A Python REST service.\nAsked for: service name: orders",
            outcome="succeeded",
            template_id="microservice",
            template_version="1.2.0",
            facts={
                "repositories": ["file:///git/local/orders.git"],
                "inputs": {"service_name": "orders", "database": "none", "entities": ["order"]},
            },
        ),
        a_memory(
            id="mem-failed",
            tenant_id="local",
            run_id="run-billing",
            title="Microservice: service name: billing",
            text="Microservice: A Python REST service.\nAsked for: service name: billing",
            outcome="failed",
            template_id="microservice",
            template_version="1.0.0",
            superseded_by="mem-newer",
        ),
    )
    return factory


def remember(factory: Factory, *memories: Memory) -> None:
    with factory.runtime.store.begin("local") as tx:
        tx.save_memories(memories)
    factory.runtime.indexer.catch_up("local")


def test_a_hit_says_where_it_is_from_how_it_scored_and_what_became_of_it(learned: Factory):
    said = learned("memory", "search", "orders microservice", "--kind", "run")
    assert said.code == 0, said.err
    first, scored, told = said.out.splitlines()[:3]
    assert first == "1. Microservice: service name: orders"
    assert "(meaning 0." in scored
    assert "run  mem-orders" in scored
    assert told.split("; ") == [
        "   run-orders",
        "microservice 1.2.0",
        "project shop",
        "made orders",
        "succeeded",
    ]
    assert "superseded by mem-newer" in said.out


def test_a_sweep_makes_vectors_of_a_model_that_was_begun(learned: Factory):
    begun = learned("memory", "model", "build", "minilm", "--json")
    assert begun.json["status"] == "building"
    assert learned("sweep").code == 0
    models = learned("memory", "model", "list", "--json").json["models"]
    assert [(one["done"], one["total"]) for one in models] == [(2, 2), (2, 2)]


def test_a_plan_shows_past_runs_that_were_asked_for_likewise(learned: Factory):
    said = learned(*WANTED)
    assert said.code == 0, said.err
    rows = [line.split() for line in said.out.partition("Similar past runs")[2].splitlines()[2:4]]
    assert [row[1:4] for row in rows] == [
        ["run-orders", "succeeded", "orders"],
        ["run-billing", "failed", "Microservice:"],
    ]
    found = learned(*WANTED, "--json").json
    assert [one["run_id"] for one in found["similar_runs"]] == ["run-orders", "run-billing"]
    assert found["similar_runs_error"] is None


def test_a_template_is_suggested_with_the_command_that_asks_for_it(learned: Factory):
    asked = ("templates", "suggest", "a REST microservice for orders")
    # Of another project's runs inputs are taken, and no request of this one says so.
    assert "--drawn-from" not in learned(*asked).out
    said = learned(*asked, "--project", "shop")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0] == "microservice 1.4.0: Microservice"
    assert lines[-1] == (
        "factory run microservice --project shop --set service_name=SERVICE_NAME"
        " --set entities=order"
        " --set database=none --drawn-from mem-orders"
    )
    assert "yours to say" in said.out
    request = learned(*lines[-1].replace("SERVICE_NAME", "orders").split()[1:], "--dry-run")
    assert request.code == 0, request.err


def test_a_models_words_are_marked_as_such(learned: Factory):
    with learned.runtime.store.begin("local") as tx:
        (one,) = tx.find_memories(["mem-orders"])
        tx.save_prose(one, "Orders was made\n1. at once.")
    said = learned("memory", "search", "orders microservice", "--kind", "run").out.splitlines()
    assert said[3] == "   in a model's words: Orders was made 1. at once."
    assert sum("in a model's words" in line for line in said) == 1


def test_of_a_tenant_that_remembers_nothing_nothing_is_said(learned: Factory):
    assert learned("memory", "search", "orders", "--tenant", "other").out == (
        "nothing like that is remembered\n"
    )
    assert "Similar past runs" not in learned(*WANTED, "--tenant", "other").out
    package = learned("memory", "context", "orders", "--tenant", "other")
    assert package.out.startswith("nothing is remembered about that\n")


@pytest.mark.parametrize("tenant", ["x' OR '1'='1", "../local", ""])
def test_what_is_no_tenant_is_refused(learned: Factory, tenant: str):
    said = learned("memory", "search", "orders", "--tenant", tenant or "'")
    assert (said.code, "cannot be a tenant" in said.err) == (2, True)


def test_an_outcome_without_a_name_is_refused(learned: Factory):
    said = learned("memory", "search", "orders", "--outcome", "")
    assert (said.code, "the outcome to look for has no name" in said.err) == (2, True)


def test_an_index_that_is_broken_is_told_with_the_way_out(learned: Factory):
    folder = learned.runtime.settings.memory_folder
    for file in sorted(folder.rglob("*.lance/data/*")):
        file.write_bytes(b"gone")
    for file in sorted(folder.rglob("*.manifest")):
        file.write_bytes(b"gone")
    said = learned("memory", "search", "orders")
    assert (said.code, "factory memory rebuild" in said.err) == (5, True), said.err
    planned = learned(*WANTED)
    assert (planned.code, "no similar runs: " in planned.out) == (0, True)
    assert index_check(learned)["state"] == "warn"
    assert learned("memory", "rebuild").code == 0
    assert "mem-orders" in learned("memory", "search", "orders").out
    assert index_check(learned)["found"] == "searched, with 2 memories in it"


def index_check(factory: Factory) -> dict[str, str]:
    checks = factory("doctor", "--memory", "--json").json["checks"]
    return next(check for check in checks if check["name"] == "memory index")


def test_an_index_that_is_gone_is_told_with_the_way_out(learned: Factory):
    shutil.rmtree(learned.runtime.settings.memory_folder)
    said = learned("memory", "search", "orders")
    assert (said.code, "factory memory rebuild" in said.err) == (5, True)
    assert learned("memory", "search", "orders", "--collection", "code").code == 5
    assert learned("memory", "rebuild").code == 0
    assert "mem-orders" in learned("memory", "search", "orders").out


def test_what_was_forgotten_since_it_was_indexed_is_not_shown(learned: Factory):
    with learned.runtime.store.begin("local") as tx:
        tx.delete_memories(["mem-orders"])
    assert "mem-orders" not in learned("memory", "search", "orders").out


def test_who_stops_forgetting_is_told_that_it_goes_on(
    learned: Factory, monkeypatch: pytest.MonkeyPatch
):
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    words = ("memory", "forget", "--project", "shop", "--yes")
    with monkeypatch.context() as patch:
        # Its sleep alone: threads that another test left behind sleep too.
        patch.setattr(forget_memory, "time", SimpleNamespace(sleep=stop))
        said = learned(*words)
    assert (said.code, "the next sweep forgets the rest" in said.out) == (1, True)
    said = learned(*words, "--json")
    assert said.json["erased"] == {"scope": "project", "key": "shop", "memories": 0, "changed": 0}
    assert "mem-orders" not in learned("memory", "search", "orders").out


def test_a_dead_letter_shows_failures_of_its_kind_and_what_helped(light: None, factory: Factory):
    run = fail_run(factory.runtime)
    job = get_jobs(factory.runtime, run)["generate-repo"]
    letter = a_letter(job, tenant_id="local", project_id="default", failed_at=NOON)
    difference = {
        "aspect": "timeout",
        "name": "",
        "how": "changed",
        "tells": True,
        "before": 60,
        "after": 600,
    }
    facts = {
        "jobs": 3,
        "runs": 2,
        "cause": "host",
        "last_seen": NOON.isoformat(),
        "resolutions": [
            {
                "digest": "d" * 32,
                "changes": [difference],
                "tried": 4,
                "worked": 3,
                "last_at": NOON.isoformat(),
            }
        ],
    }
    with factory.runtime.store.begin("local") as tx:
        tx.add_failure_kind(a_failure_kind(tenant_id="local", fingerprint=letter.fingerprint))
        tx.add_dead_letter(letter)
        same = find_failure_memory_id("local", letter.fingerprint)
        tx.save_memories([a_memory(id=same, tenant_id="local", kind=Kind.FAILURE, facts=facts)])
    said = factory("dead-letters", "show", letter.id)
    assert said.code == 0, said.err
    assert "3 jobs of 2 runs failed so, the last " in said.out
    assert "helps  timeout 60 → 600: worked 3 of 4 times (75%)" in said.out
    (found,) = factory("dead-letters", "show", letter.id, "--json").json["hints"]["same"][
        "resolutions"
    ]
    assert (found["status"], found["rate"]) == ("confirmed", 0.75)


def test_a_mistyped_embedder_is_the_callers_to_mend(light: None, factory: Factory):
    said = factory("memory", "model", "build", "minilmm")
    assert (said.code, "no embedder is called 'minilmm'" in said.err) == (2, True)
    assert factory("memory", "model", "list", "--json").json == {"models": []}


def test_the_quality_of_the_search_is_a_table(
    light: None, factory: Factory, monkeypatch: pytest.MonkeyPatch
):
    documents = tuple(
        a_memory(id=f"doc-{text}", tenant_id=EVALUATION_TENANT, text=f"{text} service")
        for text in ("orders", "billing", "users")
    )
    questions = tuple(
        Question(f"q-{half}", Collection.RUNS, half, "words", text, {f"doc-{text}": 2}, ())
        for half, text in ((Half.TUNE, "orders"), (Half.TEST, "billing"))
    )
    small = LabelledSet(documents, questions)
    monkeypatch.setattr("factory_runtime.memory.labelled.read_labelled", lambda: small)
    monkeypatch.setattr("cli.memory_evaluate.SHIPPED", "light")
    said = factory("memory", "evaluate")
    assert said.code == 0, said.err
    rows = [line.split() for line in said.out.splitlines() if line.startswith(("tune", "test"))]
    assert {(row[0], row[1]) for row in rows} == {
        (half, way) for half in ("tune", "test") for way in ("default", "words", "meaning")
    }
    assert all(row[2:5] == ["1", "1.000", "1.000"] for row in rows)
    (evaluation,) = factory("memory", "evaluate", "--json").json["evaluations"]
    assert (evaluation["shipped"], evaluation["documents"]) == (True, 3)


def test_a_plan_of_a_tenant_without_memories_opens_no_index(light: None, factory: Factory):
    """In a process of its own: here it is imported already."""
    code = (
        "import sys, cli.main\n"
        f"assert cli.main.main({list(WANTED)!r}) == 0\n"
        "assert cli.main.main(['memory', 'search', 'orders']) == 0\n"
        "print(sorted({'lancedb', 'pyarrow', 'numpy', 'sqlglot'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
