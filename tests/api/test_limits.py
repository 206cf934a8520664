"""How much may be asked for: rates, the size of a body, and what need not be sent again."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from api.limits import Limiter
from factory_runtime.domain.errors import LimitReachedError, SettingsError
from factory_runtime.ports import RunStore
from factory_runtime.settings import Settings
from tests.api.site import ApiSite, somebody
from tests.redis_server import running_redis

RUNS = "/api/v1/runs"
FEW = {"api_rate": "3/hour", "api_tenant_rate": "5/hour", "api_refused_rate": "4/hour"}


@pytest.fixture
def few(tmp_path: Path, sqlite_url: str, sqlite_store: RunStore) -> ApiSite:
    return ApiSite(tmp_path, sqlite_url, sqlite_store, **FEW)


def test_who_asks_too_often_is_told_when_there_is_room_again(few: ApiSite):
    client = few.client(somebody())
    assert [client.get(RUNS).status_code for _ in range(4)] == [200, 200, 200, 429]
    answer = client.get(RUNS)
    assert answer.json()["type"].endswith(":limit-reached")
    assert 1 <= int(answer.headers["retry-after"]) <= 3600


def test_a_tenant_s_people_share_its_rate_and_another_s_have_their_own(few: ApiSite):
    app = few.app()
    asked = [("ada", "acme")] * 3 + [("bob", "acme")] * 3 + [("ada", "umbrella")]
    clients = {who: few.client(somebody(who[1], name=who[0]), app) for who in set(asked)}
    got = [clients[who].get(RUNS).status_code for who in asked]
    assert got == [200, 200, 200, 200, 200, 429, 200]


def test_an_address_that_guesses_is_put_off_and_who_is_good_there_is_not(few: ApiSite):
    app = few.app()
    guesser, good = few.client(app=app), few.client(somebody(), app)
    got = [guesser.get(RUNS, headers={"Authorization": f"Told {n}"}) for n in range(6)]
    assert [one.status_code for one in got] == [401, 401, 401, 401, 429, 429]
    assert good.get(RUNS).status_code == 200, "many come from behind one address"


def test_processes_without_a_common_count_have_their_share(
    tmp_path: Path, sqlite_url: str, sqlite_store: RunStore
):
    site = ApiSite(tmp_path, sqlite_url, sqlite_store, api_processes=3, **FEW)
    client = site.client(somebody())
    assert [client.get(RUNS).status_code for _ in range(2)] == [200, 429]


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    with running_redis() as url:
        yield url


@pytest.mark.service
def test_processes_with_a_redis_count_together_and_without_it_go_on(
    tmp_path: Path, sqlite_url: str, sqlite_store: RunStore, redis: str
):
    site = ApiSite(tmp_path, sqlite_url, sqlite_store, redis_url=redis, api_processes=2, **FEW)
    ada = somebody()
    one, other = site.client(ada), site.client(ada)
    got = [client.get(RUNS).status_code for client in (one, other, one, other, one)]
    assert got == [200, 200, 200, 429, 429]
    away = tmp_path / "away"
    away.mkdir()
    site = ApiSite(away, sqlite_url, sqlite_store, redis_url="redis://127.0.0.1:1/0", **FEW)
    assert site.client(ada).get(RUNS).status_code == 200


def test_a_redis_that_hangs_is_waited_for_once_and_not_by_each_request(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        limiter = Limiter(Settings(home=tmp_path, redis_url=SecretStr(url), api_rate="3/hour"))
        for _ in range(3):
            limiter.count(somebody())
        with pytest.raises(LimitReachedError):
            limiter.count(somebody())
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_a_rate_that_is_none_is_refused_at_the_start(
    tmp_path: Path, sqlite_url: str, sqlite_store: RunStore
):
    site = ApiSite(tmp_path, sqlite_url, sqlite_store, api_rate="often")
    with pytest.raises(SettingsError, match="FACTORY_API_RATE"):
        site.app()


def test_a_body_that_is_too_large_is_not_read(small_site: ApiSite):
    client = small_site.client(somebody())
    json_type = {"Content-Type": "application/json"}
    length = {"Content-Length": str(100 * 1024 * 1024)}
    said = client.post(RUNS, content=b"{}", headers=json_type | length)
    unsaid = client.post(RUNS, content=(b" " * 65536 for _ in range(17)), headers=json_type)
    for answer in (said, unsaid):
        assert answer.status_code == 413
        assert answer.json()["type"].endswith(":body-too-large")
        assert answer.headers["connection"] == "close"


def test_what_is_known_already_is_not_sent_again(small_site: ApiSite):
    client = small_site.client(somebody())
    run = small_site.run(client)
    first = client.get(f"{RUNS}/{run}")
    tag = {"If-None-Match": first.headers["etag"]}
    again = client.get(f"{RUNS}/{run}", headers=tag)
    assert (again.status_code, again.content) == (304, b"")
    assert "private" in first.headers["cache-control"]
    client.post(f"{RUNS}/{run}/cancel")
    assert client.get(f"{RUNS}/{run}", headers=tag).json()["status"] == "Cancelled"
