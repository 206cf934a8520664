"""How the factory is, over HTTP: each part looked at really."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from factory_runtime.domain.access import Role
from factory_runtime.domain.run import RunStatus
from factory_runtime.run_store import open_run_store
from factory_runtime.services.executor_sign import show_sign
from factory_runtime.services.topics import MEMORY_OF_RUN
from factory_runtime.settings import HOME_TENANT
from tests.api.site import ApiSite, somebody
from tests.builders import TENANT, a_message, a_run
from tests.services import free_port


def health(site: ApiSite) -> dict[str, Any]:
    """As an administrator is told, who looks for the first time."""
    site.runtime.__dict__.pop("health", None)
    answer = site.client(somebody(HOME_TENANT)).get("/health")
    assert answer.status_code == 200, answer.text
    return answer.json()


def part(site: ApiSite, name: str) -> tuple[str, str]:
    found = health(site)
    return found["components"][name], found["details"].get(name, "")


def old(site: ApiSite) -> dict[str, Any]:
    """The times of what was left an hour ago."""
    then = site.runtime.clock.now() - timedelta(hours=1)
    return {"created_at": then, "not_before": then}


def test_what_goes_on_without_a_part_is_degraded_and_administrators_alone_are_told_why(
    site: ApiSite,
) -> None:
    told = health(site)
    assert told["status"] == "degraded"
    assert told["components"] == {
        "factoryApi": "healthy",
        "runStore": "healthy",
        "orchestrator": "unhealthy",
        "agentHost": "unhealthy",
        "knowledgeSystem": "healthy",
        "artifactStorage": "healthy",
    }
    assert set(told["details"]) == {"orchestrator", "agentHost"}
    of_others = somebody(HOME_TENANT, role=Role.OPERATOR), somebody("acme")
    for other in (site.client(), *map(site.client, of_others)):
        answer = other.get("/api/v1/health")
        assert answer.status_code == 200
        assert set(answer.json()) == {"status", "components"}


def test_whoever_executes_runs_shows_it_until_they_are_gone(site: ApiSite) -> None:
    runtime = site.runtime
    show_sign(runtime.store, runtime.clock, "elsewhere:17")
    show_sign(runtime.store, runtime.clock, "elsewhere:18")  # one sign is enough for all
    assert part(site, "agentHost") == ("healthy", "")
    run = a_run(
        status=RunStatus.VALIDATED,
        requested_at=runtime.clock.now() - timedelta(minutes=5),
    )
    with site.store.begin(TENANT) as tx:
        tx.add_run(run)
    assert part(site, "agentHost") == ("degraded", "runs wait, and none of them begins")


def test_a_server_that_does_not_answer_is_named(small_site: ApiSite) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    settings = small_site.runtime.settings.model_copy(update={"prefect_api_url": url})
    small_site.runtime.__dict__["settings"] = settings
    state, why = part(small_site, "orchestrator")
    assert state == "unhealthy"
    assert url in why


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("knowledgeSystem", "memory"),
        ("artifactStorage", "artifacts"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named(small_site: ApiSite, name: str, folder: str) -> None:
    place = small_site.runtime.settings.shared / folder
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("not a folder")
    state, why = part(small_site, name)
    assert state == "unhealthy"
    assert str(place) in why
    place.unlink()
    assert part(small_site, name) == ("healthy", "")


def test_an_index_that_does_not_keep_up_is_degraded(site: ApiSite) -> None:
    with site.store.begin(TENANT) as tx:
        tx.add_message(a_message(topic="another", **old(site)))
    assert part(site, "knowledgeSystem") == ("healthy", "")
    with site.store.begin(TENANT) as tx:
        tx.add_message(a_message(topic=MEMORY_OF_RUN, **old(site)))
    assert part(site, "knowledgeSystem") == ("degraded", f"1 {MEMORY_OF_RUN} are not done")


def test_nothing_is_sent_to_a_process_whose_store_has_older_tables(
    tmp_path: Path, sqlite_url: str
) -> None:
    with closing(open_run_store(sqlite_url)) as store:
        site = ApiSite(tmp_path, sqlite_url, store)
        assert site.client().get("/health/ready").json() == {"status": "healthy"}
        for version, status in (("0001", 503), ("9999", 200)):  # a newer one still serves us
            with store.engine.begin() as connection:
                connection.execute(
                    text("UPDATE alembic_version SET version_num = :v"), {"v": version}
                )
            del site.runtime.__dict__["health"]
            assert site.client().get("/health/ready").status_code == status
        assert site.client().get("/api/v1/health/live").json() == {"status": "healthy"}
