"""The dispatcher itself: what it leaves to the next one, and what stands in nobody's way."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from deployments.stack import read_state
from factory_runtime.bootstrap import open_runtime
from factory_runtime.domain.attempt import Outcome
from factory_runtime.domain.run import Run, RunRequest, RunStatus
from factory_runtime.ports import RunFilter
from factory_runtime.services.dispatch import admit
from factory_runtime.services.end_run import end_run
from factory_runtime.services.request_run import request_run
from factory_runtime.settings import Settings
from tests.factory import Factory
from tests.recipes import a_layer, a_source, a_template

pytestmark = pytest.mark.slow

# One dispatcher's life: it stops once the run has the status, and waits for nothing it has begun.
LIFE = """
import asyncio, sys
from deployments.executor import set_prefect
from factory_runtime.bootstrap import open_runtime
from factory_runtime.settings import Settings
settings = Settings()
set_prefect(settings, settings.prefect_api_url)
from deployments import dispatcher
dispatcher._FINISH_SECONDS = 0.1
runtime = open_runtime(settings)

if len(sys.argv) > 3:
    from factory_runtime.domain.errors import StoreUnavailableError
    from factory_runtime.run_store.transaction import SqlTransaction
    add_attempt = SqlTransaction.add_attempt

    def is_away_once(self, attempt):
        if attempt.step == sys.argv[3]:
            SqlTransaction.add_attempt = add_attempt
            raise StoreUnavailableError("the database was started again")
        return add_attempt(self, attempt)

    SqlTransaction.add_attempt = is_away_once

async def live():
    stop = asyncio.Event()
    serving = asyncio.create_task(dispatcher.Dispatcher(runtime).serve(stop, lambda: True))
    while True:
        with runtime.store.begin("local", read_only=True) as tx:
            run = tx.get_run(sys.argv[1])
            begun = any(job.attempt for job in tx.list_jobs(run.id))
        if run.ended or (run.status == sys.argv[2] and begun):
            break
        await asyncio.sleep(0.05)
    stop.set()
    await serving

asyncio.run(live())
"""

# A flow run that begins in Prefect, in a process of its own, as a worker would start it.
BORN = """
import asyncio, sys
from deployments.executor import set_prefect
from factory_runtime.settings import Settings
settings = Settings()
set_prefect(settings, settings.prefect_api_url)
from flows import templates
from prefect.exceptions import Abort
try:
    asyncio.run(getattr(templates, sys.argv[1])(name="svc", return_state=True))
except Abort:
    print("left")
"""


@pytest.fixture
def home(factory: Factory, tmp_path: Path) -> Settings:
    """A home of its own, served by the Prefect server of the other."""
    state = read_state(factory.settings)
    assert state is not None
    return Settings(
        home=tmp_path / "home",
        template_folders=(factory.templates,),
        prefect_api_url=state.api_url,
    )


def live(factory: Factory, home: Settings, run: Run, until: RunStatus, *more: str) -> None:
    environment = factory.environment(home.root) | {
        "FACTORY_PREFECT_API_URL": str(home.prefect_api_url)
    }
    done = subprocess.run(
        [sys.executable, "-c", LIFE, run.id, until, *more],
        env=environment, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_run_that_outlives_its_executor_is_left_to_the_next_one(factory: Factory, home: Settings):
    slow = "{% for a in range(200) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"
    factory.template("outliving", a_template("outliving"), a_source(slow))
    runtime = open_runtime(home)
    asked = RunRequest("local", "outliving", "outliving", {"name": "svc"}, "tester")
    run = request_run(runtime.desk, asked)
    live(factory, home, run, RunStatus.RUNNING)
    with runtime.store.begin("local", read_only=True) as tx:
        assert tx.get_run(run.id).status is RunStatus.RUNNING
    live(factory, home, run, RunStatus.SUCCEEDED)
    with runtime.store.begin("local", read_only=True) as tx:
        ended, attempts = tx.get_run(run.id), tx.list_attempts(run.id)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert [attempt.outcome for attempt in attempts] == [Outcome.SUSPENDED, Outcome.SUCCEEDED]
    runtime.store.close()


def test_inputs_that_the_schema_lets_in_unnamed_reach_the_run(factory: Factory):
    lets_in = a_template("open-inputs").replace(
        "  type: object\n", "  type: object\n  additionalProperties: true\n", 1
    )
    factory.template("open-inputs", lets_in, a_source())
    run = factory.complete("open-inputs", "open-inputs", name="svc", extra="one more")
    assert run.status is RunStatus.SUCCEEDED, run.error


def test_inputs_too_large_for_prefect_fail_their_run_and_no_other(factory: Factory):
    factory.template("large", a_template("large"), a_source())
    large = factory.request("large", "large", name="x" * 600_000)
    after = factory.complete("large", "large", name="svc")
    assert after.status is RunStatus.SUCCEEDED, after.error
    ended = factory.run(large)
    assert ended.status is RunStatus.FAILED
    assert "512 KiB" in str(ended.error)


def test_a_store_that_was_away_for_a_moment_costs_no_run(factory: Factory, home: Settings):
    slow = "{% for a in range(50) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"
    steps = [*a_layer("one", "files/one"), *a_layer("other", "files/other")]
    files = a_source() | a_source(slow, "files/one") | a_source("other\n", "files/other")
    files["files/other/content/other.txt"] = files.pop("files/other/content/readme.txt.jinja")
    factory.template("blip", a_template("blip", *steps), files)
    runtime = open_runtime(home)
    run = request_run(runtime.desk, RunRequest("local", "blip", "blip", {"name": "svc"}, "tester"))
    live(factory, home, run, RunStatus.SUCCEEDED, "other")
    with runtime.store.begin("local", read_only=True) as tx:
        ended, attempts = tx.get_run(run.id), tx.list_attempts(run.id)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert sorted(attempt.step for attempt in attempts) == ["base", "one", "other"]
    assert {attempt.outcome for attempt in attempts} == {Outcome.SUCCEEDED}
    runtime.store.close()


def test_a_run_born_in_prefect_obeys_the_cap_and_is_started_when_its_turn_has_come(
    factory: Factory, home: Settings
):
    factory.template("born", a_template("born"), a_source())
    runtime = open_runtime(home)
    first = request_run(runtime.desk, RunRequest("local", "born", "born", {"name": "a"}, "tester"))
    admit(runtime.store, runtime.clock, first, 1, "elsewhere:1")
    environment = factory.environment(home.root) | {
        "FACTORY_PREFECT_API_URL": str(home.prefect_api_url),
        "FACTORY_MAX_RUNNING_RUNS": "1",
    }
    words = [sys.executable, "-c", BORN, "born"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert "left" in done.stdout
    with runtime.store.begin("local", read_only=True) as tx:
        (born,) = tx.list_runs(RunFilter(statuses=(RunStatus.VALIDATED,))).items
    assert born.requested_by == "prefect"
    assert born.admitted_at is None
    shown = factory.prefect("GET", f"/flow_runs/{born.flow_run_id}")["state"]
    assert (shown["type"], shown["name"]) == ("PENDING", "Queued")

    end_run(runtime.store, runtime.clock, "local", first.id, RunStatus.CANCELLED, "makes room")
    live(factory, home, born, RunStatus.SUCCEEDED)
    with runtime.store.begin("local", read_only=True) as tx:
        ended = tx.get_run(born.id)
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    assert ended.flow_run_id == born.flow_run_id
    state = factory.prefect("GET", f"/flow_runs/{born.flow_run_id}")["state_type"]
    assert state == "COMPLETED"
    runtime.store.close()


def test_jobs_of_a_capped_type_are_at_work_one_after_the_other_and_wait_at_no_cost(
    factory: Factory, home: Settings, monkeypatch: pytest.MonkeyPatch
):
    names = [f"layer-{number}" for number in range(5)]
    files = a_source()
    steps: list[str] = []
    for name in names:
        folder = f"files/{name}"
        files |= a_source(name, folder)
        files[f"{folder}/content/{name}.txt"] = files.pop(f"{folder}/content/readme.txt.jinja")
        steps += a_layer(name, folder, priority="high" if name == names[-1] else "low")
    factory.template("in-line", a_template("in-line", *steps), files)
    monkeypatch.setenv("FACTORY_TOPIC_CAPS", '{"template-layer": 1}')
    runtime = open_runtime(home)
    asked = RunRequest("local", "in-line", "in-line", {"name": "svc"}, "tester")
    run = request_run(runtime.desk, asked)
    live(factory, home, run, RunStatus.SUCCEEDED)
    with runtime.store.begin("local", read_only=True) as tx:
        ended, attempts = tx.get_run(run.id), tx.list_attempts(run.id)
        assert tx.list_topic_waits(run.id) == ()
    assert ended.status is RunStatus.SUCCEEDED, ended.error
    layers = [attempt for attempt in attempts if attempt.step in names]
    assert sorted(attempt.step for attempt in layers) == names
    for one, following in pairwise(layers):
        assert one.completed_at is not None
        assert one.completed_at <= following.started_at
    # Low ones may be claimed before it by a hair; once there is a line, it is first.
    assert names[-1] in [attempt.step for attempt in layers[:2]]
    runtime.store.close()
