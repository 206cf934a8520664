"""Blocks on a real server: their forms, and a secret that stays there and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Generator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from prefect_azure import AzureBlobStorageCredentials
from pydantic import SecretStr
from sqlalchemy import update

from blocks import ArtifactStorageCredentials, GitHostCredentials, NotificationTarget
from factory_runtime.bootstrap.artifact_storage import open_artifact_storage
from factory_runtime.domain.dead_letter import LetterFilter
from factory_runtime.domain.errors import InputError
from factory_runtime.domain.job import JobStatus
from factory_runtime.domain.policy import PolicyRecord
from factory_runtime.domain.run import Run, RunStatus
from factory_runtime.run_store import SqlRunStore
from factory_runtime.run_store.tables import outbox
from factory_runtime.services import topics
from tests.azurite import Azurite
from tests.blobs import a_place, blob_of
from tests.deployed import prefect_command
from tests.factory import Factory, until
from tests.otlp import Collector
from tests.prefect_server import Prefect
from tests.receivers import WebReceiver, web_receiver
from tests.recipes import a_source, a_template
from tests.surfaces import files_with, forms_of, rows_of
from tests.work_types import a_work_template

pytestmark = pytest.mark.slow

CANARY = "s3cr3tCanary7391"
CHANGED = "an0therCanary4412"
LENT = "l3nt/Can+ary 8264&x"
SLUGS = {
    "factory-artifact-storage": {"credentials.connection_string", "credentials.client_secret"},
    "factory-git-host": {"token", "client_secret"},
    "factory-http": {"secret"},
    "factory-model-endpoint": {"key"},
    "factory-notification-target": {"url"},
}
"""The block types, with what is secret in each."""

Telling = Callable[[str, str], Run]


@pytest.fixture
def web() -> Generator[WebReceiver]:
    with web_receiver() as receiver:
        yield receiver


@pytest.fixture
def telling(factory: Factory) -> Telling:
    """Completes a run of a tenant that has one target, at this address."""

    def tell(tenant: str, to: str) -> Run:
        document = f"notify: [{{name: pager, to: '{to}'}}]\n"
        digest = sha256(document.encode()).hexdigest()
        now = factory.runtime.clock.now()
        with factory.runtime.store.begin(tenant) as tx:
            before = tx.find_policy()
            version = 1 if before is None else before.version + 1
            tx.save_policy(PolicyRecord(tenant, version, document, digest, now, "ada"))
        factory.template("kept", a_template("kept"), a_source())
        run = factory.complete("kept", "notices", tenant, name="kept")
        assert run.status is RunStatus.SUCCEEDED, run.error
        return run

    return tell


def save(name: str, url: str) -> None:
    NotificationTarget.model_validate({"url": url}).save(name, overwrite=True)


def open_topics(factory: Factory, tenant: str) -> list[str]:
    far = factory.runtime.clock.now().replace(year=9999)
    messages = factory.runtime.store.due_messages(far, 10_000)
    of_tenant = (message.topic for message in messages if message.tenant_id == tenant)
    return [topic for topic in of_tenant if topic not in topics.BACKGROUND]


def settle(factory: Factory, run: Run) -> None:
    """Wait until nothing of the run is left to be done; what is for later is done now."""
    store = factory.runtime.store
    assert isinstance(store, SqlRunStore)
    now_or_soon = outbox.c.topic.not_in(topics.BACKGROUND)
    left = (outbox.c.done_at.is_(None), outbox.c.key.startswith(run.id), now_or_soon)

    def is_done() -> bool:
        with store.engine.begin() as connection:
            now = factory.runtime.clock.now()
            return not connection.execute(
                update(outbox).where(*left).values(not_before=now)
            ).rowcount

    until(is_done, "all is done", every=0.5)


def test_prefect_registers_a_form_for_each_block_with_its_secrets_and_an_icon(
    factory: Factory, prefect: Prefect
):
    done = prefect_command(factory, "block", "register", "-m", "blocks")
    assert done.returncode == 0, done.stdout + done.stderr
    for slug, secrets in SLUGS.items():
        kind = prefect.ask("GET", f"/block_types/slug/{slug}")
        assert kind["logo_url"].startswith("https://")
        assert kind["documentation_url"].startswith("https://")
        assert kind["description"]
        assert "from blocks import" in kind["code_example"]
        wanted = {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}}
        (schema,) = prefect.ask("POST", "/block_schemas/filter", wanted)
        assert set(schema["fields"]["secret_fields"]) == secrets


def test_a_secret_in_a_block_reaches_its_receiver_and_nothing_else(
    factory: Factory, prefect: Prefect, web: WebReceiver, telling: Telling
):
    save("on-call", web.address(f"/{CANARY}"))
    run = telling("kept-one", "block:on-call")
    until(lambda: [one.path for one in web.requests] == [f"/{CANARY}"], "it was told")
    until(lambda: open_topics(factory, "kept-one") == [], "all is done")
    assert web.requests[0].body["run"] == run.id
    assert any(run.id in row for row in rows_of(factory.runtime.store))
    assert not any(CANARY in row for row in rows_of(factory.runtime.store))
    assert any(name.startswith("prefect/") for name in files_with(factory.settings.root, run.id))
    assert files_with(factory.settings.root, CANARY) == set()
    told = prefect.ask("POST", "/logs/filter", {"sort": "TIMESTAMP_DESC", "limit": 200})
    told += [prefect.flow_run(str(run.flow_run_id)), prefect.ask("POST", "/artifacts/filter", {})]
    told += prefect.ask("POST", "/events/filter", {"limit": 50})["events"]
    assert CANARY not in str(told)


def test_what_is_changed_in_the_block_counts_for_the_next_notice(
    prefect: Prefect, web: WebReceiver, telling: Telling
):
    del prefect
    save("changing", web.address("/first"))
    telling("kept-two", "block:changing")
    until(lambda: len(web.requests) == 1, "the first was told")
    save("changing", web.address(f"/{CHANGED}"))
    telling("kept-two", "block:changing")
    until(lambda: len(web.requests) == 2, "the second was told")
    assert [request.path for request in web.requests] == ["/first", f"/{CHANGED}"]


def test_a_notice_waits_for_a_block_that_is_not_there_and_names_it(
    factory: Factory, prefect: Prefect, web: WebReceiver, telling: Telling
):
    del prefect
    telling("kept-late", "block:late")

    def waiting() -> list[Any]:
        far = factory.runtime.clock.now().replace(year=9999)
        messages = factory.runtime.store.due_messages(far, 10_000, topics=[topics.SEND_NOTICE])
        return [one.error for one in messages if one.tenant_id == "kept-late" and one.error]

    until(waiting, "it was tried")
    assert "Prefect has no notification target late" in waiting()[0]
    save("late", web.address("/late"))
    until(lambda: [one.path for one in web.requests] == ["/late"], "it was told after all")


def test_a_job_that_shows_its_credentials_everywhere_leaves_them_nowhere(
    factory: Factory, prefect: Prefect, traces: Collector, tmp_path: Path
):
    given = {"kind": "github", "url": "https://github.com/acme", "token": LENT, "tenants": ["*"]}
    GitHostCredentials.model_validate(given).save("lent", overwrite=True)
    seen = tmp_path / "seen"
    step = "type: leak, with: {{credentials: 'block:lent', how: {how}, file: '{seen}'}}"
    ends = ["result", "again", "wait", "error", "body", "commit"]
    lines = [
        f"name: {how}, on_failure: continue, {step.format(how=how, seen=seen)}" for how in ends
    ]
    aside = tmp_path / "aside"
    lines[0] = lines[0].replace("file:", f"aside: '{aside}', file:")

    def echo(name: str, need: str, more: str = "") -> str:
        told = f"{{aside: '{aside}'{more}}}"
        return f"name: {name}, type: echo, needs: [{need}], with: {told}"

    # They are lent nothing, and the second is done once more when the others are long over.
    lines += [echo("echo", ", ".join(ends)), echo("told", "echo", ", fails: true")]
    factory.template("leaking", a_work_template("leaking", *lines))
    run = factory.complete("leaking", "leaks")
    jobs = factory.jobs(run)
    statuses = [jobs[how].status for how in [*ends, "echo", "told"]]
    wanted = [JobStatus.SUCCEEDED] * 3 + [JobStatus.FAILED] * 3
    assert statuses == [*wanted, JobStatus.SUCCEEDED, JobStatus.FAILED], jobs
    with factory.runtime.store.begin(run.tenant_id, read_only=True) as tx:
        letters = tx.list_dead_letters(LetterFilter(run_id=run.id), limit=10)
    (letter,) = (letter for letter in letters if letter.step == "told")
    said = factory.cli("dead-letters", "retry", letter.id, "--watch", "--tenant", run.tenant_id)
    assert said.returncode == 1, said.stdout + said.stderr
    assert factory.jobs(run)["told"].attempt == 2
    assert set(seen.read_text().split()) == {sha256(LENT.encode()).hexdigest()}
    settle(factory, run)
    until(lambda: len(traces.spans(run.trace_id)) >= 10, "spans have come")
    forms = forms_of(LENT)
    leaks = [row for row in rows_of(factory.runtime.store) if any(form in row for form in forms)]
    assert leaks == []
    assert files_with(factory.settings.root, *forms) == set()
    assert files_with(factory.settings.root, "said (redacted)")  # it did say it
    assert not any(form.encode() in body for body in traces.bodies for form in forms)
    told = prefect.ask("POST", "/logs/filter", {"sort": "TIMESTAMP_DESC", "limit": 200})
    told += prefect.ask("POST", "/task_runs/filter", {"sort": "ID_DESC", "limit": 200})
    told += prefect.ask("POST", "/events/filter", {"limit": 50})["events"]
    assert not any(form in str(told) for form in forms)


@pytest.mark.service
def test_a_block_says_where_bodies_go(factory: Factory, prefect: Prefect, azurite: Azurite):
    del prefect
    place = a_place(azurite)
    key = SecretStr(str(place.connection_string))
    given = {
        "credentials": AzureBlobStorageCredentials(connection_string=key),
        "prefix": place.prefix,
    }
    ArtifactStorageCredentials.model_validate(given).save("bodies", overwrite=True)
    settings = factory.settings.model_copy(update={"artifact_storage": "block:bodies"})
    stored = open_artifact_storage(settings).put("acme", b"in a block's container")
    assert blob_of(place, stored.digest).exists()
    nowhere = settings.model_copy(update={"artifact_storage": "block:nobodys"})
    with pytest.raises(InputError, match="Prefect has no artifact storage nobodys"):
        open_artifact_storage(nowhere).exists("acme", stored.digest)
